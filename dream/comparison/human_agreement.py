"""Agreement of the judge with human labels of the same answers.

Rank correlations of Spearman (1904) and Kendall (tau-b, 1938), and Cohen's kappa (1960) of "at least the threshold".
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from scipy import stats

from dream.comparison.intervals import CONFIDENCE, Floats
from dream.comparison.score_table import scores_of
from dream.errors import DataError, bullets
from dream.metrics import definition_of
from dream.records import ExperimentResult

COLUMNS = ("question_id", "trial_id", "label")
THRESHOLDS = (0.5, 0.75)


@dataclass(frozen=True)
class Label:
    """A human label of one answer; `value` is 0 (useless) to 1 (perfect)."""

    question_id: str
    trial_id: str
    value: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of one metric with the labels, over the `n` answers that have both a score and a label.

    Each measure is -1 to 1: 1 is full agreement, 0 is chance. It is None if undefined, because all scores or all labels
    are equal. `kappa` is a mapping by threshold. `warning` is the reason not to rely on the metric; empty if there is
    none. `between` is the 95 % confidence interval of `spearman` (Bonett and Wright 2000, "Sample size requirements for
    estimating Pearson, Kendall and Spearman correlations"); None with fewer than five labels.
    """

    metric: str
    n: int
    spearman: float | None
    kendall: float | None
    kappa: dict[float, float | None]
    warning: str
    between: tuple[float, float] | None = None


def read_labels(path: str | Path, experiment: ExperimentResult, metric: str | None = None) -> tuple[Label, ...]:
    """Read human labels from a CSV with the columns question_id, trial_id (or the trial's name) and label (0 to 1).

    Rows with the same label of an answer count once.

    Args:
        metric: a user's own metric, on whose scale the labels may be: if a label is outside of 0 to 1 and the bounds
            are (1, 5), 5 becomes 1 and 1 becomes 0.

    Raises:
        DataError: naming every mistake with its row number (the header is row 1).
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            missing = [name for name in COLUMNS if name not in header]
            rows = [] if missing else list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"labels {path}: cannot be read ({error}); give a CSV file in UTF-8") from error
    if missing:
        have = ", ".join(header) or "none"
        raise DataError(
            f"labels {path}: no column {', '.join(missing)}; there are: {have}; needed: {', '.join(COLUMNS)}"
        )
    return _checked(rows, path, experiment, _scale(rows, experiment, metric))


def agreement(
    experiment: ExperimentResult, labels: Sequence[Label], thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Agreement, ...]:
    """The agreement of each metric with the labels, in the order of the experiment's metrics; where lower is better,
    that of 1 - score.

    Args:
        thresholds: scores from which an answer counts as good, for Cohen's kappa (0 to 1).
    """
    agreements = []
    for metric in experiment.manifest.metrics:
        lower = definition_of(metric, experiment.manifest.own_metrics).lower_is_better
        scores = {result.trial.id: scores_of(result, metric) for result in experiment.results}
        if lower:
            scores = {trial: {name: 1 - value for name, value in of.items()} for trial, of in scores.items()}
        pairs = [
            (score, label.value)
            for label in labels
            if (score := scores.get(label.trial_id, {}).get(label.question_id)) is not None
        ]
        scored, labelled = numpy.array(pairs, float).reshape(-1, 2).T
        agreements.append(_agreement(metric, scored, labelled, thresholds))
    return tuple(agreements)


def agreement_text(agreements: Sequence[Agreement]) -> str:
    """A line per metric, followed by its warning if there is one."""
    lines = []
    for each in agreements:
        kappas = ", ".join(f"kappa {_shown(kappa)} at {threshold:g}" for threshold, kappa in each.kappa.items())
        between = f" [{each.between[0]:+.2f}, {each.between[1]:+.2f}]" if each.between else ""
        ranks = f"Spearman {_shown(each.spearman)}{between}, Kendall {_shown(each.kendall)}"
        lines.append(f"{each.metric}: {each.n} labels, {ranks}, {kappas}")
        lines += [f"  WARNING: {each.warning}"] if each.warning else []
    return "\n".join(lines)


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Cohen's kappa of two raters' yes/no judgements of the same items; None if all judgements are equal.

    Example:
        >>> cohens_kappa([True, True, False, False], [True, False, False, False])
        0.5
    """
    if len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score  # a second to import

    return float(cohen_kappa_score(list(first), list(second)))


