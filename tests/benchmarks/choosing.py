"""How often does the comparison err? Simulated experiments, written as tables to choosing.md beside this file.

    python tests/benchmarks/choosing.py [--experiments 1000] [--seed 0] [--jobs 1]

Run by hand; an hour on one core. `tests/comparison/test_ranking.py` holds a small version of it.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy  # noqa: E402
from numpy.typing import ArrayLike  # noqa: E402
from simulated import SHAPES, Floats, Shape, grid, quality_for, table, true_means  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dream.comparison.factor_effects import effects  # noqa: E402
from dream.comparison.intervals import columns, critical, intervals, resamples  # noqa: E402
from dream.comparison.power import plan_power  # noqa: E402
from dream.comparison.ranking import Standing, standings  # noqa: E402
from dream.comparison.recommendation import recommend  # noqa: E402
from dream.comparison.running_cost import Cost  # noqa: E402
from dream.comparison.score_table import ScoreTable  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# How often does the comparison err?

Written by `tests/benchmarks/choosing.py`: {experiments:,} simulated experiments a row, seed {seed}, {machine},
{minutes:.0f} minutes of computing. The shapes of scores are those of `tests/simulated.py`: bounded, in steps, often
tied. After ± is the error of the simulation itself (half of its 95 % interval).
"""


