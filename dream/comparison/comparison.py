"""Comparison of the trials of an experiment: paired differences, the tie set, and a recommendation with its evidence.

`compare` computes a `Comparison`; `dream.comparison.leaderboard_table` renders one as a table or text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy

from dream.comparison.calibration import Calibration, calibrated
from dream.comparison.differences import BETTING
from dream.comparison.factor_effects import Effects, effects
from dream.comparison.held_out import confirmation_of
from dream.comparison.human_agreement import Label
from dream.comparison.incumbent import incumbent_note
from dream.comparison.intervals import CONFIDENCE, interval
from dream.comparison.judge_noise import JudgeNoise, noise_of
from dream.comparison.loss_split import LossSplit, losses_of
from dream.comparison.power import Power, power_of
from dream.comparison.ranking import Standing, cost_unit, standings
from dream.comparison.recommendation import MARGIN, Recommendation, recommend
from dream.comparison.score_table import ScoreTable, score_table
from dream.comparison.shrinkage import shrunken_means
from dream.defaults import DEFAULT_METRIC, FAILURE_SHARE
from dream.errors import ConfigurationError, DataError
from dream.records import Confirmation, ExperimentResult, Race

OFFLINE = "Offline models: this shows how DREAM works; the scores say nothing about a real LLM."


@dataclass(frozen=True, eq=False)
class Comparison:
    """All results of a comparison on one metric, for reports, plots and terminals.

    Attributes:
        n_clusters: the number of source documents, or of questions if these are treated as independent, such as those
            of a single document.
        standings: the ranked trials, best first, then the unranked ones.
        cost_unit: the unit of the Pareto front and the plots: "USD", or "tokens" if prices are unknown or all 0.
        power: None if fewer than two ranked trials have different scores, or if there are fewer than 5 questions, as
            the spread is then almost unknown.
        scores: questions x trials, with the columns in the order of `standings`.
        notes: sentences about the limits of the comparison.
        noise: the judge's share of the variance, for each compared metric; empty unless answers were judged repeatedly.
        losses: the loss split by trial id; empty without baselines.
        confirmation: the recommended trial on questions that the search never saw; None if none were held out, or not
            answered.
        calibration: the means corrected by human labels; None without labels, or with too few (a note says so).
    """

    name: str
    metric: str
    n_questions: int
    n_clusters: int
    offline: bool
    standings: tuple[Standing, ...]
    recommendation: Recommendation
    effects: Effects
    power: Power | None
    cost_unit: str
    scores: ScoreTable
    notes: tuple[str, ...]
    confidence: float = CONFIDENCE
    noise: tuple[JudgeNoise, ...] = ()
    losses: Mapping[str, LossSplit] = field(default_factory=dict)
    confirmation: Confirmation | None = None
    calibration: Calibration | None = None

    @property
    def ranked(self) -> tuple[Standing, ...]:
        """The trials with a rank, best first."""
        return tuple(standing for standing in self.standings if standing.rank is not None)

    @property
    def best(self) -> Standing:
        """The trial with the highest mean."""
        return self.standings[0]

    @property
    def tie_set(self) -> tuple[Standing, ...]:
        """The best trial and all trials that are statistically indistinguishable from it on these questions."""
        return tuple(standing for standing in self.standings if standing.in_set)

    @property
    def recommended(self) -> Standing:
        """The standing of the recommended trial."""
        return next(standing for standing in self.standings if standing.trial.id == self.recommendation.trial.id)

    @property
    def ended_early(self) -> frozenset[str]:
        """The ids of the trials that were stopped by hand or left a race."""
        return frozenset(result.trial.id for result in self.scores.results if result.ended_early)


def confidence_after(race: Race | None) -> float:
    """The confidence level of a comparison. The error that a race may have spent is subtracted from the 5 %, so that
    both together keep it.

    Example:
        >>> from dream.records import Look
        >>> race = Race("score", 20, 20, 0.025, looks=(Look(20, 20, 0.01, is_done=True),))
        >>> confidence_after(None), round(confidence_after(race), 3)
        (0.95, 0.975)
    """
    return CONFIDENCE + race.error if race is not None and race.was_run else CONFIDENCE


def default_metric(experiment: ExperimentResult) -> str:
    """The default ranking metric: that of the experiment's objective, else answer correctness if it was scored,
    otherwise the experiment's first metric."""
    if experiment.manifest.objective.metric:
        return experiment.manifest.objective.metric
    metrics = experiment.manifest.metrics
    return DEFAULT_METRIC if DEFAULT_METRIC in metrics else metrics[0]


