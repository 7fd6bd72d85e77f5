"""Means of the judge, corrected by human labels of some answers: prediction-powered inference.

The mean of the labels, plus lambda times what the judge's mean over all answers exceeds its mean over the labelled ones
(Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023, "Prediction-powered inference"), with the lambda of least
variance, 0 to 1 (Angelopoulos, Duchi and Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference"). A judge without
value has lambda 0, which leaves the labels; a good one narrows the interval to that of many more labels. Standard
errors keep the questions of a document together, with Student's t for the documents that have labels.

A trial with fewer labels of its own is corrected by the mean of label - score over all labelled answers. That is right
if the judge is as far off in it as in the labelled ones; where it is shown not to be, such a trial is not corrected.
Differences are given between trials with labels of their own alone: a bias that is not shared moves them unseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from dream.comparison.human_agreement import Label
from dream.comparison.intervals import CONFIDENCE, Floats, Interval, columns, sum_by_cluster
from dream.comparison.score_table import ScoreTable
from dream.errors import DataError
from dream.records import Trial, full_name, telling_parameters

FEWEST_OF_TRIAL = 20
FEWEST_OF_ALL = 10
FEWEST_DOCUMENTS = 4
OWN, COMMON, NONE = "its own labels", "the labels of all trials", ""


@dataclass(frozen=True)
class CalibratedTrial:
    """One trial; see `Calibration`.

    Attributes:
        judged: the judge's mean.
        n_labels: of answers of this trial.
        mean: the calibrated mean with its 95 % interval; None if it cannot be corrected.
        by: "its own labels", or "the labels of all trials"; empty if not corrected, with the reason in `why_not`.
        weight: lambda, the judge's weight (0 to 1); 1 with the labels of all trials.
        difference: to the first trial, simultaneous over all pairs of trials; None for the first, and unless both have
            labels of their own.
        n_both: the number of questions that have labels for both.
    """

    trial: Trial
    judged: float
    n_labels: int
    mean: Interval | None = None
    by: str = NONE
    weight: float = 1.0
    why_not: str = ""
    difference: Interval | None = None
    n_both: int = 0
    name: str = ""


@dataclass(frozen=True)
class Calibration:
    """The calibrated means of a comparison, in the order of its standings.

    Attributes:
        bias: the mean of label - score over all labelled answers: above 0, the judge is too strict.
        assumption: what the calibrated means rest on, in one sentence.
        notes: labels that could not be used, and differences between trials.
    """

    metric: str
    n_labels: int
    bias: Interval
    trials: tuple[CalibratedTrial, ...]
    assumption: str
    notes: tuple[str, ...] = field(default=())

    @property
    def best(self) -> CalibratedTrial | None:
        """The trial with the highest calibrated mean."""
        found = [each for each in self.trials if each.mean]
        return max(found, key=lambda each: each.mean.mean if each.mean else -numpy.inf) if found else None

    @property
    def text(self) -> str:
        """The judge's bias, the trial that is best by calibrated means, and the assumption, a sentence a line."""
        kind = "too strict" if self.bias.mean > 0 else "too generous"
        shown = "" if self.bias.excludes_zero else ", which the labels do not tell from 0"
        lines = [
            f"Labels of {self.n_labels} answers: on {self.metric} the judge is {abs(self.bias.mean):.3f} {kind} on "
            f"average (label - score {_span(self.bias)}{shown})."
        ]
        best = self.best
        if best and best.mean:
            lines.append(
                f"Highest calibrated mean: {best.name}, {best.mean.mean:.3f} {_span(best.mean, signed=False)}."
            )
        return "\n".join([*lines, self.assumption, *self.notes])

    def rows(self) -> list[dict[str, object]]:
        """A row per trial, for tables: plain numbers, None where unknown."""
        return [
            {
                "trial": each.name,
                "judged": each.judged,
                "labels": each.n_labels,
                "calibrated": each.mean.mean if each.mean else None,
                "low": each.mean.low if each.mean else None,
                "high": each.mean.high if each.mean else None,
                "corrected by": each.by or f"nothing: {each.why_not}",
                "judge's weight": each.weight if each.mean else None,
                "difference": each.difference.mean if each.difference else None,
                "difference low": each.difference.low if each.difference else None,
                "difference high": each.difference.high if each.difference else None,
                "labels of both": each.n_both,
                "trial_id": each.trial.id,
            }
            for each in self.trials
        ]