def _checked(
    rows: Sequence[dict[str, str | None]],
    path: str | Path,
    experiment: ExperimentResult,
    scale: tuple[float, float],
) -> tuple[Label, ...]:
    questions = {question.id for question in experiment.manifest.questions}
    trials = _trial_names(experiment)
    labels, problems, seen = [], [], dict[tuple[str, str], tuple[int, float | None]]()
    worst, best = scale
    for number, row in enumerate(rows, 2):
        question, trial, text = ((row[name] or "").strip() for name in COLUMNS)
        value = _number(text, scale)
        if question not in questions:
            problems.append(f"row {number}: question_id={question!r} is not in the golden dataset")
        if trial not in trials:
            problems.append(
                f"row {number}: trial_id={trial!r} is not a trial of {experiment.name!r}, or is the name of several"
            )
        if value is None:
            problems.append(f"row {number}: label={text!r} is not a number from {worst:g} to {best:g}")
        key = (question, trials.get(trial, trial))
        first, label = seen.setdefault(key, (number, value))
        if label != value:
            problems.append(f"row {number}: the same answer as row {first}, with another label; give one per answer")
        if value is not None and first == number:
            labels.append(Label(*key, (value - worst) / (best - worst)))
    if not rows:
        problems.append("there are no rows below the header")
    if problems:
        raise DataError(bullets(f"labels {path}: {len(problems)} mistake(s), nothing was read:", problems))
    return tuple(labels)


def _trial_names(experiment: ExperimentResult) -> dict[str, str]:
    """Trial ids by id and by name, without names that several trials share."""
    names = [result.trial.name for result in experiment.results]
    unique = {
        result.trial.name: result.trial.id for result in experiment.results if names.count(result.trial.name) == 1
    }
    return {**unique, **{result.trial.id: result.trial.id for result in experiment.results}}


def _scale(
    rows: Sequence[dict[str, str | None]], experiment: ExperimentResult, metric: str | None
) -> tuple[float, float]:
    """The worst and the best label: 0 and 1, or the bounds of a user's own metric if a label is outside of 0 to 1."""
    own = {each.name: each.bounds for each in experiment.manifest.own_metrics}
    unit, given = (0.0, 1.0), [(row["label"] or "").strip() for row in rows]
    outside = any(
        _number(text, unit) is None and _number(text, own.get(metric or "", unit)) is not None for text in given
    )
    return own[metric] if metric in own and outside else unit


def _number(text: str, scale: tuple[float, float]) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if min(scale) <= value <= max(scale) else None


def _agreement(metric: str, scores: Floats, labels: Floats, thresholds: Sequence[float]) -> Agreement:
    defined = len(scores) > 1 and numpy.ptp(scores) > 0 and numpy.ptp(labels) > 0
    ranks: Any = (stats.spearmanr(scores, labels), stats.kendalltau(scores, labels)) if defined else None
    spearman, kendall = (float(ranks[0].statistic), float(ranks[1].statistic)) if defined else (None, None)
    kappa = {at: cohens_kappa((scores >= at).tolist(), (labels >= at).tolist()) for at in thresholds}
    between = spearman_interval(spearman, len(scores))
    warning = _warning(metric, len(scores), spearman, between)
    return Agreement(metric, len(scores), spearman, kendall, kappa, warning, between)


def spearman_interval(spearman: float | None, n: int) -> tuple[float, float] | None:
    """The 95 % confidence interval of a rank correlation of `n` pairs, on Fisher's scale (see `Agreement`).

    Example:
        >>> low, high = spearman_interval(0.5, 30)
        >>> round(low, 2), round(high, 2)
        (0.15, 0.74)
    """
    if spearman is None or n < 5:
        return None
    middle = numpy.arctanh(numpy.clip(spearman, -0.999999, 0.999999))
    half = stats.norm.isf((1 - CONFIDENCE) / 2) * ((1 + spearman**2 / 2) / (n - 3)) ** 0.5
    return float(numpy.tanh(middle - half)), float(numpy.tanh(middle + half))


def _warning(metric: str, n: int, spearman: float | None, between: tuple[float, float] | None) -> str:
    if n == 0:
        return f"no labelled answer has a score on {metric}"
    if spearman is None:
        return f"all scores or all labels of the {n} answer(s) are equal: label answers of different quality"
    if between and between[1] < 0:
        interval = f"Spearman is {spearman:.2f} [{between[0]:+.2f}, {between[1]:+.2f}]"
        return f"the judge agrees with these labels less than chance ({interval}): do not rank by {metric}"
    if between is None or between[0] <= 0:
        return f"with {n} label(s), the judge's agreement with them is not shown to be above chance: label more answers"
    return ""


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f}"
