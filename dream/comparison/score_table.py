"""Scores of an experiment as a questions x trials matrix, with the source document of each question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from dream.comparison.intervals import Floats, cluster_numbers
from dream.comparison.sign_flips import FEWEST_FLIPPED
from dream.errors import ConfigurationError, DataError, bullets
from dream.metrics import Metric, definition_of
from dream.records import ExperimentResult, GoldenQuestion, TrialResult
from dream.records.means import (
    failures_of as failures_of,
    is_of_system as is_of_system,
    means_of as means_of,
    score_of_failure as score_of_failure,
    scores_of as scores_of,
)

FACTORS = {
    "query_engine_identifier": "RAG method",
    "llm_identifier": "LLM",
    "embed_model_identifier": "embedding model",
}
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores on one metric: `values` is questions x trials, NaN for a missing score.

    `clusters` is the number of each question's source document, from 0; a question without a source is its own cluster.
    `note` is a sentence about the clusters. Questions to which the metric does not apply are left out; `not_applicable`
    is their number. `limits` are the worst and the best possible score: a missing score counts as either, and intervals
    of differences are clipped to their difference. `failed` marks the questions that the RAG system itself failed (an
    empty answer, an exception, ...), which have the worst score.

    Raises:
        DataError: for an infinite score.
    """

    metric: str
    question_ids: tuple[str, ...]
    results: tuple[TrialResult, ...]
    values: Floats
    clusters: NDArray[numpy.int64]
    note: str = ""
    not_applicable: int = 0
    limits: tuple[float, float] = (0.0, 1.0)
    failed: NDArray[numpy.bool_] | None = None

    def __post_init__(self) -> None:
        self._refuse(numpy.isinf(self.values), "infinite score(s); correct them or score again:")

    def check_limits(self) -> "ScoreTable":
        """Itself.

        Raises:
            DataError: for scores outside of `limits`, naming them.
        """
        (least, most), values = self.limits, self.values
        wrong = (values < least - ROUNDING) | (values > most + ROUNDING)
        problem = (
            f"score(s) outside of {least:g} to {most:g}, the range of this metric; correct them or the metric's "
            f"`bounds`:"
        )
        self._refuse(wrong, problem)
        return self

    def _refuse(self, wrong: NDArray[numpy.bool_], problem: str) -> None:
        examples = [
            f"{self.values[row, column]:g} of {self.results[column].trial.name} on {self.question_ids[row]}"
            for row, column in zip(*wrong.nonzero(), strict=True)
        ]
        if examples:
            raise DataError(bullets(f"{self.metric}: {len(examples)} {problem}", examples[:5]))

    @property
    def reach(self) -> tuple[float, float]:
        """`limits`, widened to include every score."""
        seen = self.values[~numpy.isnan(self.values)]
        return float(min(seen.min(initial=numpy.inf), self.limits[0])), float(
            max(seen.max(initial=-numpy.inf), self.limits[1])
        )

    @property
    def span(self) -> float:
        """The largest possible difference of two scores."""
        least, most = self.reach
        return most - least

    @property
    def n_failed(self) -> NDArray[numpy.int64]:
        """The number of questions of each trial that its RAG system failed; they have the worst score."""
        return numpy.zeros(len(self.results), int) if self.failed is None else self.failed.sum(0)

    @property
    def scored(self) -> NDArray[numpy.int64]:
        """The number of scored questions of each trial."""
        return (~numpy.isnan(self.values)).sum(0)

    @property
    def means(self) -> Floats:
        """The mean of each trial over its scored questions; NaN without any."""
        with numpy.errstate(invalid="ignore"):
            return numpy.nansum(self.values, 0) / numpy.where(self.scored > 0, self.scored, numpy.nan)

    def bounds(self) -> tuple[Floats, Floats]:
        """The mean of each trial if every missing score were the worst, and if it were the best."""
        low, high = (numpy.nan_to_num(self.values, nan=limit).mean(0) for limit in self.reach)
        return low, high

    def only(self, columns: list[int]) -> "ScoreTable":
        """The table restricted to the trials of these columns, in this order."""
        results = tuple(self.results[column] for column in columns)
        failed = None if self.failed is None else self.failed[:, columns]
        return replace(self, results=results, values=self.values[:, columns], failed=failed)

    def of_questions(self, ids: Sequence[str]) -> "ScoreTable":
        """The table restricted to these questions, in this order."""
        rows = {question_id: row for row, question_id in enumerate(self.question_ids)}
        order = [rows[question_id] for question_id in ids]
        clusters = numpy.unique(self.clusters[order], return_inverse=True)[1]
        failed = None if self.failed is None else self.failed[order]
        return replace(self, question_ids=tuple(ids), values=self.values[order], clusters=clusters, failed=failed)


