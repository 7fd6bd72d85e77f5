"""Simultaneous tests and intervals of weighted sums of trial means (contrasts), by sign flips of whole documents.

A contrast is 0 if the trials are equal, or if the factor that it isolates has no effect. Then its value on a document
is as likely positive as negative, whatever other factors do (see `dream.comparison.sign_flips`). The statistic of a
contrast is its mean over the root of its sum of squares over documents, which no flip changes. Contrasts that exceed
the largest statistic of equal trials are shown to differ from 0; the others are tested anew without them (step-down
max-T; Romano and Wolf 2005, "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing").

The interval of a contrast excludes 0 if and only if this test shows that it does. Its width comes from flips of the
deviations from the mean, in cluster-robust standard errors, with Student's t for few documents. With fewer than 6
documents, flips cannot reach significance; Student's t with Bonferroni's inequality replaces them.

A missing score counts as the trial's mean in the estimate, and as the worst and as the best score in the interval. If
the differences are clearly not symmetric, a betting interval must exclude 0 too (`dream.comparison.bounded`).
"""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.comparison.bounded import betting_interval, why_not_symmetric
from dream.comparison.intervals import CONFIDENCE, Columns, Floats, Interval, columns
from dream.comparison.score_table import ScoreTable
from dream.comparison.sign_flips import FEWEST_FLIPPED, quantile_of_flips, replicates, small_sample

_SLACK = 1e-9


