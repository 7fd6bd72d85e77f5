"""Simulated races: how often one of the best trials leaves, and what is saved. Rows of `racing.md`.

python tests/benchmarks/racing.py --repetitions 400 equals
"""

import argparse
import math

import numpy
from scipy import stats

from dream.comparison import racing
from dream.comparison.racing import decide, planned_looks, shuffled
from dream.comparison.ranking import standings
from dream.comparison.score_table import ScoreTable
from dream.defaults import RACE_ERROR
from dream.records import Trial, TrialResult

N = 200
# The rule was chosen on races with seeds from 10,000,000 to 40,000,400.
CONFIRMATION = 70_000_000
ICC = 0.1
TRIALS = {
    "pair": (0.0,) * 2,
    "equals": (0.0,) * 6,
    "equals-12": (0.0,) * 12,
    "equals-30": (0.0,) * 30,
    "half": (0.0,) * 4 + (0.25,) * 4,
    "effects": (0.0, 0.0, 0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25),
}
DOCUMENTS = ("many", "few", "ragged", "wild", "single")
# Of every second trial: the chance of a loss, the loss, and the standard deviation of all scores.
RARE = {
    "skewed": (0.05, 0.40, 0.02),
    "rarely-skewed": (0.02, 0.70, 0.02),
    "noisily-skewed": (0.05, 0.60, 0.06),
    "one-skewed": (0.05, 0.40, 0.02),
    "documents-lost": (0.08, 0.50, 0.05),
}
SCORES = ("normal", "zero-inflated", "one-sided", "binary", "ties", *RARE)


def documents(kind: str, rng: numpy.random.Generator) -> list[str]:
    """The document of each question: 40 or 12 of equal size, some 40 of sizes from 1 to 30, some 20 of sizes from 1 to
    40, or one document a question."""
    if kind == "few":
        return [f"{row * 12 // N}" for row in range(N)]
    if kind == "ragged":
        weights = rng.pareto(1.5, 40) + 0.2
        return [f"{each}" for each in sorted(rng.choice(40, N, p=weights / weights.sum()))]
    if kind == "wild":
        sizes = numpy.exp(rng.uniform(0, math.log(41), N)).astype(int)
        return [f"{each}" for each in numpy.repeat(numpy.arange(N), sizes)[:N]]
    return [f"{row}" if kind == "single" else f"{row // 5}" for row in range(N)]


def scores(kind: str, names: list[str], effects: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Questions x trials; each trial has the mean of its effect below the others', in expectation over documents."""
    numbers, k = numpy.unique(names, return_inverse=True)[1], len(effects)
    own = rng.normal(size=(numbers.max() + 1, k))[numbers] * ICC**0.5 + rng.normal(size=(N, k)) * (1 - ICC) ** 0.5
    shared = rng.normal(size=(N, 1))
    if kind == "zero-inflated":  # a third are 0, alike for equal trials
        found = (0.6 * shared + 0.8 * own) > -0.43
        return numpy.clip(found * (0.8 - effects * 1.5), 0, 1)
    if kind == "one-sided":  # a third are 0 in all trials; every second one has 6 % more of them, and gains on the rest
        lost = (rng.random((N, k)) < 0.06) & (numpy.arange(k) % 2 == 1)
        gain = 1 + 0.06 / 0.94 * (numpy.arange(k) % 2)
        return numpy.clip((shared > -0.43) * ~lost * ((0.7 + 0.07 * own) * gain - effects), 0, 1)
    if kind == "binary":  # 0 or 1, and 1 in 95 % for the best
        return ((shared + own) / 2**0.5 < stats.norm.ppf(0.95 - effects)).astype(float)
    if kind == "ties":  # most are 1
        return numpy.clip(1.2 + 0.25 * shared + 0.2 * own - effects, 0, 1)
    if kind in RARE:  # such trials gain a little on most questions and lose much on few
        chance, loss, noise = RARE[kind]
        rare = rng.random((N, k)) < chance
        rare = rare[numbers] if kind == "documents-lost" else rare
        such = numpy.arange(k) == 1 if kind == "one-skewed" else numpy.arange(k) % 2 == 1
        return 0.7 + noise * own + such * loss * (chance - rare) - effects
    return numpy.clip(0.6 + 0.15 * shared + 0.15 * own - effects, 0, 1)


def race(
    values: numpy.ndarray, names: list[str], seed: int, block: int, final: bool
) -> tuple[set[int], float, set[int]]:
    """The trials that left, the share of questions saved, and the final set of the best."""
    order = shuffled(names, seed)
    values, names = values[order], [names[row] for row in order]
    looks = planned_looks(names, 20, block)
    clusters = numpy.unique(names, return_inverse=True)[1]
    k = values.shape[1]
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
        found = decide(table(done), ends, boundaries, look.error, entered=k)
        boundaries.append(found.boundary)
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
    parser.add_argument("which", choices=list(TRIALS))
    parser.add_argument("--documents", default="many", choices=DOCUMENTS)
    parser.add_argument("--scores", default="normal", choices=SCORES)
    parser.add_argument("--block", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=CONFIRMATION, help="of the first race")
    parser.add_argument("--flips", type=int, default=racing.FLIPS)
    parser.add_argument("--final", action="store_true", help="the final set of the best, too")
    given = parser.parse_args()
    racing.FLIPS = given.flips
    effects = numpy.array(TRIALS[given.which])
    best = set(numpy.flatnonzero(effects == 0).tolist())
    any_left, each_left, saved, lost = [], [], [], []
    for seed in range(given.seed, given.seed + given.repetitions):
        rng = numpy.random.default_rng(seed)
        names = documents(given.documents, rng)
        values = scores(given.scores, names, effects, rng)
        left, share, final = race(values, names, seed, given.block, given.final)
        any_left.append(bool(left & best))
        each_left.append([each in left for each in sorted(best)])
        lost.append(bool(left & best) or not best <= final if given.final else numpy.nan)
        saved.append(share)
    both = percent(lost) if given.final else ""
    print(
        f"| {given.which} | {given.documents} | {given.scores} | {given.repetitions:,} | {percent(any_left)} | "
        f"{numpy.mean(each_left, 0).max():.2%} | {both} | {numpy.mean(saved):.1%} |",
        flush=True,
    )


def percent(happened: list[bool]) -> str:
    """The share in per cent, with its standard error."""
    found, n = float(numpy.mean(happened)), len(happened)
    return f"{100 * found:.2f} % ({100 * (found * (1 - found) / n) ** 0.5:.2f})"


if __name__ == "__main__":
    main()