def inapplicable(results: Sequence[TrialResult], metric: str) -> set[str]:
    """The ids of the questions to which a metric does not apply: a trial recorded this, and no trial has a score."""
    scores = [
        score for result in results if result.evaluation for score in result.evaluation.scores if score.metric == metric
    ]
    scored = {score.question_id for score in scores if score.value is not None}
    return {score.question_id for score in scores if score.not_applicable} - scored


def score_table(
    experiment: ExperimentResult,
    metric: str,
    weights: Mapping[str, float] | None = None,
    clustered: bool = True,
) -> ScoreTable:
    """The scores of an experiment on one metric, or on the weighted mean of several.

    Where lower is better, such as on noise_sensitivity, the values are 1 - score. A question that the RAG system itself
    failed has the score 0, a question that an outage or the judge failed has none.

    Args:
        weights: see `compare`; the score of a question is missing unless all weighted metrics have one.
        clustered: group questions by source document; False makes each question its own cluster.

    Raises:
        ConfigurationError: for a metric that was not scored, or invalid weights.
        DataError: if trials were scored on questions that are not in the experiment's golden dataset, or if a metric
            applies to no question; if there are no questions; for scores outside of the metric's range.
    """
    everything = experiment.manifest.questions
    if not everything:
        raise DataError(f"{experiment.name!r} has no questions, so there is nothing to compare; run it with questions")
    _check_questions(experiment, {question.id for question in everything})
    if weights is None:
        check_metric(experiment, metric)
    shares = {metric: 1.0} if weights is None else checked_weights(experiment, weights)
    outside = {question_id for name in shares for question_id in inapplicable(experiment.results, name)}
    questions = [question for question in everything if question.id not in outside]
    if outside and not questions:
        problem = f"{', '.join(shares)} applies to no question of {experiment.name!r}"
        raise DataError(f"{problem}; compare by another of: {', '.join(experiment.manifest.metrics)}")
    ids = [question.id for question in questions]
    goods = {name: _goods(experiment, name, ids) for name in shares}
    values = numpy.sum([share * goods[name].values for name, share in shares.items()], axis=0)
    failed = numpy.any([goods[name].failed for name in shares], axis=0)
    limits = tuple(sum(share * goods[name].limits[side] for name, share in shares.items()) for side in (0, 1))
    if weights is None:
        metric = goods[metric].name
    else:
        metric = " + ".join(f"{share:.3g} {goods[name].name}" for name, share in shares.items())
    clusters, note = _clusters(questions) if clustered else (numpy.arange(len(questions)), "")
    return ScoreTable(
        metric, tuple(ids), experiment.results, values, clusters, note, len(outside), (limits[0], limits[1]), failed
    ).check_limits()


def check_metric(experiment: ExperimentResult, metric: str) -> None:
    """Raise a ConfigurationError if the experiment did not score this metric."""
    metrics = experiment.manifest.metrics
    if metric not in metrics:
        raise ConfigurationError(
            f"metric={metric!r} was not scored in {experiment.name!r}; valid: {', '.join(metrics)}"
        )


