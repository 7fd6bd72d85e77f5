"""Prediction-powered estimates: means of human labels, made more precise by the scores of all answers.

See `dream.comparison.calibration` for the method and its papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.comparison.intervals import CONFIDENCE, Floats, Interval, columns, sum_by_cluster
from dream.comparison.score_table import ScoreTable

FEWEST_OF_TRIAL = 20
FEWEST_DOCUMENTS = 4


@dataclass(frozen=True)
class Estimate:
    """A mean with its error.

    Attributes:
        parts: the contribution of each document to the error.
        n_documents: the number of documents with labels.
        weight: lambda, the weight of the scores (0 to 1).
        least_error: a lower bound of the standard error.
        open_low, open_high: the distances by which missing scores may move the mean down and up.
    """

    mean: float
    parts: Floats
    n_documents: int
    weight: float = 1.0
    least_error: float = 0.0
    open_low: float = 0.0
    open_high: float = 0.0

    @property
    def error(self) -> float:
        """The standard error."""
        n = max(self.n_documents, 2)
        return max(float(numpy.sqrt((self.parts**2).sum() * n / (n - 1))), self.least_error)

    @property
    def negative(self) -> "Estimate":
        """The estimate of the negative mean."""
        return Estimate(-self.mean, -self.parts, self.n_documents, least_error=self.least_error)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two estimates over the same documents."""
        return Estimate(
            self.mean - other.mean,
            self.parts - other.parts,
            min(self.n_documents, other.n_documents),
            least_error=max(self.least_error, other.least_error),
            open_low=self.open_low + other.open_high,
            open_high=self.open_high + other.open_low,
        )

    def interval(self, limits: tuple[float, float], n: int, confidence: float = CONFIDENCE) -> Interval:
        """The confidence interval by Student's t, cut off at the least and the largest possible mean (`limits`)."""
        half = self.error * float(stats.t.isf((1 - confidence) / 2, max(self.n_documents - 1, 1)))
        least, most = limits
        low, high = self.mean - half - self.open_low, self.mean + half + self.open_high
        return Interval(min(max(self.mean, least), most), max(low, least), min(high, most), self.error, n)


def has_enough(given: Floats, clusters: NDArray[numpy.int64]) -> bool:
    """True if a trial has enough labels (NaN without one) to be corrected by them alone."""
    seen = ~numpy.isnan(given)
    return bool(seen.sum() >= FEWEST_OF_TRIAL and len(set(clusters[seen].tolist())) >= FEWEST_DOCUMENTS)


def tuned(given: Floats, scores: Floats, table: ScoreTable, limits: tuple[float, float]) -> Estimate:
    """PPI++ for a mean, of labels (NaN without one) and scores (NaN if missing), with the lambda of least variance.

    Args:
        limits: the least and the largest possible score, one of which takes the place of each missing one.
    """
    labelled = ~numpy.isnan(given)
    label, score = given[labelled], scores[labelled]
    moved = score - score.mean()
    slope = float((moved * label).sum() / (moved**2).sum()) if (moved**2).sum() > 1e-12 else 0.0
    weight = min(max(slope, 0.0), 1.0)
    judged = _part(scores, table, weight, limits)
    residuals = numpy.where(labelled, given - weight * scores, numpy.nan)
    rest = _mean_of(residuals, table.clusters)
    floor = _rare(residuals, table.clusters, table.span)
    return Estimate(
        rest.mean + judged.mean,
        rest.parts + judged.parts,
        rest.n_documents,
        weight,
        floor,
        judged.open_low,
        judged.open_high,
    )


def scored_mean(table: ScoreTable, column: int) -> Estimate | None:
    """The judge's mean; None without a score."""
    return _part(table.values[:, column], table, 1.0, table.reach) if table.scored[column] else None


def _part(scores: Floats, table: ScoreTable, weight: float, limits: tuple[float, float]) -> Estimate:
    """`weight` times a mean of scores, bounded by the worst and the best score where they are missing."""
    mean, share = _mean_of(scores, table.clusters), float(numpy.isnan(scores).mean())
    low, high = (share * abs(limit - mean.mean) for limit in limits)
    return Estimate(weight * mean.mean, weight * mean.parts, mean.n_documents, weight, open_low=low, open_high=high)


def _mean_of(values: Floats, clusters: NDArray[numpy.int64]) -> Estimate:
    """The mean of the values that are not NaN."""
    seen = ~numpy.isnan(values)
    mean = float(values[seen].mean())
    parts = sum_by_cluster(numpy.where(seen, values - mean, 0.0)[:, None], clusters)[:, 0] / seen.sum()
    return Estimate(mean, parts, len(set(clusters[seen].tolist())))


def _rare(residuals: Floats, clusters: NDArray[numpy.int64], span: float) -> float:
    """The least standard error where labels and judge differ in fewer than 3 documents (see `Columns.error`)."""
    middle = float(numpy.nanmedian(residuals))
    block = columns((residuals - middle)[:, None] / span, clusters)
    few = (numpy.abs(block.sums) > 1e-12).sum() < 3
    return float(block.error[0]) * span if few else 0.0


def common_bias(residuals: Floats, clusters: NDArray[numpy.int64], span: float) -> Estimate:
    """The mean of label - score over all labelled answers."""
    n_trials = residuals.shape[1]
    flat, of_documents = residuals.ravel(), numpy.repeat(clusters, n_trials)
    bias = _mean_of(flat, of_documents)
    return Estimate(bias.mean, bias.parts, bias.n_documents, least_error=_rare(flat, of_documents, span))


def bias_differs(residuals: Floats, clusters: NDArray[numpy.int64], own: Sequence[bool]) -> bool:
    """True if the bias of a trial with labels of its own is shown to differ from that of all other labelled answers."""
    tests = [column for column, mine in enumerate(own) if mine]
    for column in tests:
        others = numpy.delete(residuals, column, axis=1)
        if numpy.isnan(others).all():
            return False
        flat, of_documents = others.ravel(), numpy.repeat(clusters, others.shape[1])
        apart = _mean_of(residuals[:, column], clusters).minus(_mean_of(flat, of_documents))
        chance = 2 * stats.t.sf(abs(apart.mean) / max(apart.error, 1e-12), max(apart.n_documents - 1, 1))
        if chance * len(tests) < 1 - CONFIDENCE:
            return True
    return False