def compare(
    experiment: ExperimentResult,
    metric: str | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    failure_share: float = FAILURE_SHARE,
    margin: float | None = None,
    clustered: bool = True,
    seed: int = 0,
    labels: Sequence[Label] = (),
) -> Comparison:
    """Compare all trials of an experiment, question by question, and recommend one.

    Args:
        metric: the metric to compare by; any that the experiment scored, by default `default_metric`.
        weights: compare by a weighted mean of several metrics instead, e.g. `{"faithfulness": 1, "context_recall": 2}`;
            a question counts if all of them have a score.
        failure_share: a trial with a larger share of missing scores is not ranked (0 to 1).
        margin: the largest acceptable loss against the best mean (0 to 1), by default that of the experiment's
            objective, else 0.05. Trials with a larger measured loss are not recommended; if the confidence interval
            includes a larger loss, the recommendation states this doubt. With 1, every trial of the tie set may be
            recommended.
        clustered: keep the questions of a source document together, so that the intervals hold for new documents; with
            False they hold for new questions on these documents.
        seed: the seed of the resampling, from 0 on; the same seed gives the same intervals.
        labels: human labels of some answers (`read_labels`). They correct the judge's means (`calibration`), but change
            neither the ranking nor the recommendation.

    Raises:
        ConfigurationError: for an invalid metric, weights, failure share, margin or seed.
        DataError: if no trial can be ranked, with the reasons.

    Example:
        experiment = load_experiment("s3://experiments/first")
        comparison = compare(experiment, "faithfulness", margin=0.02)
        print(comparison.recommended.trial.name, [standing.rank for standing in comparison.tie_set])
    """
    metric = metric or default_metric(experiment)
    margin = next(each for each in (margin, experiment.manifest.objective.margin, MARGIN) if each is not None)
    if not 0 <= failure_share <= 1:
        raise ConfigurationError(f"failure_share={failure_share}: give a share from 0 to 1, such as 0.1")
    if not 0 <= margin <= 1:
        raise ConfigurationError(f"margin={margin}: give the loss that you accept, from 0 to 1, such as 0.05")
    table = score_table(experiment, metric, weights, clustered)
    confidence = confidence_after(experiment.manifest.race)
    ordered, level = standings(table, failure_share, seed, confidence)
    columns = {result.trial.id: column for column, result in enumerate(table.results)}
    table = table.only([columns[standing.trial.id] for standing in ordered])
    n_ranked = sum(standing.rank is not None for standing in ordered)
    if not n_ranked:
        raise DataError(_nothing_ranked(experiment, table.metric, ordered))
    n_clusters = len(set(table.clusters.tolist()))
    ordered = _with_shrunken_means(ordered, table.only(list(range(n_ranked))))
    power = power_of(ordered, table.only(list(range(n_ranked))), level)
    repeated = any(result.evaluation and result.evaluation.repeats for result in experiment.results)
    noise, no_noise = noise_of(experiment, list(weights or [metric])) if repeated else ((), ())
    losses, no_loss = losses_of(experiment, metric, weights) if experiment.baselines else ({}, ())
    recommendation = recommend(ordered, table.metric, margin, power, n_clusters, confidence)
    replacing = incumbent_note(ordered, table, recommendation.trial.id, seed)
    confirmation, unconfirmed = confirmation_of(
        experiment, ordered, recommendation.trial, metric, margin, weights, clustered
    )
    calibration, uncalibrated = _calibration(table, labels)
    return Comparison(
        name=experiment.name,
        metric=table.metric,
        n_questions=len(table.question_ids),
        n_clusters=n_clusters,
        offline=experiment.manifest.offline,
        standings=ordered,
        recommendation=recommendation,
        effects=effects(table.only(list(range(n_ranked))), seed),
        power=power,
        cost_unit=cost_unit(ordered),
        scores=table,
        notes=(
            *([unconfirmed] if unconfirmed else []),
            *([uncalibrated] if uncalibrated else []),
            *([replacing] if replacing else []),
            *_chosen(experiment),
            *_notes(table, ordered),
            *no_noise,
            *no_loss[:3],
        ),
        confidence=confidence,
        noise=noise,
        losses=losses,
        confirmation=confirmation,
        calibration=calibration,
    )


def _calibration(table: ScoreTable, labels: Sequence[Label]) -> tuple[Calibration | None, str]:
    """The means corrected by labels, and a note if they cannot be corrected."""
    try:
        return (calibrated(table, labels), "") if labels else (None, "")
    except DataError as error:
        return None, f"The judge's means are not corrected by the labels: {error}."


