"""How often does the comparison err? Simulated experiments, written as tables to choosing.md beside this file.

    python tests/benchmarks/choosing.py [--experiments 1000] [--seed 0] [--jobs 1]

Run by hand; a quarter of an hour on one core. `tests/comparison/test_ranking.py` holds a small version of it.
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
from simulated import SHAPES, Floats, Shape, quality_for, table, true_means  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dream.comparison.intervals import columns, critical, intervals, resamples  # noqa: E402
from dream.comparison.power import plan_power  # noqa: E402
from dream.comparison.ranking import Standing, all_pairs, standings  # noqa: E402
from dream.comparison.recommendation import recommend  # noqa: E402
from dream.comparison.running_cost import Cost  # noqa: E402
from dream.comparison.score_table import ScoreTable  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# How often does the comparison err?

Written by `tests/benchmarks/choosing.py`: {experiments} simulated experiments a row, seed {seed}, {machine},
{minutes:.0f} minutes of computing. The shapes of scores are those of `tests/simulated.py`: bounded, in steps,
often tied. With {experiments} experiments a share of 5 % is known to about ±{error:.1f} percentage points (95 %).
"""


def stand(scores: ScoreTable, seed: int) -> tuple[Standing, ...]:
    return standings(scores, 0.1, seed // 50)[0]


def draws(shape: Shape, n: int, quality: Floats, count: int, seed: int) -> Iterator[tuple[int, Floats]]:
    random = numpy.random.default_rng([seed, n, len(quality)])
    for number in range(count):
        yield number, shape(random, n, quality)


def share(hits: Sequence[bool]) -> str:
    return f"{100 * numpy.mean(hits):.1f} %"


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
    for name, n in [(name, n) for name in SHAPES for n in (50, 200)]:
        quality = numpy.linspace(0, 0.5, 12)
        truth = true_means(SHAPES[name], quality)
        names = {trial.trial.id: place for place, trial in enumerate(table(numpy.zeros((2, 12))).results)}
        alone, pairs, picked = [], [], []
        first, second = numpy.triu_indices(12, 1)
        for number, values in draws(SHAPES[name], n, quality, count, seed):
            scores = table(values)
            block = columns(values[:, [11]] - values[:, [3]], scores.clusters)
            weights = resamples(n, number // 50)
            one = intervals(block, critical([block], weights))[0]
            alone.append(one.low <= truth[11] - truth[3] <= one.high)
            value = critical(all_pairs(values, scores.clusters), weights)
            found = [one for some in all_pairs(values, scores.clusters) for one in intervals(some, value)]
            pairs.append(
                all(one.low <= gap <= one.high for one, gap in zip(found, truth[first] - truth[second], strict=True))
            )
            stood = stand(scores, number)
            best = truth[names[stood[0].trial.id]]
            gaps = [(one.difference, truth[names[one.trial.id]] - best) for one in stood[1:]]
            picked.append(all(one.low <= gap <= one.high for one, gap in gaps if one))
        rows.append([name, n, share(alone), share(pairs), share(picked)])
    heads = ["scores", "questions", "a pair named beforehand", "all 66 pairs at once", "all against the picked best"]
    text = (
        "12 trials of different quality; how often 95 % intervals hold the true differences. The last column is what "
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


def power_holds(count: int, seed: int) -> str:
    """Does the difference that is promised with 80 % power show in 80 % of experiments?"""
    rows = []
    for name, n in [("ratios", 100), ("mixed", 100), ("mixed", 400)]:
        pilot = SHAPES[name](numpy.random.default_rng(seed), 100_000, numpy.zeros(2))
        spread = float((pilot[:, 0] - pilot[:, 1]).std())
        smallest = plan_power(spread, n).smallest or 1.0
        quality = numpy.array([0.0, quality_for(SHAPES[name], smallest)])
        shown = []
        for number, values in draws(SHAPES[name], n, quality, count, seed):
            block = columns(values[:, [1]] - values[:, [0]], numpy.arange(n))
            shown.append(intervals(block, critical([block], resamples(n, number // 50)))[0].low > 0)
        rows.append([name, n, f"{spread:.3f}", f"{smallest:.3f}", share(shown)])
    heads = ["scores", "questions", "spread of differences", "promised with 80 %", "shown in"]
    return section("Power", "Two trials that differ by the smallest difference promised.", rows, heads)


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


PARTS = (false_winners, coverage, kept, power_holds, recommended)


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
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(part, options.experiments, options.seed) for part in PARTS]
        parts = [run.result() for run in runs]
    head = HEAD.format(
        experiments=options.experiments,
        seed=options.seed,
        machine=machine(),
        minutes=(os.times().children_user + os.times().children_system) / 60,
        error=196 * (0.05 * 0.95 / options.experiments) ** 0.5,
    )
    if not options.no_page:
        PAGE.write_text("\n".join([head, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
