"""By how much do the raw and the shrunken mean flatter the trial that comes first? Writes flattery.md beside this file.

    python tests/benchmarks/flattery.py [--experiments 1000] [--seed 0]

Run by hand; some minutes on one core. `tests/comparison/test_shrinkage.py` holds a small version of it.
"""

import argparse
import os
import sys
from functools import lru_cache
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy  # noqa: E402
from simulated import SHAPES, Floats, table, true_means  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dream.comparison.shrinkage import shrunken_means  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# By how much is the winner flattered?

Written by `tests/benchmarks/flattery.py`: {experiments} simulated experiments a row, seed {seed}. The shapes of scores
are those of `tests/simulated.py`. The trial with the highest mean is held against its true mean: the raw mean, the
shrunken mean (`dream.comparison.shrinkage`) and its mean on as many questions again as a quarter of those, which the
search never saw, each with its Monte Carlo error (95 %). 0 is unbiased. The last columns are the root mean squared
errors of all trials.

"""
CASES = {
    "equal": lambda k: numpy.zeros(k),
    "different": lambda k: numpy.linspace(0, 0.5, k),
    "half with a weak LLM": lambda k: numpy.repeat([0.0, -0.5], k // 2),
}


def row(shape: str, k: int, case: str, kind: str, count: int, seed: int) -> list[str]:
    """One row of the table: 50 questions, each of a document of its own, or 120 from 30 documents."""
    quality = CASES[case](k)
    truth, random = _truth(shape, k, case), numpy.random.default_rng([seed, k])
    flattered, errors = [], []
    for _ in range(count):
        values, clusters = draw(shape, quality, kind, random)
        fresh, _ = draw(shape, quality, kind, random)
        scores = table(values, clusters)
        raw, shrunken = scores.means, shrunken_means(scores)
        assert shrunken is not None
        winner = int(raw.argmax())
        held_out = fresh[: len(fresh) // 4, winner].mean()
        flattered.append([raw[winner], shrunken[winner], held_out] - truth[winner])
        centre = truth - truth.mean()
        errors.append([((means - means.mean() - centre) ** 2).mean() for means in (raw, shrunken)])
    bias, error = numpy.mean(flattered, 0), 1.96 * numpy.std(flattered, 0) / count**0.5
    root = numpy.mean(errors, 0) ** 0.5
    told = [f"{b:+.4f} ± {e:.4f}" for b, e in zip(bias, error, strict=True)]
    return [shape, str(k), case, kind, *told, f"{root[0]:.3f}", f"{root[1]:.3f}"]


@lru_cache
def _truth(shape: str, k: int, case: str) -> Floats:
    return true_means(SHAPES[shape], CASES[case](k), 200_000)


def draw(
    shape: str, quality: Floats, kind: str, random: numpy.random.Generator
) -> tuple[Floats, "numpy.ndarray | None"]:
    """Scores, and the document of each question. The questions of a document share a part of each trial's luck, which
    leaves the true means as they are."""
    if kind == "50":
        return SHAPES[shape](random, 50, quality), None
    clusters = numpy.repeat(numpy.arange(30), 4)
    alike = random.random(120) < 0.4  # so many questions of a document score as its first one
    own = numpy.where(alike, clusters * 4, numpy.arange(120))
    return SHAPES[shape](random, 120, quality)[own], clusters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = [
        row(shape, k, case, kind, given.experiments, given.seed)
        for shape in ("mixed", "ratios", "yes or no")
        for k in (12, 60)
        for case in CASES
        for kind in ("50", "120 of 30 documents")
    ]
    heads = ["scores", "trials", "systems", "questions", "raw", "shrunken", "held out", "error raw", "error shrunken"]
    text = HEAD.format(experiments=given.experiments, seed=given.seed)
    PAGE.write_text(text + tabulate(rows, heads, tablefmt="github", disable_numparse=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
