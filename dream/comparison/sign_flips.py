"""The set of the best: a model confidence set by sign flips of whole documents, with the range of the means.

The model confidence set (Hansen, Lunde and Nason 2011, "The Model Confidence Set") starts with all trials. While the
hypothesis that all trials of the set are equal is rejected, the trials too far below the best are eliminated, and the
rest is tested again; testing the smaller sets costs no error (Romano and Wolf 2005, "Exact and Approximate Stepdown
Methods for Multiple Hypothesis Testing"). The statistic is the range of the means, as in Tukey's test (Tukey 1953, "The
Problem of Multiple Comparisons"), so that a trial never leaves before one with a lower mean.

If two trials are equal, the difference of their scores on a document is as likely positive as negative (Fisher 1935,
"The Design of Experiments", chapter 3). The distribution of the range is that over flips of the signs of all
differences of a document together: every combination of flips for up to 12 documents, a random sample above. Fewer than
6 documents have too few flips for significance at 5 %; Student's t distribution with the documents' degrees of freedom
then replaces the flips (Student 1908, "The Probable Error of a Mean").

A missing score counts as the worst value in one trial of a pair and as the best in the other (Manski 1989, "Anatomy of
the Selection Problem"), so that no trial gains from missing scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.comparison.intervals import CONFIDENCE, Floats, seeded, sum_by_cluster

# Up to this number of documents, all flips are enumerated: 2 ** 12 = 4096.
EXACT = 12
# With fewer documents, even the clearest difference has more than 5 % of the flips on its side: 2 / 2 ** 5 = 6 %.
FEWEST_FLIPPED = 6
FLIPS = 2000
_SLACK = 1e-9


@dataclass(frozen=True)
class Spread:
    """Sums of scores by document, from which replicates are computed, with missing scores at their worst and at their
    best.

    `low` and `high` are documents x trials, divided by the number of questions, so that a column adds up to a mean.
    They are equal if nothing is missing. `share` is the share of the questions of each document.
    """

    low: Floats
    high: Floats
    share: Floats

    @property
    def complete(self) -> bool:
        return self.low is self.high

    def only(self, trials: Sequence[int]) -> "Spread":
        low = self.low[:, trials]
        return Spread(low, low if self.complete else self.high[:, trials], self.share)

    def centred(self) -> "Spread":
        """The same with the mean of each trial taken off every question."""
        low, high = (each - self.share[:, None] * each.sum(0) for each in (self.low, self.high))
        return Spread(low, low if self.complete else high, self.share)


@dataclass(frozen=True)
class BestSet:
    """The model confidence set.

    Attributes:
        in_set: True for each trial in the set; the first trial, the best, is always in it.
        below, above: the distances from each trial's difference to the best to the lower and upper limit of its
            interval; a trial is in the set if and only if the interval includes 0 or more.
        widest: the half width for the difference of any two trials.
    """

    in_set: NDArray[numpy.bool_]
    below: Floats
    above: Floats
    widest: float


def spread_of_scores(values: Floats, clusters: NDArray[numpy.int64], limits: tuple[float, float]) -> Spread:
    """Sum the scores (questions x trials, NaN if missing) by document; `limits` are the worst and the best score."""
    n, gaps = len(values), numpy.isnan(values)
    share = sum_by_cluster(numpy.ones((n, 1)), clusters)[:, 0] / n
    low = sum_by_cluster(numpy.where(gaps, limits[0], values), clusters) / n
    return Spread(low, sum_by_cluster(numpy.where(gaps, limits[1], values), clusters) / n if gaps.any() else low, share)


def best_set(spread: Spread, seed: int = 0, kept: Sequence[int] = (), confidence: float = CONFIDENCE) -> BestSet:
    """The model confidence set of the trials of `spread`, the best first.

    Args:
        kept: trials that are never eliminated, because another test does not show that they are worse.

    Example:
        >>> scores = numpy.column_stack([numpy.full(8, 0.9), numpy.full(8, 0.9), numpy.linspace(0.1, 0.3, 8)])
        >>> best_set(spread_of_scores(scores, numpy.arange(8), (0.0, 1.0))).in_set.tolist()
        [True, True, False]
    """
    low, high = spread.low.sum(0), spread.high.sum(0)
    n_clusters, n_trials = spread.low.shape
    if n_clusters < 2 or n_trials < 2:
        width = numpy.inf if n_clusters < 2 else 0.0
        widths = numpy.full(n_trials, width)
        return BestSet(numpy.ones(n_trials, bool), widths, widths, width)
    behind = low[0] - high  # the smallest loss that is possible despite missing scores
    widest = _of_any_pair(spread, seed, confidence)
    left, above, immune = numpy.ones(n_trials, bool), numpy.zeros(n_trials), numpy.zeros(n_trials, bool)
    immune[[0, *kept]] = True
    while True:
        inside = spread.only(numpy.flatnonzero(left).tolist())
        above[left] = value = critical_range(inside, seed, confidence)
        leaves = left & (behind > value + _SLACK) & ~immune
        if not leaves.any():
            break
        left &= ~leaves
    # The flips of a trial far below the best are as wide as its difference; flips around the means are not.
    of_set = max(value, _of_any_pair(inside, seed, confidence)) if left.sum() > 1 else 0.0
    below = numpy.where(left, of_set, max(widest, of_set))
    return BestSet(left, below, numpy.where(left, of_set, numpy.minimum(above, widest)), widest)


def _of_any_pair(spread: Spread, seed: int, confidence: float) -> float:
    """The half width of simultaneous intervals of all pairs, from flips of the deviations from the means."""
    width = critical_range(spread.centred(), seed, confidence)
    n_clusters = len(spread.low)
    return width if n_clusters < FEWEST_FLIPPED else width * small_sample(n_clusters, confidence)


def small_sample(n_clusters: int, confidence: float = CONFIDENCE) -> float:
    """The correction for few documents of flips of deviations from the mean: the ratio of Student's t and normal
    quantiles."""
    tail = (1 - confidence) / 2
    ratio = stats.t.isf(tail, n_clusters - 1) / stats.norm.isf(tail)
    return float(ratio * (n_clusters / (n_clusters - 1)) ** 0.5)


def critical_range(spread: Spread, seed: int = 0, confidence: float = CONFIDENCE) -> float:
    """The largest difference of two means that equal trials exceed with a probability of at most 1 - `confidence`."""
    return quantile_of_flips(_ranges(spread, seed), confidence)


def quantile_of_flips(statistics: Floats, confidence: float = CONFIDENCE) -> float:
    """The value that at most 1 - `confidence` of the flips' statistics exceed.

    Example:
        >>> quantile_of_flips(numpy.arange(100.0))
        94.0
    """
    ordered = numpy.sort(statistics)[::-1]
    return float(ordered[int((1 - confidence) * len(ordered) + _SLACK)])


def _ranges(spread: Spread, seed: int) -> Floats:
    """The range of the means in each replicate; with missing scores, of the most favourable pair of trials."""
    n_clusters = len(spread.low)
    if n_clusters < FEWEST_FLIPPED:
        spread = spread.centred()
    return ranges(spread, replicates(n_clusters, seed))


def ranges(spread: Spread, drawn: Floats) -> Floats:
    """The range of the means for each row of factors of the documents (replicates x documents)."""
    low = drawn @ spread.low
    if spread.complete:
        return numpy.ptp(low, axis=1)
    high = drawn @ spread.high
    rows, top = numpy.arange(len(low)), low.argmax(1)
    first = low[rows, top]
    low[rows, top] = -numpy.inf
    second = low.max(1)
    low[rows, top] = first
    other = numpy.where(numpy.arange(low.shape[1]) == top[:, None], second[:, None], first[:, None])
    return (other - high).max(1)


@lru_cache(maxsize=4)
def replicates(n_clusters: int, seed: int = 0) -> Floats:
    """Factors of the documents, replicates x documents: signs, or with fewer than 6 documents Student's t.

    The first sample of signs is the observed one, so that an error level is exact for any number of samples (Phipson
    and Smyth 2010, "Permutation P-values Should Never Be Zero").

    Example:
        >>> replicates(6).shape, replicates(100).shape, set(replicates(100).ravel().tolist()) == {-1.0, 1.0}
        ((64, 6), (2000, 100), True)
    """
    random = seeded(seed)
    if n_clusters < FEWEST_FLIPPED:
        degrees = n_clusters - 1
        scale = numpy.sqrt(random.chisquare(degrees, (10 * FLIPS, 1)) / degrees)
        drawn = random.normal(size=(10 * FLIPS, n_clusters)) / scale * (n_clusters / degrees) ** 0.5
    elif n_clusters <= EXACT:
        drawn = 1.0 - 2.0 * ((numpy.arange(2**n_clusters)[:, None] >> numpy.arange(n_clusters)) & 1)
    else:
        drawn = 1.0 - 2.0 * random.integers(0, 2, size=(FLIPS, n_clusters))
        drawn[0] = 1.0
    drawn = numpy.asarray(drawn, float)
    drawn.setflags(write=False)  # the cache returns the same array to every caller
    return drawn