def calibration_table(calibration: Calibration) -> str:
    """The calibrated means for a terminal, a line per trial."""
    rows = [list(row.values()) for row in shown_rows(calibration)]
    return tabulate(rows, SHOWN_COLUMNS, disable_numparse=True)


SHOWN_COLUMNS = (
    "trial",
    "judge",
    "labels",
    "calibrated, 95 % interval",
    "corrected by",
    "against the first",
    "of both",
)


def shown_rows(calibration: Calibration) -> list[dict[str, str]]:
    """A row of texts per trial, with the columns `SHOWN_COLUMNS`."""
    rows = []
    for each in calibration.trials:
        mean, apart = each.mean, each.difference
        cells = (
            each.name,
            "–" if numpy.isnan(each.judged) else f"{each.judged:.3f}",
            str(each.n_labels),
            f"{mean.mean:.3f} {_span(mean, signed=False)}" if mean else "–",
            each.by or f"nothing: {each.why_not}",
            f"{apart.mean:+.3f} {_span(apart)}" if apart else "",
            str(each.n_both) if apart else "",
        )
        rows.append(dict(zip(SHOWN_COLUMNS, cells, strict=True)))
    return rows


@dataclass(frozen=True)
class _Estimate:
    """A mean, what each document contributes to its error, and the number of documents with labels."""

    mean: float
    parts: Floats
    n_documents: int
    weight: float = 1.0
    least_error: float = 0.0
    open_low: float = 0.0
    open_high: float = 0.0

    @property
    def error(self) -> float:
        n = max(self.n_documents, 2)
        return max(float(numpy.sqrt((self.parts**2).sum() * n / (n - 1))), self.least_error)

    def minus(self, other: "_Estimate") -> "_Estimate":
        return _Estimate(
            self.mean - other.mean,
            self.parts - other.parts,
            min(self.n_documents, other.n_documents),
            least_error=max(self.least_error, other.least_error),
            open_low=self.open_low + other.open_high,
            open_high=self.open_high + other.open_low,
        )

    def interval(self, limits: tuple[float, float], n: int, confidence: float = CONFIDENCE) -> Interval:
        half = self.error * float(stats.t.isf((1 - confidence) / 2, max(self.n_documents - 1, 1)))
        least, most = limits
        low, high = self.mean - half - self.open_low, self.mean + half + self.open_high
        return Interval(min(max(self.mean, least), most), max(low, least), min(high, most), self.error, n)


def calibrated(table: ScoreTable, labels: Sequence[Label]) -> Calibration:
    """Correct the means of the trials of `table` by the labels of some of their answers.

    Args:
        table: the scores; differences are to its first trial, `compare(...).scores` has the best first.
        labels: of any of the answers, best of answers drawn at random; see `read_labels`.

    Raises:
        DataError: if fewer than 10 labelled answers have a score, or they are from fewer than 4 documents.

    Example:
        >>> from dream.records import TrialResult
        >>> random = numpy.random.default_rng(0)
        >>> scores, ids = random.uniform(0.5, 1, (200, 1)), tuple(f"q{n}" for n in range(200))
        >>> trial = Trial("method", "llm", "embed")
        >>> table = ScoreTable("score", ids, (TrialResult(trial),), scores, numpy.arange(200))
        >>> labels = [Label(ids[n], trial.id, float(scores[n, 0]) - 0.2) for n in range(40)]
        >>> found = calibrated(table, labels)
        >>> bool(abs(found.trials[0].mean.mean - (scores.mean() - 0.2)) < 1e-9)
        True
    """
    given, unused = _labels_of(table, labels)
    seen = ~numpy.isnan(given)
    scored = [_scored(table, column) for column in range(len(table.results))]
    residuals = given - table.values
    n_labels, n_documents = int(seen.sum()), len(set(table.clusters[seen.any(1)].tolist()))
    if n_labels < FEWEST_OF_ALL or n_documents < FEWEST_DOCUMENTS:
        raise DataError(
            f"{n_labels} labelled answer(s) with a score on {table.metric}, of {n_documents} document(s): calibration "
            f"needs {FEWEST_OF_ALL} of {FEWEST_DOCUMENTS} documents; label answers drawn at random over all documents"
        )
    common = _common(residuals, table.clusters, table.span)
    own = [_has_enough(given[:, column], table.clusters) for column in range(len(scored))]
    differ = _shown_to_differ(residuals, table.clusters, own)
    found: list[_Estimate | None] = []
    for column, judged in enumerate(scored):
        if judged is None:
            found.append(None)
        elif own[column]:
            found.append(_tuned(given[:, column], table.values[:, column], table, table.reach))
        else:
            found.append(None if differ else judged.minus(_negative(common)))
    return _calibration(table, given, found, own, common, unused, differ)


