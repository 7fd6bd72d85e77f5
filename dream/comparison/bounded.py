"""Intervals of paired differences that assume only bounded scores, for differences that are clearly not symmetric.

Sign flips assume that between equal trials, a difference is as likely positive as negative. Many small gains with a few
large losses may be no gain on average, but look like one until a large loss is among the questions. Two symptoms are
tested: skewness (the sample skewness of the documents against its standard error, Cramér 1946, "Mathematical Methods of
Statistics", chapter 28), and differences that are almost constant, where a loss too rare to be seen could outweigh them
(the rule of three: Hanley and Lippman-Hand 1983, "If Nothing Goes Wrong, Is Everything All Right?").

The interval is a betting one (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"):
it contains the values against which no gambler, who bets a fixed share of the capital on each document, gets rich. The
capital is the mean over a grid of shares, and does not depend on the order of the documents.
"""

import numpy
from numpy.typing import NDArray
from scipy import special, stats

from dream.comparison.intervals import CONFIDENCE, Floats, columns

SKEWED = "skewed differences"
CONSTANT = "almost constant differences"
_FEWEST = 10
_SHARES = numpy.linspace(0.02, 0.98, 25)


def why_not_symmetric(differences: Floats, clusters: NDArray[numpy.int64], span: float = 1.0) -> str:
    """The reason why sign flips should not be trusted for these differences of one pair; empty if they may be.

    Args:
        differences: one per question, NaN if missing.
        span: the difference of the best and the worst possible score.

    Example:
        >>> why_not_symmetric(numpy.full(20, 0.05), numpy.arange(20))
        'almost constant differences'
    """
    seen = ~numpy.isnan(differences)
    block = columns(differences[:, None], clusters)
    sums, counts = block.sums[:, 0], block.counts[:, 0]
    n_clusters = int((counts > 0).sum())
    if n_clusters < 2:
        return ""
    mean = float(sums.sum() / counts.sum())
    if 0 < abs(mean) < 3 * span / n_clusters and differences[seen].std() <= abs(mean) / 2:
        return CONSTANT
    residuals = (sums - mean * counts) * -numpy.sign(mean)
    variance = float((residuals**2).sum()) / n_clusters
    if n_clusters < _FEWEST or mean == 0 or variance < 1e-18:
        return ""
    skewness = float((residuals**3).sum()) / n_clusters / variance**1.5
    chance = (6 * (n_clusters - 2) / ((n_clusters + 1) * (n_clusters + 3))) ** 0.5
    # Only a long tail opposite to the measured difference can make a true difference of 0 look like this one.
    return SKEWED if skewness > max(1.0, float(stats.norm.isf(0.01)) * chance) else ""


def betting_interval(
    low: Floats, high: Floats, clusters: NDArray[numpy.int64], span: float = 1.0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The limits of the mean difference, from `-span` to `span`.

    Args:
        low, high: the differences of the questions, with missing scores at their worst and at their best.
        confidence: the two-sided confidence level.

    Example:
        >>> values = numpy.tile([0.2, 0.4], 30)
        >>> low, high = betting_interval(values, values, numpy.arange(60))
        >>> 0.1 < low < 0.3 < high < 0.5
        True
    """
    worth = numpy.log(2 / (1 - confidence))
    return (_lower(low / span, clusters, worth) * span, -_lower(-high / span, clusters, worth) * span)


def _lower(values: Floats, clusters: NDArray[numpy.int64], worth: float) -> float:
    """The largest value below the mean that the bets refute, by bisection; -1 if they refute none."""
    block = columns(values[:, None], clusters)
    sums, counts = block.sums[:, 0], block.counts[:, 0]
    refuted, possible = -1.0, float(sums.sum() / counts.sum())
    for _ in range(30):
        middle = (refuted + possible) / 2
        if _log_capital(sums, counts, middle) >= worth:
            refuted = middle
        else:
            possible = middle
    return refuted


def _log_capital(sums: Floats, counts: Floats, mean: float) -> float:
    """The log of the final capital of bets that the true mean is above `mean`; they lose at most all of it."""
    gains = (sums - mean * counts) / counts.max() / (1 + mean + 1e-12)
    capital = numpy.log1p(_SHARES[:, None] * gains).sum(1)
    return float(special.logsumexp(capital) - numpy.log(len(_SHARES)))
