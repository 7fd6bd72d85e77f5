"""Confidence intervals of mean paired differences, simultaneous over many comparisons.

A column holds one difference per question (NaN if it is missing). Questions of one cluster (a source document) are
resampled together, because their scores are correlated. An interval is mean ± critical value x standard error:

* the standard error is the cluster-robust one (Liang and Zeger 1986, "Longitudinal data analysis using generalized
  linear models"); with one question per cluster it is the ordinary one;
* the critical value comes from the bootstrap of the studentised mean (Efron and Tibshirani 1993, "An Introduction to
  the Bootstrap", chapter 12); for many columns at once, from their largest one, single-step max-T (Westfall and Young
  1993, "Resampling-Based Multiple Testing"; Romano and Wolf 2005, "Exact and Approximate Stepdown Methods"). It is
  never smaller than Student's t at the same level, which guards small samples (Cameron, Gelbach and Miller 2008,
  "Bootstrap-Based Improvements for Inference with Clustered Errors").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.errors import ConfigurationError

CONFIDENCE = 0.95
REPLICATES = 2000
Floats = NDArray[numpy.float64]
# A replicate that draws hardly any of the questions that differ has almost no variance, so its studentised mean would
# blow up; its standard error counts as at least this share of the sample's.
_SMALLEST_ERROR = 0.5
_FEW_CLUSTERS = 10


@dataclass(frozen=True)
class Columns:
    """Sums and counts of the values, clusters x columns, from which means, standard errors and resamples follow."""

    sums: Floats
    counts: Floats

    @property
    def mean(self) -> Floats:
        """The mean of each column over its questions; NaN without any."""
        with numpy.errstate(invalid="ignore", divide="ignore"):
            return self.sums.sum(0) / self.counts.sum(0)

    @property
    def n_clusters(self) -> NDArray[numpy.int64]:
        """The number of clusters with a value in each column."""
        return (self.counts > 0).sum(0)

    @property
    def error(self) -> Floats:
        """The cluster-robust standard error of each mean; NaN with fewer than two clusters, 0 if all are equal.

        If fewer than three clusters differ from 0, three are assumed to differ, each by the largest difference, or by 1
        if none differs. This is the rule of three: an event not observed in n trials may still have a probability of
        3/n (Hanley and Lippman-Hand 1983, "If Nothing Goes Wrong, Is Everything All Right?").
        """
        clusters, size = self.n_clusters, numpy.abs(self.sums)
        with numpy.errstate(invalid="ignore", divide="ignore"):
            residuals = self.sums - self.mean * self.counts
            error = numpy.sqrt(clusters / (clusters - 1) * (residuals**2).sum(0)) / self.counts.sum(0)
            largest = numpy.where(size.max(0) > 1e-12, size.max(0), 1.0)
            unseen = numpy.where((size > 1e-12).sum(0) < 3, largest * 3**0.5 / self.counts.sum(0), 0.0)
        return numpy.where(clusters < 2, numpy.nan, numpy.maximum(numpy.where(error < 1e-12, 0.0, error), unseen))


@dataclass(frozen=True)
class Critical:
    """The half width of an interval in standard errors: one value for all columns, or an array with one per column.

    `resampled` is the bootstrap quantile of the studentised mean. `normal` is the quantile before studentising, which
    `factor` converts to Student's t for small samples.
    """

    resampled: float | Floats
    normal: float | Floats

    def factor(self, n_clusters: NDArray[numpy.int64]) -> Floats:
        """The critical value of each column, given its number of clusters."""
        student = stats.t.isf(stats.norm.sf(self.normal), numpy.maximum(n_clusters - 1, 1))
        return numpy.maximum(student, self.resampled)

    def level(self, n_clusters: int) -> float:
        """The two-sided error level of a single column at this critical value."""
        factor = self.factor(numpy.array([n_clusters]))[0]
        return float(2 * stats.t.sf(factor, max(n_clusters - 1, 1)))


@dataclass(frozen=True)
class Interval:
    """A mean difference over `n` questions with its confidence limits; the whole range without any data, never NaN.

    `error` is the standard error, None with fewer than two clusters.
    """

    mean: float
    low: float
    high: float
    error: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """True if the difference is statistically significant."""
        return self.low > 0 or self.high < 0


def columns(values: Floats, clusters: NDArray[numpy.int64]) -> Columns:
    """Sum the values of each cluster; `clusters` numbers the cluster of each row from 0.

    Example:
        >>> columns(numpy.array([[0.1], [0.3], [numpy.nan]]), numpy.array([0, 0, 1])).counts.ravel().tolist()
        [2.0, 0.0]
    """
    present = ~numpy.isnan(values)
    counts = sum_by_cluster(present.astype(float), clusters)
    return Columns(sum_by_cluster(numpy.where(present, values, 0.0), clusters), counts)


def cluster_numbers(labels: Sequence[str]) -> NDArray[numpy.int64]:
    """Number labels from 0 in order of appearance; each empty label gets a new number.

    Example:
        >>> cluster_numbers(["a.pdf", "b.pdf", "a.pdf", "", ""]).tolist()
        [0, 1, 0, 2, 3]
    """
    keys = [label or ("", row) for row, label in enumerate(labels)]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return numpy.array([order[key] for key in keys], dtype=numpy.int64)


def seeded(seed: int) -> numpy.random.Generator:
    """A generator of random numbers.

    Raises:
        ConfigurationError: for a negative seed.
    """
    if seed < 0:
        raise ConfigurationError(f"seed={seed}: give a whole number of at least 0")
    return numpy.random.default_rng(seed)


@lru_cache(maxsize=4)
def resamples(n_clusters: int, seed: int = 0, replicates: int = REPLICATES) -> Floats:
    """The number of draws of each cluster in each bootstrap replicate (replicates x clusters), fixed by the seed."""
    random = seeded(seed)
    drawn = random.multinomial(n_clusters, numpy.full(n_clusters, 1 / n_clusters), size=replicates).astype(float)
    drawn.setflags(write=False)  # the cache returns the same array to every caller
    return drawn


def critical(blocks: Iterable[Columns], weights: Floats, confidence: float = CONFIDENCE) -> Critical:
    """The critical value for simultaneous intervals of all columns of all blocks; constant columns are ignored.

    It is the upper confidence limit of the quantile over the replicates, so that a small number of replicates never
    makes an interval too narrow. With fewer than ten clusters, Bonferroni's inequality replaces the bootstrap.
    """
    largest, n_columns = numpy.zeros((2, len(weights))), 0
    for block in map(_varying, blocks):
        n_columns += block.sums.shape[1]
        if block.sums.shape[1]:
            numpy.maximum(largest, _studentised(block, weights).max(axis=2), out=largest)
    bonferroni = float(stats.norm.isf((1 - confidence) / 2 / max(n_columns, 1)))
    if not largest.any() or weights.shape[1] < _FEW_CLUSTERS:
        return Critical(0.0, bonferroni)
    resampled, normal = _quantiles(largest, confidence)
    single = float(stats.norm.isf((1 - confidence) / 2))  # simultaneous intervals are never narrower than a single one
    return Critical(float(resampled), max(float(normal), single))


def critical_each(block: Columns, weights: Floats, confidence: float = CONFIDENCE) -> Critical:
    """The critical value of each column alone, without correction for the number of columns."""
    plain = numpy.full(block.sums.shape[1], stats.norm.isf((1 - confidence) / 2))
    resampled, normal = numpy.zeros_like(plain), plain.copy()
    varying = block.error > 0
    if varying.any() and weights.shape[1] >= _FEW_CLUSTERS:
        resampled[varying], normal[varying] = _quantiles(_studentised(_varying(block), weights), confidence)
    return Critical(resampled, numpy.maximum(normal, plain))


def intervals(block: Columns, value: Critical, limits: tuple[float, float] = (-1.0, 1.0)) -> list[Interval]:
    """The interval of each column, clipped to `limits`: differences of scores from 0 to 1 lie between -1 and 1.

    A column of equal differences has no variance. It is significant if the sign test is: the probability that as many
    clusters agree in sign by chance, 2 ** (1 - clusters), is below the error level. Otherwise its interval is `limits`.
    """
    mean, error, clusters = block.mean, block.error, block.n_clusters
    factor = value.factor(clusters)
    half = factor * error
    chance = 2.0 ** (1 - clusters)
    level = 2 * stats.t.sf(factor, numpy.maximum(clusters - 1, 1))
    half = numpy.where((error == 0) & (mean != 0) & (chance > level), numpy.inf, half)
    half = numpy.where(clusters < 2, numpy.inf, half)
    middle = numpy.where(numpy.isnan(mean), 0.0, mean)
    low, high = numpy.clip(middle - half, *limits), numpy.clip(middle + half, *limits)
    counts = block.counts.sum(0)
    return [
        Interval(float(middle[i]), float(low[i]), float(high[i]), _number_or_none(error[i]), int(counts[i]))
        for i in range(len(mean))
    ]


def interval(
    values: Floats,
    clusters: NDArray[numpy.int64] | None = None,
    seed: int = 0,
    limits: tuple[float, float] = (-1.0, 1.0),
) -> Interval:
    """The interval of a single column, chosen before looking at the scores.

    Args:
        values: one difference per question, NaN if missing.
        clusters: the cluster number of each question, from 0; None: every question is its own cluster.
        limits: the smallest and the largest possible difference, at least those of `values`.

    Raises:
        ConfigurationError: for an infinite difference.

    Example:
        >>> difference = interval(numpy.array([0.1, 0.3, 0.2, 0.2, 0.0, 0.4]))
        >>> round(difference.mean, 3), difference.low > 0, difference.n
        (0.2, True, 6)
    """
    clusters = numpy.arange(len(values)) if clusters is None else clusters
    if numpy.isinf(values).any():
        raise ConfigurationError(f"{int(numpy.isinf(values).sum())} difference(s) are infinite: give finite scores")
    limits = (min([limits[0], *values[values < limits[0]]]), max([limits[1], *values[values > limits[1]]]))
    if not len(values):
        return Interval(0.0, *limits, None, 0)
    block = columns(values[:, None], clusters)
    return intervals(block, critical([block], resamples(len(block.sums), seed)), limits)[0]


def _quantiles(sizes: Floats, confidence: float) -> Floats:
    """The quantile over replicates (the second axis), at its upper confidence limit for this number of replicates."""
    level = min(confidence + 1.645 * (confidence * (1 - confidence) / sizes.shape[1]) ** 0.5, 1.0)
    return numpy.quantile(sizes, level, axis=1, method="higher")


def sum_by_cluster(values: Floats, clusters: NDArray[numpy.int64]) -> Floats:
    size = int(clusters.max()) + 1 if len(clusters) else 0
    if size == len(values):
        sums = numpy.empty_like(values)
        sums[clusters] = values
        return sums
    member = numpy.zeros((size, len(values)))
    member[clusters, numpy.arange(len(values))] = 1.0
    return member @ values


def _varying(block: Columns) -> Columns:
    keep = block.error > 0
    return Columns(block.sums[:, keep], block.counts[:, keep])


def _studentised(block: Columns, weights: Floats) -> Floats:
    """|replicate mean - mean| in standard errors of the replicate, and of the sample (2 x replicates x columns)."""
    sums, counts = block.sums, block.counts
    if (counts == counts[:, :1]).all():
        counts = counts[:, :1]  # nothing is missing, so one column of counts suffices
    n = weights @ counts
    single = (counts == 1).all()  # then counts need no separate sums
    drawn_sums = weights @ sums
    mean = drawn_sums / numpy.maximum(n, 1)
    crossed = drawn_sums if single else weights @ (sums * counts)
    squares = weights @ sums**2 - 2 * mean * crossed + mean**2 * (n if single else weights @ counts**2)
    clusters = block.n_clusters
    drawn = numpy.sqrt(numpy.maximum(squares, 0) * clusters / (clusters - 1)) / numpy.maximum(n, 1)
    distance = numpy.where(n > 0, numpy.abs(mean - block.mean), 0.0)
    shrink = numpy.sqrt((clusters - 1) / clusters)  # the spread of resampled means, which is slightly too small
    return numpy.stack(
        [distance / numpy.maximum(drawn, _SMALLEST_ERROR * block.error), distance / block.error / shrink]
    )


def _number_or_none(error: float) -> float | None:
    return None if numpy.isnan(error) else float(error)
