"""Splits an `Evaluation` by question, and joins evaluations."""

from collections.abc import Iterable, Sequence

from dream.records.answers import Evaluation


def by_question(evaluation: Evaluation, metrics: Sequence[str]) -> list[Evaluation]:
    """An evaluation for each question that has an answer and a score on all `metrics`, without failures.

    It includes the repeated judgements of the question that did not fail. If a question or a score occurs twice, the
    later record is used.
    """
    answers = {answer.question_id: answer for answer in evaluation.answers}
    scores, repeats = (
        {(score.question_id, score.metric, score.repeat): score for score in some}
        for some in (evaluation.scores, evaluation.repeats)
    )
    evaluations = []
    for question_id, answer in answers.items():
        judged = [scores.get((question_id, metric, 0)) for metric in metrics]
        good = tuple(score for score in judged if score is not None and score.failure is None)
        again = [score for score in repeats.values() if score.question_id == question_id and score.failure is None]
        if answer.failure is None and len(good) == len(judged):
            evaluations.append(Evaluation((answer,), good, tuple(again)))
    return evaluations


def joined(evaluations: Iterable[Evaluation]) -> Evaluation:
    """The evaluations concatenated, in their order."""
    parts = list(evaluations)
    return Evaluation(
        tuple(answer for part in parts for answer in part.answers),
        tuple(score for part in parts for score in part.scores),
        tuple(score for part in parts for score in part.repeats),
    )
