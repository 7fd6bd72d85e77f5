"""Simulated races: how often one of the best trials leaves, and what is saved. Rows of `racing.md`.

python tests/benchmarks/racing.py --repetitions 400 equals
"""

import argparse
import math

import numpy

from dream.comparison import racing
from dream.comparison.racing import RACE_ERROR, decide, planned_looks, shuffled
from dream.comparison.ranking import standings
from dream.comparison.score_table import ScoreTable
from dream.records import Trial, TrialResult

N = 200
ICC = 0.1
EFFECTS = (0, 0, 0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25)


def documents(kind: str, rng: numpy.random.Generator) -> list[str]:
    """The document of each question: 40 or 12 of equal size, or some 40 of sizes from 1 to 30."""
    if kind == "few":
        return [f"{row * 12 // N}" for row in range(N)]
    if kind == "ragged":
        weights = rng.pareto(1.5, 40) + 0.2
        return [f"{each}" for each in sorted(rng.choice(40, N, p=weights / weights.sum()))]
    return [f"{row // 5}" for row in range(N)]


def scores(kind: str, names: list[str], effects: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Questions x trials; each trial has the mean of its effect below the others', in expectation over documents."""
    numbers, k = numpy.unique(names, return_inverse=True)[1], len(effects)
    own = rng.normal(size=(numbers.max() + 1, k))[numbers] * ICC**0.5 + rng.normal(size=(N, k)) * (1 - ICC) ** 0.5
    shared = rng.normal(size=(N, 1))
    if kind == "zero-inflated":  # a third are 0, alike for equal trials
        found = (0.6 * shared + 0.8 * own) > -0.43
        return numpy.clip(found * (0.8 - effects * 1.5), 0, 1)
    if kind == "skewed":  # every second trial gains a little on most questions and loses much on few
        rare = rng.random((N, k)) < 0.05
        gain = numpy.where(numpy.arange(k) % 2, numpy.where(rare, -0.38, 0.02), 0.0)
        return 0.6 + 0.02 * own + gain - effects
    return numpy.clip(0.6 + 0.15 * shared + 0.15 * own - effects, 0, 1)


def race(values: numpy.ndarray, names: list[str], seed: int, final: bool) -> tuple[set[int], float, set[int]]:
    """The trials that left, the share of questions saved, and the final set of the best."""
    order = shuffled(names, seed)
    values, names = values[order], [names[row] for row in order]
    looks = planned_looks(names, 20, 20)
    clusters = numpy.unique(names, return_inverse=True)[1]
    largest, k = int(numpy.bincount(clusters).max()), values.shape[1]
    inside, boundaries, asked, done = list(range(k)), [], 0, 0
    results = [TrialResult(Trial(str(each), "llm", "embed")) for each in range(k)]

    def table(n: int) -> ScoreTable:
        these = tuple(results[each] for each in inside)
        return ScoreTable("score", tuple(map(str, range(n))), these, values[:n][:, inside], clusters[:n])

    for number, look in enumerate(looks):
        asked, done = asked + (look.questions - done) * len(inside), look.questions
        if len(inside) == 1:
            break
        ends = [each.questions for each in looks[: number + 1]]
        found = decide(table(done), ends, boundaries, look.error, entered=k, largest=largest)
        boundaries.append(found.boundary if found.left else math.inf if math.isinf(found.boundary) else found.boundary)
        out = {inside[each.column] for each in found.left}
        inside = [each for each in inside if each not in out]
    asked += (N - done) * len(inside)
    best = {0}
    if final:
        ordered = standings(table(N), 1.0, confidence=1 - (0.05 - RACE_ERROR))[0]
        best = {int(each.trial.query_engine_identifier) for each in ordered if each.in_set}
    return set(range(k)) - set(inside), 1 - asked / (N * k), best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=["equals", "half", "effects"])
    parser.add_argument("--documents", default="many", choices=["many", "few", "ragged"])
    parser.add_argument("--scores", default="normal", choices=["normal", "zero-inflated", "skewed"])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--flips", type=int, default=racing.FLIPS)
    parser.add_argument("--final", action="store_true")
    given = parser.parse_args()
    racing.FLIPS = given.flips
    effects = numpy.array({"equals": [0.0] * 6, "half": [0.0] * 4 + [0.25] * 4, "effects": list(EFFECTS)}[given.which])
    best = set(numpy.flatnonzero(effects == 0).tolist())
    any_left, first_left, saved, lost = [], [], [], []
    for seed in range(given.repetitions):
        rng = numpy.random.default_rng(seed)
        names = documents(given.documents, rng)
        left, share, final = race(scores(given.scores, names, effects, rng), names, seed, given.final)
        any_left.append(bool(left & best))
        first_left.append(0 in left)
        lost.append(bool(left & best) or not best <= final if given.final else numpy.nan)
        saved.append(share)
    n = given.repetitions
    print(
        f"| {given.which} | {given.documents} | {given.scores} | {n} | {numpy.mean(any_left):.2%} | "
        f"{numpy.mean(first_left):.2%} | {numpy.mean(lost):.2%} | {numpy.mean(saved):.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
