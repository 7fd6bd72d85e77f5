"""Decides which trials leave a race: group-sequential tests by sign flips of whole documents.

All trials answer the questions in the same order, with looks after some of them. The statistic of a look is the range
of the means, as in the set of the best (`dream.comparison.sign_flips`), so that it is the largest difference over all
pairs of trials in the race. Every flip of the documents' signs gives the ranges of all looks so far together. The
boundary of a look is the smallest with which, in at most the share of flips that may be spent by then, any range so far
exceeds the boundary of its look: alpha spending (Lan and DeMets 1983, "Discrete Sequential Boundaries for Clinical
Trials"), in the spending function that they give for Pocock's boundary, with the joint distribution of the looks from
the flips (Westfall and Young 1993, "Resampling-Based Multiple Testing", for the maximum over hypotheses). Trials whose
loss against the best mean exceeds the boundary leave, and the look is repeated with the remaining trials (Romano and
Wolf 2005, "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing").

Sign flips assume that differences of equal trials are symmetric. Many small gains with rare large losses are not, and
at an early look no loss may have been seen yet. So a trial leaves only if unseen questions could not make up for its
loss: if it gained the whole range of scores on a share of the questions as large as its loss, one of them would be
among those asked so far (the rule of three: Hanley and Lippman-Hand 1983, "If Nothing Goes Wrong, Is Everything All
Right?", at the race's error divided by the number of other trials), and one more document, gained whole, would not make
up for it either.

The probability that any of the truly best trials ever leaves should be at most the race's error; the final comparison
has the rest of the 5 %. No theorem covers the boundaries of earlier looks, which depend on all trials that were then in
the race. In simulations, the error stays below 2.5 %, also with rare and large losses, unless whole documents are lost
at once (`tests/benchmarks/racing.md`).

A missing score counts as the best score for the trial that may leave, and as the worst for the trials it is compared
with.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from dream.comparison.intervals import Floats, cluster_numbers, seeded
from dream.comparison.score_table import ScoreTable
from dream.comparison.sign_flips import EXACT, Spread, ranges, spread_of_scores
from dream.defaults import RACE_ERROR

# The first look spends only a small share of the flips, so a race uses more flips than a comparison.
FLIPS = 4000
_SLACK = 1e-9


@dataclass(frozen=True)
class PlannedLook:
    """A look after `questions` questions of `documents` documents; `error` is the error that may be spent up to it."""

    questions: int
    documents: int
    error: float


@dataclass(frozen=True)
class Leaving:
    """A trial that leaves; `column` and `best` are columns of the table. See `dream.records.LeftRace`."""

    column: int
    best: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """The trials that leave at a look, and the final boundary of the loss; infinite if no loss exceeded it."""

    boundary: float
    left: tuple[Leaving, ...]


def shuffled(documents: Sequence[str], seed: int = 0) -> list[int]:
    """The order of the questions, from the document of each: documents in random order, with their questions together.
    Questions without a document are shuffled individually, and so are all questions of a single document.

    Example:
        >>> order = shuffled(["a", "b", "a", "b", "c"], seed=1)
        >>> sorted(order), abs(order.index(0) - order.index(2))
        ([0, 1, 2, 3, 4], 1)
    """
    numbers = _units(documents)
    position = seeded(seed).permutation(int(numbers.max(initial=-1)) + 1)
    return sorted(range(len(documents)), key=lambda row: (position[numbers[row]], row))


def planned_looks(documents: Sequence[str], first: int, block: int, error: float = RACE_ERROR) -> list[PlannedLook]:
    """The looks at questions whose documents come in this order: each at the end of a document, the first after at
    least `first` questions, the others after at least `block` more, with enough documents to reach the boundary, and at
    least half a block before the last question. Empty if no look is possible.

    Example:
        >>> [look.questions for look in planned_looks([f"{i}.pdf" for i in range(100)], first=20, block=30)]
        [20, 50, 80]
    """
    numbers = _units(documents)
    n, n_documents = len(numbers), int(numbers.max(initial=-1)) + 1
    looks: list[PlannedLook] = []
    due = first
    for end in range(1, n):
        seen = int(numbers[end - 1]) + 1
        if end < due or numbers[end] == numbers[end - 1] or n - end < block / 2:
            continue
        spent = spent_by(seen / n_documents, error)
        before = looks[-1].error if looks else 0.0
        if (spent - before) * 2.0 ** min(
            seen, EXACT
        ) >= 2:  # with fewer, even the clearest difference is not significant
            looks.append(PlannedLook(end, seen, spent))
            due = end + block
    return looks


def spent_by(share: float, error: float = RACE_ERROR) -> float:
    """The error that may be spent after this share of the documents.

    Example:
        >>> round(spent_by(0.1), 4), spent_by(1.0)
        (0.004, 0.025)
    """
    return error * math.log(1 + (math.e - 1) * share)


def decide(
    table: ScoreTable,
    ends: Sequence[int],
    boundaries: Sequence[float],
    error: float,
    total: float = RACE_ERROR,
    kept: Collection[int] = (),
    seed: int = 0,
    entered: int = 0,
) -> Decision:
    """Decide which trials leave at a look.

    Args:
        table: the scores of the trials in the race on the questions so far, in the order in which they were asked.
        ends: the numbers of rows at the looks so far, including this one.
        boundaries: the boundaries of the earlier looks.
        error: the error that may be spent up to this look; `total` is that of the whole race.
        kept: columns of trials that never leave.
        entered: the number of trials that the race began with, by default those of the table.

    Example:
        >>> from dream.records import Trial, TrialResult
        >>> results = tuple(TrialResult(Trial(name, "llm", "embed")) for name in ("a", "b"))
        >>> scores = numpy.column_stack([numpy.linspace(0.7, 0.9, 10), numpy.linspace(0.5, 0.2, 10)])
        >>> table = ScoreTable("score", tuple("0123456789"), results, scores, numpy.arange(10))
        >>> [each.column for each in decide(table, [10], [], error=0.005).left]
        [1]
    """
    spreads = [spread_of_scores(table.values[:end], table.clusters[:end], table.reach) for end in ends]
    signs, n_trials = _signs(len(spreads[-1].low), seed), len(table.results)
    low, high = spreads[-1].low.sum(0), spreads[-1].high.sum(0)
    least = table.span * unseen(spreads[-1].share, ends[-1], total / max(entered - 1, n_trials - 1, 1))
    inside, left, boundary = list(range(n_trials)), list[Leaving](), math.inf
    while len(inside) > 1:
        boundary = max(_boundary([spread.only(inside) for spread in spreads], boundaries, signs, error), least)
        best = max(inside, key=lambda column: low[column])
        out = {each for each in inside if each not in kept and low[best] - high[each] > boundary + _SLACK} - {best}
        if not out:
            break
        for column in sorted(out):
            mean = float(table.means[column] - table.means[best])
            lowest = max(float(low[column] - high[best]) - boundary, -table.span)
            highest = float(high[column] - low[best]) + boundary
            left.append(Leaving(column, best, mean, min(lowest, mean), max(highest, mean)))
        inside = [column for column in inside if column not in out]
    return Decision(boundary, tuple(left))


def unseen(share: Floats, questions: int, error: float) -> float:
    """The largest loss, as a share of the range of scores, that unseen questions or an unseen document could make up
    for.

    Args:
        share: the share of the questions that each document has.
        error: the probability that questions which would make up for a larger loss are not among those asked.

    Example:
        >>> round(unseen(numpy.full(20, 1 / 20), questions=100, error=0.05), 3)  # one more of 20 documents
        0.05
        >>> round(unseen(numpy.full(100, 1 / 100), questions=100, error=0.05), 3)  # some 3 of 100 questions
        0.03
    """
    return max(1 - error ** (1 / questions), float((share**2).sum()))


def _boundary(spreads: Sequence[Spread], boundaries: Sequence[float], signs: Floats, error: float) -> float:
    """The smallest boundary of the last look that spends no more than `error` in all looks together."""
    crossed: NDArray[numpy.bool_] = numpy.zeros(len(signs), bool)
    for spread, boundary in zip(spreads[:-1], boundaries, strict=True):
        crossed |= ranges(spread, signs[:, : len(spread.low)]) > boundary + _SLACK
    allowed = int(error * len(signs) + _SLACK) - int(crossed.sum())
    if allowed < 0:
        return math.inf
    statistics = numpy.sort(ranges(spreads[-1], signs)[~crossed])[::-1]
    return float(statistics[allowed]) if allowed < len(statistics) else 0.0


def _signs(n_documents: int, seed: int) -> Floats:
    """Signs of the documents, replicates x documents: every combination for few, else a sample with the observed one
    first."""
    if n_documents <= EXACT:
        every = (numpy.arange(2**n_documents)[:, None] >> numpy.arange(n_documents)) & 1
        return (1.0 - 2.0 * every).astype(numpy.float64)
    drawn: Floats = (1.0 - 2.0 * seeded(seed).integers(0, 2, size=(FLIPS, n_documents))).astype(numpy.float64)
    drawn[0] = 1.0
    return drawn


def _units(documents: Sequence[str]) -> NDArray[numpy.int64]:
    """The document number of each question, as in the final comparison: with a single document, each question counts as
    its own."""
    numbers = cluster_numbers(documents)
    return numpy.arange(len(documents)) if numbers.max(initial=0) == 0 else numbers