def _calibration(
    table: ScoreTable,
    given: Floats,
    found: Sequence[_Estimate | None],
    own: Sequence[bool],
    common: _Estimate,
    unused: Sequence[str],
    differ: bool,
) -> Calibration:
    parameters = telling_parameters(result.trial for result in table.results)
    means, (least, most) = table.means, table.reach
    n_pairs = max(len(found) * (len(found) - 1) // 2, 1)
    seen, trials = ~numpy.isnan(given), []
    for column, (result, estimate) in enumerate(zip(table.results, found, strict=True)):
        both = int((seen[:, 0] & seen[:, column]).sum()) if column else 0
        apart = _difference(table, given, found, column, both) if column and own[0] and own[column] else None
        reason = "no score" if numpy.isnan(means[column]) else f"fewer than {FEWEST_OF_TRIAL} labels, and the judge's "
        trials.append(
            CalibratedTrial(
                trial=result.trial,
                judged=float(means[column]),
                n_labels=int(seen[:, column].sum()),
                mean=estimate.interval((least, most), int(seen[:, column].sum())) if estimate else None,
                by=(OWN if own[column] else COMMON) if estimate else NONE,
                weight=estimate.weight if estimate else 1.0,
                why_not="" if estimate else reason if reason == "no score" else f"{reason}bias differs between trials",
                difference=apart.interval((-table.span, table.span), both, 1 - (1 - CONFIDENCE) / n_pairs)
                if apart
                else None,
                n_both=both,
                name=full_name(result.trial, parameters[result.trial.id]),
            )
        )
    n_own = sum(bool(each) and mine for each, mine in zip(found, own, strict=True))
    return Calibration(
        table.metric,
        int(seen.sum()),
        common.interval((-table.span, table.span), int(seen.sum())),
        tuple(trials),
        _assumption(n_own, len(found), differ),
        (*unused, *([_DIFFER] if differ else [])),
    )


_DIFFER = (
    "The labels show that the judge's bias is not the same in all trials: label at least "
    f"{FEWEST_OF_TRIAL} answers of each trial that matters."
)


def _assumption(n_own: int, n_trials: int, differ: bool) -> str:
    text = "This assumes that the labelled answers were drawn at random"
    if n_own == n_trials or differ:
        return f"{text}; each corrected trial has at least {FEWEST_OF_TRIAL} labels of its own."
    rest = "all trials" if not n_own else f"the {n_trials - n_own} trial(s) with fewer than {FEWEST_OF_TRIAL} labels"
    return (
        f"{text}, and for {rest} that the judge's bias is the same as in all labelled answers. Labels say nothing "
        f"about a difference unless both trials have {FEWEST_OF_TRIAL} of their own."
    )


def _difference(
    table: ScoreTable, given: Floats, found: Sequence[_Estimate | None], column: int, n_both: int
) -> _Estimate | None:
    """The difference to the first trial: from the questions that have labels for both if they are enough, otherwise
    of the two calibrated means."""
    first, other = found[0], found[column]
    if first is None or other is None:
        return None
    apart = given[:, column] - given[:, 0]
    if n_both >= FEWEST_OF_TRIAL and _has_enough(apart, table.clusters):
        return _tuned(apart, table.values[:, column] - table.values[:, 0], table, (-table.span, table.span))
    return other.minus(first)


def _labels_of(table: ScoreTable, labels: Sequence[Label]) -> tuple[Floats, list[str]]:
    """The labels as a matrix like the scores, NaN without a label or a score; and a note about those left out."""
    rows = {question: row for row, question in enumerate(table.question_ids)}
    places = {result.trial.id: column for column, result in enumerate(table.results)}
    given = numpy.full(table.values.shape, numpy.nan)
    for label in labels:
        if label.question_id in rows and label.trial_id in places:
            given[rows[label.question_id], places[label.trial_id]] = label.value
    given[numpy.isnan(table.values)] = numpy.nan
    left_out = len(labels) - int((~numpy.isnan(given)).sum())
    return given, [f"{left_out} label(s) are of answers without a score on {table.metric}."] if left_out else []


def _has_enough(given: Floats, clusters: NDArray[numpy.int64]) -> bool:
    seen = ~numpy.isnan(given)
    return bool(seen.sum() >= FEWEST_OF_TRIAL and len(set(clusters[seen].tolist())) >= FEWEST_DOCUMENTS)


def _tuned(given: Floats, scores: Floats, table: ScoreTable, limits: tuple[float, float]) -> _Estimate:
    """PPI++ for a mean, of labels (NaN without one) and scores (NaN if missing)."""
    labelled = ~numpy.isnan(given)
    label, score = given[labelled], scores[labelled]
    moved = score - score.mean()
    slope = float((moved * label).sum() / (moved**2).sum()) if (moved**2).sum() > 1e-12 else 0.0
    weight = min(max(slope, 0.0), 1.0)
    judged = _part(scores, table, weight, limits)
    residuals = numpy.where(labelled, given - weight * scores, numpy.nan)
    rest = _mean_of(residuals, table.clusters)
    floor = _rare(residuals, table.clusters, table.span)
    return _Estimate(
        rest.mean + judged.mean,
        rest.parts + judged.parts,
        rest.n_documents,
        weight,
        floor,
        judged.open_low,
        judged.open_high,
    )


def _scored(table: ScoreTable, column: int) -> _Estimate | None:
    """The judge's mean; None without a score."""
    return _part(table.values[:, column], table, 1.0, table.reach) if table.scored[column] else None


def _part(scores: Floats, table: ScoreTable, weight: float, limits: tuple[float, float]) -> _Estimate:
    """`weight` times a mean of scores, bounded by the worst and the best score where they are missing."""
    found, share = _mean_of(scores, table.clusters), float(numpy.isnan(scores).mean())
    low, high = (share * abs(limit - found.mean) for limit in limits)
    return _Estimate(weight * found.mean, weight * found.parts, found.n_documents, weight, open_low=low, open_high=high)


def _mean_of(values: Floats, clusters: NDArray[numpy.int64]) -> _Estimate:
    """The mean of the values that are not NaN."""
    seen = ~numpy.isnan(values)
    mean = float(values[seen].mean())
    parts = sum_by_cluster(numpy.where(seen, values - mean, 0.0)[:, None], clusters)[:, 0] / seen.sum()
    return _Estimate(mean, parts, len(set(clusters[seen].tolist())))


def _rare(residuals: Floats, clusters: NDArray[numpy.int64], span: float) -> float:
    """The least standard error where labels and judge differ in fewer than 3 documents (see `Columns.error`)."""
    middle = float(numpy.nanmedian(residuals))
    block = columns((residuals - middle)[:, None] / span, clusters)
    few = (numpy.abs(block.sums) > 1e-12).sum() < 3
    return float(block.error[0]) * span if few else 0.0


def _common(residuals: Floats, clusters: NDArray[numpy.int64], span: float) -> _Estimate:
    """The mean of label - score over all labelled answers."""
    n_trials = residuals.shape[1]
    flat, of_documents = residuals.ravel(), numpy.repeat(clusters, n_trials)
    found = _mean_of(flat, of_documents)
    return _Estimate(found.mean, found.parts, found.n_documents, least_error=_rare(flat, of_documents, span))


def _negative(estimate: _Estimate) -> _Estimate:
    return _Estimate(-estimate.mean, -estimate.parts, estimate.n_documents, least_error=estimate.least_error)


def _shown_to_differ(residuals: Floats, clusters: NDArray[numpy.int64], own: Sequence[bool]) -> bool:
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


def _span(interval: Interval, signed: bool = True) -> str:
    return f"[{interval.low:+.3f}, {interval.high:+.3f}]" if signed else f"[{interval.low:.3f}, {interval.high:.3f}]"
