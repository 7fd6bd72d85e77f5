"""The judge's means, corrected by human labels of some answers (prediction-powered inference).

The mean of the labels, plus lambda times what the judge's mean over all answers exceeds its mean over the labelled ones
(Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023, "Prediction-powered inference"), with the lambda of least
variance, 0 to 1 (Angelopoulos, Duchi and Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference"). For a useless
judge, lambda is 0 and only the labels count; a good judge narrows the interval as much as many additional labels would.
Standard errors keep the questions of a document together, with Student's t for the documents that have labels.

A trial with too few labels of its own is corrected by the mean of label - score over all labelled answers. This is
valid if the judge's bias is the same in that trial; if the bias is shown to differ, the trial is not corrected.
Differences are only given between trials with labels of their own, because they would hide a bias that is not shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from dream.comparison.human_agreement import Label
from dream.comparison.intervals import CONFIDENCE, Floats, Interval
from dream.comparison.prediction_powered import (
    FEWEST_DOCUMENTS,
    FEWEST_OF_TRIAL,
    Estimate,
    bias_differs,
    common_bias,
    has_enough,
    scored_mean,
    tuned,
)
from dream.comparison.score_table import ScoreTable
from dream.errors import DataError
from dream.records import Trial, full_name, telling_parameters

FEWEST_OF_ALL = 10
OWN, COMMON, NONE = "its own labels", "the labels of all trials", ""


@dataclass(frozen=True)
class CalibratedTrial:
    """One trial; see `Calibration`.

    Attributes:
        judged: the judge's mean.
        n_labels: the number of labelled answers of this trial.
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
        assumption: the assumption behind the calibrated means, in one sentence.
        notes: sentences about unused labels, and about bias that differs between trials.
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
        corrected = [each for each in self.trials if each.mean]
        return max(corrected, key=lambda each: each.mean.mean if each.mean else -numpy.inf, default=None)

    @property
    def text(self) -> str:
        """The judge's bias, the trial with the highest calibrated mean, and the assumption, one sentence per line."""
        kind = "too strict" if self.bias.mean > 0 else "too generous"
        shown = "" if self.bias.excludes_zero else ", which is not significant"
        lines = [
            f"Labels of {self.n_labels} answers: on {self.metric} the judge is {abs(self.bias.mean):.3f} {kind} on "
            f"average (label - score {span_text(self.bias)}{shown})."
        ]
        best = self.best
        if best and best.mean:
            lines.append(
                f"Highest calibrated mean: {best.name}, {best.mean.mean:.3f} {span_text(best.mean, signed=False)}."
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


def calibrated(table: ScoreTable, labels: Sequence[Label]) -> Calibration:
    """Correct the means of the trials of `table` by the labels of some of their answers.

    Args:
        table: the scores; differences are to its first trial, `compare(...).scores` has the best first.
        labels: human labels of some answers, preferably drawn at random; see `read_labels`.

    Raises:
        DataError: if fewer than 10 labelled answers have a score, or if they come from fewer than 4 documents.

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
    scored = [scored_mean(table, column) for column in range(len(table.results))]
    residuals = given - table.values
    n_labels, n_documents = int(seen.sum()), len(set(table.clusters[seen.any(1)].tolist()))
    if n_labels < FEWEST_OF_ALL or n_documents < FEWEST_DOCUMENTS:
        raise DataError(
            f"{n_labels} labelled answer(s) with a score on {table.metric}, of {n_documents} document(s): calibration "
            f"needs {FEWEST_OF_ALL} of {FEWEST_DOCUMENTS} documents; label answers drawn at random over all documents"
        )
    common = common_bias(residuals, table.clusters, table.span)
    own = [has_enough(given[:, column], table.clusters) for column in range(len(scored))]
    differ = bias_differs(residuals, table.clusters, own)
    estimates: list[Estimate | None] = []
    for column, judged in enumerate(scored):
        if judged is None:
            estimates.append(None)
        elif own[column]:
            estimates.append(tuned(given[:, column], table.values[:, column], table, table.reach))
        else:
            estimates.append(None if differ else judged.minus(common.negative))
    return _calibration(table, given, estimates, own, common, unused, differ)


def _calibration(
    table: ScoreTable,
    given: Floats,
    estimates: Sequence[Estimate | None],
    own: Sequence[bool],
    common: Estimate,
    unused: Sequence[str],
    differ: bool,
) -> Calibration:
    parameters = telling_parameters(result.trial for result in table.results)
    means, (least, most) = table.means, table.reach
    n_pairs = max(len(estimates) * (len(estimates) - 1) // 2, 1)
    seen, trials = ~numpy.isnan(given), []
    for column, (result, estimate) in enumerate(zip(table.results, estimates, strict=True)):
        both = int((seen[:, 0] & seen[:, column]).sum()) if column else 0
        apart = _difference(table, given, estimates, column, both) if column and own[0] and own[column] else None
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
    n_own = sum(bool(each) and mine for each, mine in zip(estimates, own, strict=True))
    return Calibration(
        table.metric,
        int(seen.sum()),
        common.interval((-table.span, table.span), int(seen.sum())),
        tuple(trials),
        _assumption(n_own, len(estimates), differ),
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
    table: ScoreTable, given: Floats, found: Sequence[Estimate | None], column: int, n_both: int
) -> Estimate | None:
    """The difference to the first trial: from the questions with labels for both trials if there are enough, otherwise
    between the two calibrated means."""
    first, other = found[0], found[column]
    if first is None or other is None:
        return None
    apart = given[:, column] - given[:, 0]
    if n_both >= FEWEST_OF_TRIAL and has_enough(apart, table.clusters):
        return tuned(apart, table.values[:, column] - table.values[:, 0], table, (-table.span, table.span))
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
    return given, [f"{left_out} label(s) belong to answers without a score on {table.metric}."] if left_out else []


def span_text(interval: Interval, signed: bool = True) -> str:
    """The limits of an interval as text; `signed` adds a plus sign to positive limits, as for differences."""
    return f"[{interval.low:+.3f}, {interval.high:+.3f}]" if signed else f"[{interval.low:.3f}, {interval.high:.3f}]"