def _with_shrunken_means(ordered: Sequence[Standing], ranked: ScoreTable) -> tuple[Standing, ...]:
    """The standings, in which ranked trials have their shrunken means if there are enough of them."""
    means = shrunken_means(ranked)
    if means is None:
        return tuple(ordered)
    shrunken = [replace(each, shrunken=float(mean)) for each, mean in zip(ordered, means, strict=False)]
    return (*shrunken, *ordered[len(shrunken) :])


def _nothing_ranked(experiment: ExperimentResult, metric: str, ordered: Sequence[Standing]) -> str:
    reasons = (
        "; ".join(list(dict.fromkeys(standing.why_not_ranked for standing in ordered))[:3]) or "there are no trials"
    )
    if all(standing.n_scored == 0 for standing in ordered):
        return f"no trial of {experiment.name!r} has a score on {metric}; errors: {reasons}"
    remedy = "fix the failures and run again, or allow more with failure_share (--failure-share)"
    return f"no trial of {experiment.name!r} can be ranked on {metric}: {reasons}; {remedy}"


def _chosen(experiment: ExperimentResult) -> tuple[str, ...]:
    """Sentences about how the trials were chosen before the questions were answered."""
    manifest = experiment.manifest
    race, sift = manifest.race, manifest.sift
    summaries = (manifest.search.summary, sift.summary if sift else "", race.summary if race else "")
    return tuple(summary for summary in summaries if summary)


def _notes(table: ScoreTable, ordered: Sequence[Standing]) -> tuple[str, ...]:
    ranked = [standing for standing in ordered if standing.rank is not None]
    gaps = [standing for standing in ranked if standing.n_scored < standing.n_questions]
    notes = [table.note] if table.note else []
    if table.not_applicable:
        notes.append(f"{table.metric} does not apply to {table.not_applicable} question(s), which are left out.")
    if len(table.question_ids) < 10:
        notes.append(f"{len(table.question_ids)} question(s) are too few for a comparison; use at least 50.")
    if len(ranked) == 1:
        notes.append("Only one trial could be ranked, so there is nothing to compare it with.")
    if gaps:
        coverage = min(standing.n_scored / standing.n_questions for standing in gaps)
        notes.append(
            f"{len(gaps)} ranked trial(s) have missing scores (coverage down to {coverage:.0%}): differences are over "
            "the questions that both trials have a score on; a missing score counts as the worst in the ranking, as "
            "the worst and as the best in the intervals."
        )
    failed = [standing for standing in ranked if standing.n_failed]
    if failed:
        most = max(standing.n_failed for standing in failed)
        notes.append(
            f"{len(failed)} ranked trial(s) failed on questions, on up to {most} of {ranked[0].n_questions} (an empty "
            f"answer, an exception, ...); these questions score 0."
        )
    doubted = [standing for standing in ranked if standing.interval_by.startswith(BETTING)]
    if doubted:
        reasons = ", ".join(dict.fromkeys(standing.interval_by.partition(": ")[2] for standing in doubted))
        notes.append(
            f"{len(doubted)} trial(s) have intervals that do not rely on the symmetry that sign flips assume "
            f"({reasons}; a betting interval, which only needs bounded scores): rank "
            f"{', '.join(str(standing.rank) for standing in doubted)}."
        )
    if len(ordered) > len(ranked):
        notes.append(f"{len(ordered) - len(ranked)} trial(s) are not ranked; the table shows the reasons.")
    estimated = sum(any(row.estimated_tokens for row in result.usage) for result in table.results)
    if estimated:
        notes.append(
            f"Tokens and USD of {estimated} trial(s) are partly estimates, as an endpoint does not report its tokens."
        )
    return tuple(notes)


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], scale: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float, float]:
    """Mean difference `first - second` over the common questions, and its 95 % confidence interval by paired bootstrap.

    The interval is valid for a pair that was chosen before looking at the scores. With fewer than two common questions,
    it is the whole range, by default -1 to 1.

    Args:
        first, second: scores by question id.
        scale: the worst and the best possible score, such as (0, 5).

    Raises:
        ConfigurationError: for a score that is infinite or outside of the scale.

    Returns:
        The mean, and the lower and upper end of the interval.

    Example:
        >>> paired_difference({"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 0.0})
        (0.5, -1.0, 1.0)
    """
    least, most = scale
    wrong = [f"{score:g}" for score in (*first.values(), *second.values()) if not least <= score <= most]
    if wrong:
        valid = f"give finite scores from {least:g} to {most:g}, or the scale that they have, such as scale=(0, 5)"
        raise ConfigurationError(
            f"{len(wrong)} score(s) are outside of the scale, e.g. {', '.join(wrong[:3])}: {valid}"
        )
    differences = numpy.array([first[question] - second[question] for question in first if question in second])
    between = interval(differences, limits=(least - most, most - least))
    return between.mean, between.low, between.high
