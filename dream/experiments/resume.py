"""Finds the finished part of a resumed experiment, so that nothing is requested or billed again."""

import math

from dream.evaluation.evaluate import by_question
from dream.experiments import store
from dream.experiments.spec import PreparedExperiment
from dream.models.thinking import has_thinking
from dream.rag.baselines import metrics_of
from dream.records import Answer, Evaluation, Score, TrialResult
from dream.storage import Storage


def finished_part(
    storage: Storage, name: str, prepared: PreparedExperiment
) -> tuple[dict[str, TrialResult], dict[str, Evaluation]]:
    """The complete results of earlier runs, and the finished questions of the other trials and baselines, both by trial
    id. Questions with an invalid answer or score from an earlier version of DREAM count as unfinished (`sound`). A
    trial that was stopped by hand or left a race is in both: it does not run, and its finished questions are kept."""
    whole, partial = {}, {}
    for result in store.load_results(storage, name, prepared.everything):
        kept = None if result.evaluation is None else sound(result.evaluation)
        if result.ended_early:
            whole[result.trial.id] = result
            partial[result.trial.id] = sound(store.load_blocks(storage, name, result.trial.id))
        elif kept == result.evaluation and _is_whole(result, prepared):
            whole[result.trial.id] = result
        else:
            partial[result.trial.id] = kept or sound(store.load_blocks(storage, name, result.trial.id))
    return whole, partial


def sound(evaluation: Evaluation) -> Evaluation:
    """An evaluation without invalid answers and scores that earlier versions recorded: answers that are empty or
    contain the LLM's thinking, with their scores, and scores that are not numbers. Truncated answers are left out too:
    with a changed token limit they are requested again, else they come from the cache."""
    answers = tuple(answer for answer in evaluation.answers if _is_answer(answer))
    ids = {answer.question_id for answer in answers}
    scores, repeats = (
        tuple(score for score in part if score.question_id in ids and _is_score(score))
        for part in (evaluation.scores, evaluation.repeats)
    )
    return Evaluation(answers, scores, repeats)


def _is_answer(answer: Answer) -> bool:
    if answer.failure is not None:
        return True
    return bool(answer.text and answer.text.strip()) and not answer.is_cut and not has_thinking(answer.text or "")


def _is_score(score: Score) -> bool:
    if score.failure is not None or score.not_applicable:
        return True
    return score.value is not None and math.isfinite(score.value)


def _is_whole(result: TrialResult, prepared: PreparedExperiment) -> bool:
    if result.failure or result.evaluation is None:
        return False
    context, metrics = prepared.context, metrics_of(result.trial, prepared.context.metrics)
    finished = by_question(result.evaluation, metrics)
    missing = any(context.repeats_of(result.trial).missing(question, metrics) for question in finished)
    return not missing and len(finished) == len({answer.question_id for answer in result.answers})
