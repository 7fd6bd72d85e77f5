"""The confirmation of a choice by questions that the search never saw.

The trials were fixed before these questions were answered, so ordinary intervals are valid: for the mean of each trial,
and for the paired difference of the recommended trial to each other trial, with Student's t and the cluster-robust
standard error over documents (`dream.comparison.intervals`), corrected for at most two differences by Bonferroni's
inequality.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.comparison.intervals import CONFIDENCE, Floats, columns
from dream.comparison.ranking import Standing
from dream.comparison.score_table import ScoreTable, score_table
from dream.records import (
    INCUMBENT,
    Confirmation,
    ConfirmedTrial,
    ExperimentResult,
    Role,
    Trial,
    Verdict,
)


def to_confirm(standings: tuple[Standing, ...], recommended: Trial) -> dict[Role, Trial]:
    """The trials that answer the held-out questions: the recommended one, the best of the others, and the incumbent if
    it is neither of these.

    Args:
        standings: the standings of all trials, ranked ones first, best first.
    """
    chosen = {Role.RECOMMENDED: recommended}
    others = [each.trial for each in standings if each.rank is not None and each.trial.id != recommended.id]
    incumbents = [trial for trial in (each.trial for each in standings) if trial.parameters.get(INCUMBENT)]
    if others:
        chosen[Role.RUNNER_UP] = others[0]
    if incumbents and incumbents[0].id not in {trial.id for trial in chosen.values()}:
        chosen[Role.INCUMBENT] = incumbents[0]
    return chosen


def confirmation_of(
    experiment: ExperimentResult,
    standings: tuple[Standing, ...],
    recommended: Trial,
    metric: str,
    margin: float,
    weights: Mapping[str, float] | None = None,
    clustered: bool = True,
) -> tuple[Confirmation | None, str]:
    """The confirmation of the recommended trial; if there is none, None and a sentence with the reason.

    Raises:
        DataError: for scores that cannot be compared (see `score_table`).
    """
    hold_out = experiment.manifest.hold_out
    if hold_out is None:
        return None, ""
    answered = {result.trial.id: result for result in experiment.held_out if result.evaluation is not None}
    roles = {role: trial for role, trial in to_confirm(standings, recommended).items() if trial.id in answered}
    n = len(hold_out.questions)
    if Role.RECOMMENDED not in roles:
        return None, (
            f"Not confirmed: the recommended trial has not answered the {n} held-out questions. If the experiment was "
            f"stopped, continue it with `dream run --resume {experiment.name}`; otherwise the trials that answered "
            f"them were chosen by another metric or margin."
        )
    results = tuple(answered[trial.id] for trial in roles.values())
    manifest = replace(experiment.manifest, golden_dataset=hold_out.golden_dataset)
    table = score_table(ExperimentResult(experiment.name, manifest, results), metric, weights, clustered)
    if not table.scored[0]:
        return None, f"Not confirmed: the recommended trial has no {metric} on the {n} held-out questions."
    return _confirmation(table, standings, tuple(roles), margin), ""


def _confirmation(
    table: ScoreTable, standings: tuple[Standing, ...], roles: tuple[Role, ...], margin: float
) -> Confirmation:
    by_trial = {standing.trial.id: standing for standing in standings}
    (low, high), (worst, best) = table.bounds(), table.reach
    # from both ends of the scale, so that a trial with (almost) equal scores on all questions does not appear certain
    means = numpy.maximum(*(_half_widths(table, numpy.abs(table.values - end), 1) for end in (worst, best)))
    worse = _with(table.values, worst)[:, [0]] - _with(table.values, best)[:, 1:]
    better = _with(table.values, best)[:, [0]] - _with(table.values, worst)[:, 1:]
    seen = table.values[:, [0]] - table.values[:, 1:]
    half = _half_widths(table, seen, len(roles) - 1)
    trials = []
    for number, (role, result) in enumerate(zip(roles, table.results, strict=True)):
        standing = by_trial[result.trial.id]
        if standing.mean is None or not table.scored[number]:
            continue
        against = {}
        if number:
            mean = float(numpy.nanmean(seen[:, number - 1])) if (~numpy.isnan(seen[:, number - 1])).any() else 0.0
            against = {
                "difference": mean,
                "least": max(float(worse[:, number - 1].mean() - half[number - 1]), -table.span),
                "most": min(float(better[:, number - 1].mean() + half[number - 1]), table.span),
            }
        trials.append(
            ConfirmedTrial(
                result.trial,
                role,
                standing.mean,
                float(table.means[number]),
                max(float(low[number] - means[number]), worst),
                min(float(high[number] + means[number]), best),
                int(table.scored[number]),
                standing.parameters,
                **against,
            )
        )
    n_documents = len(set(table.clusters.tolist()))
    verdict = _verdict(trials, margin)
    return Confirmation(table.metric, margin, len(table.question_ids), n_documents, tuple(trials), verdict)


def _verdict(trials: list[ConfirmedTrial], margin: float) -> Verdict:
    others = [(each.least, each.most) for each in trials[1:] if each.least is not None and each.most is not None]
    if any(most < 0 for _, most in others):
        return Verdict.DOES_NOT_SURVIVE
    return Verdict.SURVIVES if others and all(least >= -margin for least, _ in others) else Verdict.TOO_FEW


def _half_widths(table: ScoreTable, values: Floats, n_intervals: int) -> Floats:
    """The half width of each column's interval, with a confidence that holds for `n_intervals` intervals together;
    infinite with fewer than two documents. For values that hardly differ from 0, see `Columns.error`."""
    if not values.shape[1]:
        return numpy.zeros(0)
    span = table.span or 1.0
    block = columns(values / span, table.clusters)
    clusters: NDArray[numpy.int64] = block.n_clusters
    factor = stats.t.isf((1 - CONFIDENCE) / 2 / n_intervals, numpy.maximum(clusters - 1, 1))
    return numpy.where(clusters < 2, numpy.inf, factor * span * numpy.nan_to_num(block.error))


def _with(values: Floats, missing: float) -> Floats:
    return numpy.nan_to_num(values, nan=missing)
