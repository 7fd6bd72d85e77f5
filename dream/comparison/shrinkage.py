"""Shrunken means: the highest mean of many trials is biased upwards, as it was selected partly for its luck.

The differences of the trials from the grand mean are shrunk by the share of their variance that is noise: the
positive-part empirical Bayes estimator of James-Stein kind for unequal variances (Efron and Morris 1973, "Stein's
Estimation Rule and Its Competitors - An Empirical Bayes Approach"; Morris 1983, "Parametric Empirical Bayes Inference:
Theory and Applications"). All trials answer the same questions, so the difficulty of the questions is not noise: the
variances are those of the differences, and keep the questions of a document together. The variance between the trials
is estimated by moments, which holds although the differences of two trials may be correlated.
"""

import numpy
from numpy.typing import NDArray

from dream.comparison.intervals import Floats, columns
from dream.comparison.score_table import ScoreTable

FEWEST_TRIALS = 4


def shrunken_means(table: ScoreTable) -> Floats | None:
    """The shrunken mean of each trial of a table, in its order; None for fewer than 4 trials or 2 documents, or if a
    trial has no score.

    Example:
        >>> from dream.records import Trial, TrialResult
        >>> results = tuple(TrialResult(Trial(name, "llm", "embedder")) for name in "abcd")
        >>> scores = numpy.array([[1.0, 0.6, 0.4, 0.0], [0.0, 0.4, 0.6, 1.0]])
        >>> table = ScoreTable("recall", ("1", "2"), results, scores, numpy.arange(2))
        >>> shrunken_means(table).tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    n_trials = len(table.results)
    if n_trials < FEWEST_TRIALS or len(set(table.clusters.tolist())) < 2 or not table.scored.all():
        return None
    answered = ~numpy.isnan(table.values).all(1)
    values, clusters = table.values[answered], numpy.unique(table.clusters[answered], return_inverse=True)[1]
    grand = float(table.means.mean())
    return grand + shrink(table.means - grand, _noise(values, clusters))


def shrink(differences: Floats, noise: Floats) -> Floats:
    """Differences from their grand mean, shrunk towards 0.

    Args:
        differences: those of at least 4 trials; their sum is 0.
        noise: the variance of each.

    Example:
        >>> shrink(numpy.array([0.3, 0.1, -0.1, -0.3, 0.0]), numpy.full(5, 0.01)).round(3).tolist()
        [0.268, 0.089, -0.089, -0.268, 0.0]
    """
    k = len(differences)
    between = max((float((differences**2).sum()) - float(noise.sum())) / (k - 1), 0.0)
    total = numpy.where(noise + between > 0, noise + between, 1.0)
    lost = numpy.where(between > 0, (k - 3) / (k - 1), 1.0) * noise / total
    return differences * (1 - lost)


def _noise(values: Floats, clusters: NDArray[numpy.int64]) -> Floats:
    """The variance of each trial's difference from the grand mean, robust to documents (Liang and Zeger 1986)."""
    block = columns(values - numpy.nanmean(values, 1, keepdims=True), clusters)
    n, residuals = block.n_clusters, block.sums - block.mean * block.counts
    return n / numpy.maximum(n - 1, 1) * (residuals**2).sum(0) / block.counts.sum(0) ** 2
