"""Do calibrated intervals hold the truth? Simulated judges and labels, written as a table to calibration.md.

    python -m tests.benchmarks.calibration [--experiments 1000] [--seed 0]

Four trials, of which some answers have human labels (0, 0.25, ..., 1); a question is harder or easier for all trials,
and a tenth of the variance is between documents.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy  # noqa: E402
from scipy import stats  # noqa: E402
from simulated import Floats, table  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dream.comparison.calibration import Calibration, calibrated  # noqa: E402
from dream.comparison.human_agreement import Label  # noqa: E402
from dream.comparison.intervals import columns  # noqa: E402
from dream.errors import DataError  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
QUALITY = numpy.array([0.2, 0.1, 0.0, -0.3])
Judge = Callable[[numpy.random.Generator, Floats], Floats]
HEAD = """# Do calibrated means hold the truth?

Written by `tests/benchmarks/calibration.py`: {count} simulated experiments a row, seed {seed}. After ± is half of the
95 % interval of the simulation itself. Four trials; labels from 0 to 1 in steps of a quarter, of answers drawn at
random; a tenth of the variance is between documents. *A mean*: the 95 % interval of a trial's calibrated mean holds its
true mean; *all differences*: the intervals of all differences to the first trial hold at once, where both trials have
labels of their own (others are not given). *Raw*: the judge's own mean with its 95 % interval. *Width*: of a trial's
interval, and in brackets that of its labels alone. A trial that is not corrected, because the judge's bias is shown to
differ between trials, is counted in the last column only.

With labels of its own a trial's interval holds whatever the judge does. Two trials of *two trials*, and all of *all
trials together*, are corrected by labels of others, which assumes that the judge's bias is the same in all: here it
nearly is for the good judge alone. Scores end at 0 and 1, so that a generous judge gives good trials less than poor
ones, and a useless one flatters the poor.
"""


def people(random: numpy.random.Generator, documents: numpy.ndarray) -> Floats:
    """What people say of each answer, questions x trials."""
    n = len(documents)
    shared = 0.2 * random.normal(size=(documents.max() + 1, 1))[documents] + 0.25 * random.normal(size=(n, 1))
    own = 0.1 * random.normal(size=(documents.max() + 1, 4))[documents] + 0.25 * random.normal(size=(n, 4))
    return numpy.clip(numpy.round(4 * (0.6 + shared + own + QUALITY)) / 4, 0, 1)


def noisy(random: numpy.random.Generator, labels: Floats, bias: Floats) -> Floats:
    return numpy.clip(labels + bias + 0.15 * random.normal(size=labels.shape), 0, 1)


JUDGES: dict[str, Judge] = {
    "good": lambda random, labels: noisy(random, labels, numpy.zeros(4)),
    "too generous by about 0.15": lambda random, labels: noisy(random, labels, numpy.full(4, 0.15)),
    "too generous in one trial": lambda random, labels: noisy(random, labels, numpy.array([0.2, 0, 0, 0])),
    "useless": lambda random, labels: random.uniform(size=labels.shape),
}


def labelled(random: numpy.random.Generator, n: int, kind: str) -> numpy.ndarray:
    """Which answers have labels, questions x trials."""
    marks = numpy.zeros((n, 4), bool)
    if kind.startswith("two trials"):
        marks[random.choice(n, int(kind.split()[-1]), replace=False), :2] = True
    elif kind.startswith("each trial"):
        for column in range(4):
            marks[random.choice(n, int(kind.split()[-1]), replace=False), column] = True
    else:
        marks.ravel()[random.choice(4 * n, int(kind.split()[-1]), replace=False)] = True
    return marks


def simulate(judge: str, kind: str, n: int, n_documents: int, count: int, seed: int) -> list[str]:
    random, documents = numpy.random.default_rng([seed, n, n_documents]), numpy.arange(n) % n_documents
    truth = people(numpy.random.default_rng(1), numpy.arange(400_000) // 4).mean(0)
    held, together, raw, widths, alone, none = [], [], [], [], [], []
    for _ in range(count):
        labels = people(random, documents)
        marks, scores = labelled(random, n, kind), JUDGES[judge](random, labels)
        scored = table(scores, documents.tolist())
        given = [
            Label(scored.question_ids[row], scored.results[column].trial.id, float(labels[row, column]))
            for row, column in zip(*marks.nonzero(), strict=True)
        ]
        try:
            found = calibrated(scored, given)
        except DataError:
            none.append(1.0)
            continue
        own = found.trials[1]
        means = [(each.mean, true) for each, true in zip(found.trials, truth, strict=True) if each.mean]
        held += [mean.low <= true <= mean.high for mean, true in means]
        if any(each.difference for each in found.trials):
            together.append(_all_differences(found, truth))
        raw += (abs(scores.mean(0) - truth) <= half_width(scores, documents)).tolist()
        widths += [own.mean.high - own.mean.low] if own.mean else []
        if marks[:, 1].sum() > 1:
            people_alone = numpy.where(marks[:, 1], labels[:, 1], numpy.nan)[:, None]
            alone.append(2 * float(half_width(people_alone, documents)[0]))
        none.append(numpy.mean([each.mean is None for each in found.trials]))
    width = f"{numpy.mean(widths):.2f} ({numpy.mean(alone):.2f})"
    return [judge, kind, f"{n}/{n_documents}", share(held), share(together), share(raw), width, share(none)]


def half_width(values: Floats, documents: numpy.ndarray) -> Floats:
    """Half of the ordinary 95 % interval of each mean, with the questions of a document together."""
    block = columns(values, documents)
    return block.error * stats.t.isf(0.025, block.n_clusters - 1)


def _all_differences(found: Calibration, truth: Floats) -> bool:
    gaps = zip(found.trials[1:], truth[1:] - truth[0], strict=True)
    return all(each.difference.low <= gap <= each.difference.high for each, gap in gaps if each.difference)


def share(hits: list[bool] | list[float]) -> str:
    error = max(1.96 * numpy.std(hits) / len(hits) ** 0.5, 3 / len(hits)) if hits else 0.0
    return f"{100 * numpy.mean(hits):.1f} ± {100 * error:.1f} %" if hits else "–"


CASES = [
    (judge, kind, n, documents)
    for judge in JUDGES
    for kind, n, documents in [
        ("each trial, 40", 200, 200),
        ("each trial, 40", 200, 20),
        ("each trial, 25", 60, 8),
        ("two trials, the same questions, 40", 200, 50),
        ("all trials together, 40", 200, 50),
    ]
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    rows = [simulate(*case, options.experiments, options.seed) for case in CASES]
    heads = ["judge", "labels", "questions/documents", "a mean", "all differences", "raw", "width", "not corrected"]
    text = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    print(text)
    if not options.no_page:
        head = HEAD.format(count=f"{options.experiments:,}", seed=options.seed)
        PAGE.write_text(f"{head}\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