def checked_weights(experiment: ExperimentResult, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as shares of 1, without those that are 0.

    Raises:
        ConfigurationError: naming every invalid weight.
    """
    metrics = experiment.manifest.metrics
    problems = [f"{name!r} was not scored; valid: {', '.join(metrics)}" for name in weights if name not in metrics]
    problems += [f"{name}={weight}: give a number of at least 0" for name, weight in weights.items() if not weight >= 0]
    total = sum(weights.values())
    if not problems and not 0 < total < numpy.inf:
        problems = ["all weights are 0, or infinite: give at least one metric a positive number"]
    if problems:
        raise ConfigurationError(bullets("weights cannot be used:", problems))
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def _check_questions(experiment: ExperimentResult, questions: set[str]) -> None:
    unknown = {
        result.trial.name: sorted(asked - questions)
        for result in experiment.results
        if result.evaluation and (asked := {score.question_id for score in result.evaluation.scores}) - questions
    }
    if unknown:
        problems = [f"{name}: {len(ids)} unknown, e.g. {ids[0]}" for name, ids in list(unknown.items())[:5]]
        raise DataError(
            bullets(
                f"{experiment.name!r}: trials were scored on questions that are not in its golden dataset, so they "
                "cannot be paired; run these trials again under a new experiment name:",
                problems,
            )
        )


@dataclass(frozen=True, eq=False)
class _Goods:
    """The scores on one metric where higher is better, questions x trials."""

    name: str
    values: Floats
    failed: NDArray[numpy.bool_]
    limits: tuple[float, float]


def _goods(experiment: ExperimentResult, metric: str, questions: list[str]) -> _Goods:
    """The scores on a metric; if lower is better, mirrored within its limits, e.g. 1 - score."""
    columns = [scores_of(result, metric) for result in experiment.results]
    values = numpy.array([[column.get(question, numpy.nan) for column in columns] for question in questions], float)
    failures = [failures_of(result, metric) for result in experiment.results]
    failed = numpy.array([[question in column for column in failures] for question in questions], bool)
    definition, name = definition_of(metric, experiment.manifest.own_metrics), metric
    least, most = _limits(definition, values)
    if definition.lower_is_better:
        name, values = f"({least + most:g} - {metric})", least + most - values
    return _Goods(name, numpy.where(failed, max(least, min(0.0, most)), values), failed, (least, most))


def _limits(definition: Metric, values: Floats) -> tuple[float, float]:
    """The worst and the best score: 0 and 1, unless the metric has other bounds and a score is outside of 0 to 1.
    Scores of user-defined metrics are always stored on a scale from 0 to 1. The range of an unknown metric, such as one
    of another version, is that of its scores.
    """
    seen = values[numpy.isfinite(values)]
    least, most = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    inside = least >= -ROUNDING and most <= 1 + ROUNDING
    if definition.range == "unknown":
        return min(0.0, least), max(1.0, most)
    return (0.0, 1.0) if inside else (min(0.0, definition.bounds[0]), max(1.0, definition.bounds[1]))


def _clusters(questions: Sequence[GoldenQuestion]) -> tuple[NDArray[numpy.int64], str]:
    """The cluster number of each question, by its first source document, and a note about it."""
    clusters = cluster_numbers([question.document for question in questions])
    n_clusters = len(set(clusters.tolist()))
    if n_clusters == 1 < len(questions):
        note = "All questions come from one document: the intervals only hold for further questions on this document."
        return numpy.arange(len(questions)), note
    if n_clusters == len(questions):
        return clusters, ""
    note = f"The questions of a document stay together: {len(questions)} questions from {n_clusters} documents."
    if n_clusters < FEWEST_FLIPPED:
        note += (
            f" With fewer than {FEWEST_FLIPPED} documents, little can be generalised to others; "
            "`compare(..., clustered=False)` only generalises to further questions on these documents."
        )
    return clusters, note
