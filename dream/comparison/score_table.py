"""Scores of an experiment as a questions x trials matrix, with the source document of each question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from dream.comparison.intervals import Floats, cluster_numbers
from dream.errors import ConfigurationError, DataError, bullets
from dream.metrics import definition_of
from dream.records import ExperimentResult, GoldenQuestion, TrialResult

FACTORS = {
    "query_engine_identifier": "RAG method",
    "llm_identifier": "LLM",
    "embed_model_identifier": "embedding model",
}
# With fewer documents the questions are treated as independent: the cluster bootstrap would not be reliable.
FEWEST_CLUSTERS = 5


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores on one metric: `values` is questions x trials, NaN for a missing score.

    `clusters` is the number of each question's source document, from 0; a question without a source is its own
    cluster. `note` is a sentence about the clusters. Questions that the metric does not apply to are no rows;
    `not_applicable` is their number.
    """

    metric: str
    question_ids: tuple[str, ...]
    results: tuple[TrialResult, ...]
    values: Floats
    clusters: NDArray[numpy.int64]
    note: str = ""
    not_applicable: int = 0

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
        """The mean of each trial if every missing score were 0, and if it were 1."""
        return numpy.nan_to_num(self.values, nan=0.0).mean(0), numpy.nan_to_num(self.values, nan=1.0).mean(0)

    def only(self, columns: list[int]) -> "ScoreTable":
        """The table restricted to the trials of these columns, in this order."""
        results = tuple(self.results[column] for column in columns)
        return replace(self, results=results, values=self.values[:, columns])

    def of_questions(self, ids: Sequence[str]) -> "ScoreTable":
        """The table restricted to these questions, in this order."""
        rows = {question_id: row for row, question_id in enumerate(self.question_ids)}
        order = [rows[question_id] for question_id in ids]
        clusters = numpy.unique(self.clusters[order], return_inverse=True)[1]
        return replace(self, question_ids=tuple(ids), values=self.values[order], clusters=clusters)


def scores_of(result: TrialResult, metric: str) -> dict[str, float]:
    """A trial's scores on a metric by question id, without failed scores."""
    if result.evaluation is None:
        return {}
    scores = [score for score in result.evaluation.scores if score.metric == metric]
    return {score.question_id: score.value for score in scores if score.value is not None}


def inapplicable(results: Sequence[TrialResult], metric: str) -> set[str]:
    """The ids of the questions that a metric does not apply to: a trial says so, and none has a score."""
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

    Where lower is better, such as on noise_sensitivity, the values are 1 - score.

    Args:
        weights: see `compare`; the score of a question is missing unless all weighted metrics have one.
        clustered: group questions by source document; False makes each question its own cluster.

    Raises:
        ConfigurationError: for a metric that was not scored, or weights that cannot be used.
        DataError: if trials were scored on questions that are not in the experiment's golden dataset, or if a metric
            applies to no question.
    """
    everything = experiment.manifest.questions
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
    values = numpy.sum([share * goods[name][1] for name, share in shares.items()], axis=0)
    if weights is None:
        metric = goods[metric][0]
    else:
        metric = " + ".join(f"{share:.3g} {goods[name][0]}" for name, share in shares.items())
    clusters, note = _clusters(questions) if clustered else (numpy.arange(len(questions)), "")
    return ScoreTable(metric, tuple(ids), experiment.results, values, clusters, note, len(outside))


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
        ConfigurationError: naming every weight that cannot be used.
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


def _goods(experiment: ExperimentResult, metric: str, questions: list[str]) -> tuple[str, Floats]:
    """The scores on a metric where higher is better, and their name; where lower is better, 1 - the score."""
    values = _values(experiment, metric, questions)
    if definition_of(metric, experiment.manifest.own_metrics).lower_is_better:
        return f"(1 - {metric})", 1 - values
    return metric, values


def _values(experiment: ExperimentResult, metric: str, questions: list[str]) -> Floats:
    columns = [scores_of(result, metric) for result in experiment.results]
    return numpy.array([[column.get(question, numpy.nan) for column in columns] for question in questions], float)


def _clusters(questions: Sequence[GoldenQuestion]) -> tuple[NDArray[numpy.int64], str]:
    """The cluster number of each question, by its first source document, and a note about it."""
    clusters = cluster_numbers([question.document for question in questions])
    n_clusters = len(set(clusters.tolist()))
    if n_clusters < FEWEST_CLUSTERS and n_clusters < len(questions):
        note = (
            f"All questions come from {n_clusters} document(s), too few to generalise: the intervals hold for further "
            "questions on these documents."
        )
        return numpy.arange(len(questions)), note
    if n_clusters < len(questions):
        return (
            clusters,
            f"Questions are resampled by source document: {len(questions)} questions from {n_clusters} documents.",
        )
    return clusters, ""
