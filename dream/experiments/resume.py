"""The finished part of an experiment that is resumed, so that nothing is asked or paid for again."""

from dream.evaluation.evaluate import by_question
from dream.experiments import store
from dream.experiments.spec import PreparedExperiment
from dream.rag.baselines import metrics_of
from dream.records import Evaluation, TrialResult
from dream.storage import Storage


def finished_part(
    storage: Storage, name: str, prepared: PreparedExperiment
) -> tuple[dict[str, TrialResult], dict[str, Evaluation]]:
    """Results of an earlier run that are whole, and the finished questions of the other trials and baselines, both by
    trial id."""
    whole, partial = {}, {}
    for result in store.load_results(storage, name, prepared.everything):
        if _is_whole(result, prepared):
            whole[result.trial.id] = result
        else:
            partial[result.trial.id] = result.evaluation or store.load_blocks(storage, name, result.trial.id)
    return whole, partial


def _is_whole(result: TrialResult, prepared: PreparedExperiment) -> bool:
    if result.failure or result.evaluation is None:
        return False
    context, metrics = prepared.context, metrics_of(result.trial, prepared.context.metrics)
    finished = by_question(result.evaluation, metrics)
    missing = any(context.repeats_of(result.trial).missing(question, metrics) for question in finished)
    return not missing and len(finished) == len({answer.question_id for answer in result.answers})