def stand(scores: ScoreTable, seed: int) -> tuple[Standing, ...]:
    return standings(scores, 0.1, seed // 50)[0]


def draws(shape: Shape, n: int, quality: Floats, count: int, seed: int) -> Iterator[tuple[int, Floats]]:
    random = numpy.random.default_rng([seed, n, len(quality)])
    for number in range(count):
        yield number, shape(random, n, quality)


def share(shares: ArrayLike) -> str:
    """The mean of the hits in percent, with its Monte Carlo error: half of its 95 % interval, at least 3 / n."""
    hits = numpy.asarray(shares, float)
    error = max(1.96 * numpy.std(hits) / len(hits) ** 0.5, 3 / len(hits))
    return f"{100 * numpy.mean(hits):.1f} ± {100 * error:.1f} %"


def false_winners(count: int, seed: int) -> str:
    """Identical systems: how often is any trial left out of the set, or a single one named?"""
    rows = []
    cases = [(name, 12, 50, kind) for name in SHAPES for kind in ("complete", "5 % missing", "documents of 2 to 6")]
    cases += [("mixed", 12, n, "complete") for n in (10, 20, 200)]
    cases += [("mixed", 2, 50, "complete"), ("mixed", 40, 50, "complete")]
    for name, k, n, kind in cases:
        random = numpy.random.default_rng(seed + 1)
        left_out, single = [], []
        for number, values in draws(SHAPES[name], n, numpy.zeros(k), count, seed):
            clusters = None
            if kind == "5 % missing":
                values = numpy.where(random.random(values.shape) < 0.05, numpy.nan, values)
            if kind == "documents of 2 to 6":
                clusters = numpy.repeat(numpy.arange(n), random.integers(2, 7, n))[:n]
                values = numpy.clip(values + 0.1 * random.normal(size=(n, k))[clusters], 0, 1)
            found = stand(table(values, clusters), number)
            left_out.append(any(one.rank and not one.in_set for one in found))
            single.append(sum(one.in_set for one in found) == 1)
        rows.append([name, k, n, kind, share(left_out), share(single)])
    heads = ["scores", "trials", "questions", "", "some trial left out of the set", "a single winner named"]
    text = (
        "All trials have the same quality, so a trial that is left out of the set is an error: at most 5 % is allowed."
    )
    return section("Identical systems", text, rows, heads)


def coverage(count: int, seed: int) -> str:
    """Do the intervals hold the true differences?"""
    rows = []
    for name, n in [(name, n) for name in SHAPES for n in (20, 50, 200)]:
        quality = numpy.linspace(0, 0.5, 12)
        truth = true_means(SHAPES[name], quality)
        names = {trial.trial.id: place for place, trial in enumerate(table(numpy.zeros((2, 12))).results)}
        alone, picked, kept_best = [], [], []
        for number, values in draws(SHAPES[name], n, quality, count, seed):
            scores = table(values)
            block = columns(values[:, [11]] - values[:, [3]], scores.clusters)
            weights = resamples(n, number // 50)
            one = intervals(block, critical([block], weights))[0]
            alone.append(one.low <= truth[11] - truth[3] <= one.high)
            stood = stand(scores, number)
            best = truth[names[stood[0].trial.id]]
            gaps = [(one.difference, truth[names[one.trial.id]] - best) for one in stood[1:]]
            picked.append(all(one.low - 0.001 <= gap <= one.high + 0.001 for one, gap in gaps if one))
            kept_best.append(any(one.in_set and names[one.trial.id] == 11 for one in stood))
        rows.append([name, n, share(alone), share(picked), share(kept_best)])
    heads = ["scores", "questions", "a pair named beforehand", "all against the picked best", "the best is in the set"]
    text = (
        "12 trials of different quality; how often 95 % intervals hold the true differences. The last but one is what "
        "the leaderboard shows: safe for whichever trial chance picks, so it may only be higher."
    )
    return section("Coverage", text, rows, heads)


def kept(count: int, seed: int) -> str:
    """One trial is better by 0.05 at 200 questions: is it kept, and are the others told apart?"""
    rows = []
    for name, k in [(name, k) for name in SHAPES for k in (2, 12)]:
        quality = numpy.zeros(k)
        quality[-1] = quality_for(SHAPES[name], 0.05)
        better = table(numpy.zeros((2, k))).results[-1].trial.id
        stays, alone, sizes = [], [], []
        for number, values in draws(SHAPES[name], 200, quality, count, seed):
            chosen = [one.trial.id for one in stand(table(values), number) if one.in_set]
            stays.append(better in chosen)
            alone.append(chosen == [better])
            sizes.append(len(chosen))
        rows.append([name, k, share(stays), share(alone), f"{numpy.mean(sizes):.1f}"])
    heads = ["scores", "trials", "the better one is in the set", "it alone", "mean size of the set"]
    return section("A true difference of 0.05 at 200 questions", "The others are equal.", rows, heads)


def normal(random: numpy.random.Generator, document: numpy.ndarray, quality: Floats) -> Floats:
    """Scores whose differences have a standard deviation of 0.3, a tenth of the variance between documents."""
    of_documents = random.normal(size=(document.max() + 1, len(quality)))[document] * 0.1**0.5
    return 0.5 + 0.3 / 2**0.5 * (of_documents + 0.9**0.5 * random.normal(size=of_documents.shape)) + quality


def few_documents(count: int, seed: int) -> str:
    """Twelve trials, half of them worse by 0 or 0.25, on questions of few documents."""
    rows = []
    for n, documents in [(40, 2), (40, 3), (40, 4), (50, 5), (50, 6), (20, 8), (50, 8), (20, 20), (200, 50)]:
        row: list[object] = [n, documents]
        for loss in (0.0, 0.25):
            random, document = numpy.random.default_rng([seed, n, documents]), numpy.arange(n) % documents
            quality, out, wrong = numpy.repeat([0.0, -loss], 6), [], []
            weak = {result.trial.id for result in table(numpy.zeros((2, 12))).results[6:]}
            for number in range(count):
                found = stand(table(normal(random, document, quality), document.tolist()), number)
                left = [one.trial.id in weak for one in found if not one.in_set]
                out.append(sum(left) / 6)
                wrong.append(len(left) > 0 if loss == 0 else not all(left))
            row += [share(wrong)] if loss == 0 else [share(out), share(wrong)]
        rows.append(row)
    heads = [
        "questions",
        "documents",
        "equal: some trial left out",
        "0.25: weak trials left out",
        "0.25: a good one too",
    ]
    return section("Few documents", "The first and the last column are errors: at most 5 % is allowed.", rows, heads)


def failures(count: int, seed: int) -> str:
    """Two equal trials: one has lost its worst scores, or has rare large losses that its small gains make up for."""
    rows = []
    for kind, n in [
        ("lost its worst 9 %", 100),
        ("+0.05 on 95 %, -0.95 on 5 %", 20),
        ("+0.05 on 95 %, -0.95 on 5 %", 100),
    ]:
        random, first, claimed = numpy.random.default_rng([seed, n]), [], []
        for number in range(count):
            values = SHAPES["mixed"](random, n, numpy.zeros(2))
            if kind.startswith("lost"):
                values[numpy.argsort(values[:, 1])[: n * 9 // 100], 1] = numpy.nan
            else:
                values[:, 0], values[:, 1] = 0.95, 0.95 + numpy.where(random.random(n) < 0.05, -0.95, 0.05)
            found = stand(table(values), number)
            first.append(found[0].trial == table(values[:2]).results[1].trial)
            claimed.append(not all(one.in_set for one in found))
        rows.append([kind, n, share(first), share(claimed)])
    heads = ["the second trial", "questions", "it ranks first", "one of the two is left out"]
    return section("Failures and skewed differences", "The trials are equal: at most 5 % may be left out.", rows, heads)


def power_holds(count: int, seed: int) -> str:
    """Does the difference that is promised with 80 % power show in 80 % of experiments?"""
    rows = []
    for n, documents in [(20, 8), (50, 8), (60, 12), (200, 50), (50, 50)]:
        document = numpy.arange(n) % documents
        variance = 0.09 * (0.1 * (numpy.bincount(document) ** 2).sum() / n**2 + 0.9 / n)
        for k, n_weak in [(2, 1), (12, 1), (12, 6)]:
            smallest = plan_power((variance * n) ** 0.5, n, n_documents=documents, n_trials=k).smallest or 1.0
            quality = numpy.repeat([0.0, -smallest], [k - n_weak, n_weak])
            weak = {result.trial.id for result in table(numpy.zeros((2, k))).results[-n_weak:]}
            random, shown = numpy.random.default_rng([seed, n, k]), []
            for number in range(count):
                found = stand(table(normal(random, document, quality), document.tolist()), number)
                shown.append(sum(one.trial.id in weak for one in found if not one.in_set) / n_weak)
            rows.append([n, documents, k, n_weak, f"{smallest:.3f}", share(shown)])
    heads = ["questions", "documents", "trials", "of them worse", "promised with 80 %", "shown in"]
    return section("Power", "Trials that are worse by the smallest difference promised.", rows, heads)


def factors(count: int, seed: int) -> str:
    """The factors of a 3 x 2 x 2 grid in which one LLM is worse: is it shown to matter, and is anything else said?"""
    rows: list[list[object]] = []
    for n, documents in [(50, 5), (20, 8), (50, 8), (20, 20)]:
        row: list[object] = [n, documents]
        for loss in (0.0, 0.1, 0.25):
            random, document = numpy.random.default_rng([seed, n, documents]), numpy.arange(n) % documents
            worse = numpy.array([trial.llm_identifier == "llm-1" for trial in grid(12)])
            shown, false = [], []
            for number in range(count):
                found = effects(table(normal(random, document, -loss * worse), document.tolist()), number // 50)
                said = {each.factor for each in found.factors if each.matters}
                said |= {each.factor for each in found.levels if each.effect.excludes_zero}
                said |= {str(each.factors) for each in found.interactions if each.effect.excludes_zero}
                shown.append("LLM" in said)
                false.append(bool(said - ({"LLM"} if loss else set())))
            row += [share(false)] if not loss else [share(shown), share(false)]
        rows.append(row)
    heads = ["questions", "documents", "equal: any false statement"]
    heads += [f"{loss}: {what}" for loss in ("0.1", "0.25") for what in ("LLM shown to matter", "anything else said")]
    text = (
        "12 trials, of which the six of one LLM are worse by 0, 0.1 or 0.25. A statement is that a factor matters, "
        "that a level differs from the average, or that two factors interact. False ones are errors: at most 5 % is "
        "allowed."
    )
    return section("Which factor matters", text, rows, heads)


def recommended(count: int, seed: int) -> str:
    """What the recommended trial really loses, and what it costs, with and without the margin; a quarter of `count`."""
    shape, rows = SHAPES["mixed"], []
    prices = 2.0 ** numpy.arange(12)
    qualities = {"dearer is better": numpy.linspace(0, 1.2, 12), "all equal": numpy.zeros(12)}
    for case, n in [(case, n) for case in qualities for n in (20, 50, 200, 1000)]:
        truth = true_means(shape, qualities[case])
        trials = [result.trial.id for result in table(numpy.zeros((2, 12))).results]
        cost = dict(zip(trials, prices, strict=True))
        found: dict[float, list[tuple[float, float, bool]]] = {1.0: [], 0.05: []}
        for number, values in draws(shape, n, qualities[case], count // 4, seed):
            priced = [replace(one, cost=Cost(cost[one.trial.id], None, None)) for one in stand(table(values), number)]
            for margin, results in found.items():
                chosen = recommend(priced, "score", margin)
                place = trials.index(chosen.trial.id)
                results.append((float(truth.max() - truth[place]), prices[place], bool(chosen.doubt)))
        for margin, results in found.items():
            lost, price, doubt = (numpy.array(column) for column in zip(*results, strict=True))
            far = lost > margin
            row = [f"{lost.mean():.3f}", share(lost > 0.05), f"{price.mean():.0f}", share(doubt), share(far & ~doubt)]
            rows.append([case, n, margin, *row])
    text = (
        f"{count // 4} experiments a row. 12 trials, each twice as dear as the one before. Where dearer is better, the "
        f"best is truly {numpy.ptp(true_means(shape, qualities['dearer is better'])):.2f} above the cheapest. Margin 1 "
        "recommends the cheapest of all that cannot be told apart from the best; 0.05 is the default, and does not "
        "take a measured loss of more than 0.05 for a lower price. Its own price: among equal trials and with few "
        "questions, a dear one may lead by luck. The last column is an error: at most 5 % is allowed."
    )
    heads = ["trials", "questions", "margin", "mean true loss", "truly lost more than 0.05", "price (cheapest: 1)"]
    heads += ["said that the questions cannot tell", "did not, and yet lost more than the margin"]
    return section("What the recommended trial loses", text, rows, heads)


PARTS = (false_winners, few_documents, failures, power_holds, coverage, kept, factors, recommended)


def section(title: str, text: str, rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    print(tabulate(rows, heads), flush=True)
    return f"## {title}\n\n{text}\n\n{tabulate(rows, heads, tablefmt='github', disable_numparse=True)}\n"


def machine() -> str:
    models = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"one core of {models[0] if models else platform.processor() or platform.machine()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many of the parts at the same time")
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="what to simulate")
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(part, options.experiments, options.seed) for part in PARTS if part.__name__ in options.parts
        ]
        parts = [run.result() for run in runs]
    head = HEAD.format(
        experiments=options.experiments,
        seed=options.seed,
        machine=machine(),
        minutes=(os.times().children_user + os.times().children_system) / 60,
    )
    if not options.no_page:
        PAGE.write_text("\n".join([head, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
