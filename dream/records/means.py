"""Scores of a trial and their means, as the comparison counts them.

A question that the RAG system itself failed has the worst score; one that an outage or the judge failed has none.
"""

import math

from dream.metrics import Metric, definition_of
from dream.records import Score, TrialResult


def failures_of(result: TrialResult, metric: str) -> set[str]:
    """The ids of the questions without a score on a metric because the RAG system itself failed on them."""
    scores = result.evaluation.scores if result.evaluation else ()
    return {score.question_id for score in scores if score.metric == metric and is_of_system(score)}


def is_of_system(score: Score) -> bool:
    """True for a score that is missing because the RAG system itself failed on the question."""
    return score.failure is not None and score.failure.kind.by_system


def scores_of(result: TrialResult, metric: str) -> dict[str, float]:
    """A trial's scores on a metric by question id, without failed scores."""
    if result.evaluation is None:
        return {}
    scores = [score for score in result.evaluation.scores if score.metric == metric]
    return {score.question_id: score.value for score in scores if score.value is not None}


def score_of_failure(definition: Metric) -> float:
    """The score of a question that the RAG system itself failed: 0, or 1 where lower is better."""
    return 1.0 if definition.lower_is_better else 0.0


def means_of(result: TrialResult) -> dict[str, float | None]:
    """The mean of every metric of a trial; None without a score. A question that the RAG system itself failed counts 0,
    or 1 if lower is better."""
    if result.evaluation is None:
        return {}
    means: dict[str, float | None] = {}
    for metric in dict.fromkeys(score.metric for score in result.evaluation.scores):
        values = list(scores_of(result, metric).values())
        zeros = [score_of_failure(definition_of(metric))] * len(failures_of(result, metric)) if values else []
        means[metric] = math.fsum([*values, *zeros]) / len([*values, *zeros]) if values else None
    return means