class Contrasts:
    """The scores of a table, and the critical values of a family of contrasts.

    Args:
        table: each trial with at least one score.
        families: blocks of contrasts, a row of trial weights each, that add up to 0.
        seed: of the flips.

    Example:
        >>> from dream.records import Trial, TrialResult
        >>> scores = numpy.column_stack([numpy.linspace(0.7, 0.9, 8), numpy.linspace(0.2, 0.3, 8)])
        >>> results = tuple(TrialResult(Trial("method", llm, "embed")) for llm in "ab")
        >>> table = ScoreTable("score", tuple("12345678"), results, scores, numpy.arange(8))
        >>> rows = numpy.array([[1.0, -1.0]])
        >>> Contrasts(table, [rows]).intervals(rows)[0].excludes_zero
        True
    """

    def __init__(self, table: ScoreTable, families: Sequence[Floats], seed: int = 0) -> None:
        self.clusters, self.means, self.span = table.clusters, table.means, table.span
        share = table.scored / len(table.question_ids)
        self.values = table.means + numpy.nan_to_num((table.values - table.means) / share)
        self.lowest, self.highest = (numpy.nan_to_num(table.values, nan=limit) for limit in table.reach)
        rows = _distinct(numpy.vstack(families))
        block, n_clusters = self._block(rows), int(self.clusters.max()) + 1
        self.flipped = n_clusters >= FEWEST_FLIPPED
        self.wide = self._wide(block, seed)
        self.critical = self._critical(block, rows, seed) if self.flipped else numpy.inf
        self.n_skewed = sum(bool(self._why_not_symmetric(row)) for row in rows) if self.flipped else 0

    def intervals(self, rows: Floats) -> list[Interval]:
        """The interval of each contrast, a row of trial weights each."""
        block, (low, high) = self._block(rows), self._bounds(rows)
        robust = self.wide * numpy.nan_to_num(block.error, nan=numpy.inf)
        if self.flipped:
            flips = self.critical * _size(block)
            shown = numpy.maximum(low, -high) > flips + _SLACK
            near = numpy.where(shown, numpy.minimum(robust, flips), numpy.maximum(robust, flips))
        else:  # equal differences without spread, of too few documents for significance
            near = numpy.where((robust == 0) & (block.mean != 0), numpy.inf, robust)
            shown = numpy.maximum(low, -high) > near
        far = numpy.where(shown, numpy.maximum(robust, near), near)
        positive = block.mean > 0
        least, most = low - numpy.where(positive, near, far), high + numpy.where(positive, far, near)
        return [
            self._interval(row, float(block.mean[n]), (float(least[n]), float(most[n])), block, n)
            for n, row in enumerate(rows)
        ]

    def _interval(self, row: Floats, mean: float, ends: tuple[float, float], block: Columns, column: int) -> Interval:
        low, high = min(ends[0], mean), max(ends[1], mean)
        if (low > 0 or high < 0) and self.flipped and self._why_not_symmetric(row):
            bet = self._betting(row)
            low, high = min(low, bet[0]), max(high, bet[1])
        reach, error = self._reach(row), float(block.error[column])
        shown_error = None if numpy.isnan(error) else error
        return Interval(mean, max(low, -reach), min(high, reach), shown_error, int(block.counts[:, column].sum()))

    def _block(self, rows: Floats) -> Columns:
        return columns(self.values @ rows.T, self.clusters)

    def _bounds(self, rows: Floats) -> tuple[Floats, Floats]:
        """The value of each contrast if the missing scores were the worst for it, and if they were the best."""
        gain, loss = numpy.maximum(rows, 0.0), numpy.minimum(rows, 0.0)
        low, high = self.lowest.mean(0), self.highest.mean(0)
        return gain @ low + loss @ high, gain @ high + loss @ low

    def _reach(self, row: Floats) -> float:
        """The largest value that the contrast can have."""
        spread: float = numpy.ptp(self.values)
        return max(self.span, float(spread)) * max(float(numpy.abs(row).sum()) / 2, 1e-12)

    def _wide(self, block: Columns, seed: int) -> float:
        """The half width of simultaneous intervals, in standard errors."""
        n_clusters, varying = len(block.sums), block.error > 0
        if not self.flipped:
            level = (1 - CONFIDENCE) / 2 / max(int(varying.sum()), 1)
            return float(stats.t.isf(level, max(n_clusters - 1, 1)))
        single = float(stats.t.isf((1 - CONFIDENCE) / 2, n_clusters - 1))
        if not varying.any():
            return single
        residuals = (block.sums - block.mean * block.counts)[:, varying]
        residuals = residuals / (block.counts.sum(0) * block.error)[varying]
        largest = numpy.abs(replicates(n_clusters, seed) @ residuals).max(1)
        return max(quantile_of_flips(largest) * small_sample(n_clusters), single)

    def _critical(self, block: Columns, rows: Floats, seed: int) -> float:
        """The statistic above which a contrast is shown to differ from 0, after all steps."""
        size, (low, high) = _size(block), self._bounds(rows)
        if not (used := size > 0).any():  # nothing differs anywhere
            return 0.0
        parts = block.sums[:, used] / block.counts.sum(0)[used] / size[used]
        statistics = numpy.maximum(low, -high)[used] / size[used]
        flips = numpy.abs(replicates(len(block.sums), seed) @ parts)
        left, critical = numpy.ones(len(statistics), bool), numpy.inf
        while left.any():
            critical = quantile_of_flips(flips[:, left].max(1))
            leaves = left & (statistics > critical + _SLACK)
            if not leaves.any():
                break
            left &= ~leaves
        return critical

    def _why_not_symmetric(self, row: Floats) -> str:
        """The reason why sign flips should not be trusted, judged by the scatter of a single pair of trials, as means
        over many trials scatter less."""
        values, pairs = self.values @ row, (numpy.abs(row).sum() / 2) ** 2 * 2 / (row**2).sum()
        middle = values.mean()
        return why_not_symmetric(middle + (values - middle) * pairs**0.5, self.clusters, self._reach(row))

    def _betting(self, row: Floats) -> tuple[float, float]:
        gain, loss = numpy.maximum(row, 0.0), numpy.minimum(row, 0.0)
        worst, best = self.lowest @ gain + self.highest @ loss, self.highest @ gain + self.lowest @ loss
        confidence = 1 - (1 - CONFIDENCE) / max(self.n_skewed, 1)
        return betting_interval(worst, best, self.clusters, self._reach(row), confidence)


def _size(block: Columns) -> Floats:
    """The root of the sum of squares over documents of each mean's parts."""
    return numpy.sqrt(((block.sums / block.counts.sum(0)) ** 2).sum(0))


def _distinct(rows: Floats) -> Floats:
    """The contrasts without multiples of others; the two levels of one factor, for instance, give the same contrast."""
    scale = numpy.abs(rows).max(1, initial=0.0)
    rows, scale = rows[scale > 1e-12], scale[scale > 1e-12]
    units = numpy.round(rows / scale[:, None], 9)
    first: NDArray[numpy.int64] = (numpy.abs(units) > 1e-9).argmax(1)
    units *= numpy.sign(units[numpy.arange(len(units)), first])[:, None]
    return rows[numpy.sort(numpy.unique(units + 0.0, axis=0, return_index=True)[1])]
