"""The differences of the trials to the best one, with intervals that agree with the set of the best.

Both come from the same sign flips (`dream.comparison.sign_flips`). If the differences of a trial are clearly not
symmetric, it leaves the set only if an interval that assumes only bounded scores is below 0 too; the reported interval
then covers both (`dream.comparison.bounded`).
"""

import itertools
from dataclasses import dataclass

import numpy
from scipy import stats

from dream.comparison.bounded import betting_interval, why_not_symmetric
from dream.comparison.intervals import CONFIDENCE, Columns, Floats, Interval, columns
from dream.comparison.score_table import ScoreTable
from dream.comparison.sign_flips import FEWEST_FLIPPED, BestSet, Spread, best_set, spread_of_scores

SIGN_FLIPS, STUDENT, BETTING = "sign flips", "Student's t", "betting"


@dataclass(frozen=True)
class Difference:
    """A trial against the best; see `dream.comparison.ranking.Standing`."""

    difference: Interval | None
    alone: Interval | None
    in_set: bool
    interval_by: str
    may_lose: float


def differences_to_the_first(
    ranked: ScoreTable, seed: int = 0, confidence: float = CONFIDENCE
) -> tuple[list[Difference], float]:
    """Each trial of a ranked table, the best first, and the error level per pair (see `standings`).

    Questions on which no trial has a score are left out.
    """
    scored = [not row.all() for row in numpy.isnan(ranked.values)]
    ranked = ranked if all(scored) else ranked.of_questions(list(itertools.compress(ranked.question_ids, scored)))
    spread = spread_of_scores(ranked.values, ranked.clusters, ranked.reach)
    block = columns(ranked.values[:, 1:] - ranked.values[:, :1], ranked.clusters)
    betting = _betting(ranked, confidence)
    best = best_set(spread, seed, [column for column, (_, high, _) in betting.items() if high >= 0], confidence)
    rest = [
        _difference(column, ranked.span, spread, block, best, betting.get(column), seed, confidence)
        for column in range(1, len(ranked.results))
    ]
    most = max((each.difference.high for each in rest if each.in_set and each.difference), default=0.0)
    return [Difference(None, None, True, "", most), *rest], _level(best, block, confidence)


def _difference(
    place: int,
    span: float,
    spread: Spread,
    block: Columns,
    found: BestSet,
    betting: tuple[float, float, str] | None,
    seed: int,
    confidence: float,
) -> Difference:
    low, high, column = spread.low.sum(0), spread.high.sum(0), place - 1
    mean, error = float(numpy.nan_to_num(block.mean[column])), float(block.error[column])
    whole = Interval(mean, -span, span, None if numpy.isnan(error) else error, int(block.counts[:, column].sum()))
    least, most = float(low[place] - high[0]), float(high[place] - low[0])
    single, in_set = best_set(spread.only([0, place]), seed, confidence=confidence), bool(found.in_set[place])
    alone = _within(whole, least - float(single.below[1]), most + float(single.above[1]))
    below, above = float(found.below[place]), float(found.above[place])
    if in_set:  # the interval always contains the mean and 0, despite missing scores and rounding
        unseen = _unseen(block, column, span, confidence)
        least, most = min(least - max(below, unseen), mean), max(most + max(above, unseen), mean, 0.0)
    else:
        least, most = min(least - below, mean), most + above
    if betting:
        least, most = min(least, betting[0]), max(most, betting[1])
    student = STUDENT if len(spread.low) < FEWEST_FLIPPED else SIGN_FLIPS
    others = [other for other in numpy.flatnonzero(found.in_set) if other != place]
    gain = float(high[others].max() - low[place]) + float(found.below[0])
    difference = _within(whole, least, most)
    return Difference(
        difference, alone, in_set, f"{BETTING}: {betting[2]}" if betting else student, max(min(gain, span), -least)
    )


def _within(whole: Interval, low: float, high: float) -> Interval:
    """The interval from `low` to `high`, clipped to possible differences."""
    return Interval(whole.mean, max(low, whole.low), min(high, whole.high), whole.error, whole.n)


def _betting(ranked: ScoreTable, confidence: float) -> dict[int, tuple[float, float, str]]:
    """The bounded intervals of the trials whose differences to the first are clearly not symmetric, with the reason."""
    values, span = ranked.values, ranked.span
    reasons = {
        column: why_not_symmetric(values[:, column] - values[:, 0], ranked.clusters, span)
        for column in range(1, values.shape[1])
    }
    reasons = {column: reason for column, reason in reasons.items() if reason}
    confidence = 1 - (1 - confidence) / max(len(reasons), 1)
    low, high = (numpy.nan_to_num(values, nan=limit) for limit in ranked.reach)
    intervals_by_column = {}
    for column, reason in reasons.items():
        worst, best = low[:, column] - high[:, 0], high[:, column] - low[:, 0]
        intervals_by_column[column] = (*betting_interval(worst, best, ranked.clusters, span, confidence), reason)
    return intervals_by_column


def _unseen(block: Columns, column: int, span: float, confidence: float) -> float:
    """The loss that may be unseen if fewer than 6 documents differ: that of another document with the largest
    difference seen, or with `span` if none differs. A kind of document that is not among n may still have a share of 1
    - 0.025 ** (1 / n), 3.6 % of 100 (Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits")."""
    counts = block.counts[:, column]
    sizes = numpy.abs(block.sums[counts > 0, column] / counts[counts > 0])
    if len(sizes) == 0 or (sizes > 1e-12).sum() >= FEWEST_FLIPPED:
        return 0.0
    largest = float(sizes.max())
    return float(1 - ((1 - confidence) / 2) ** (1 / len(sizes))) * (largest if largest > 1e-12 else span)


def _level(found: BestSet, block: Columns, confidence: float) -> float:
    """The two-sided error level at which Student's t test would need the same difference for a pair of median
    spread."""
    errors: Floats = block.error[block.error > 0]
    if len(errors) == 0 or not numpy.isfinite(found.widest):
        return 1 - confidence
    level = 2 * stats.t.sf(found.widest / numpy.median(errors), max(len(block.sums) - 1, 1))
    return float(min(max(level, 1e-12), 1 - confidence))
