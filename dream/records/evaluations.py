"""Parts of an `Evaluation`: taken apart by question, and joined again."""

from collections.abc import Iterable, Sequence

from dream.records.results import Evaluation


def by_question(evaluation: Evaluation, metrics: Sequence[str]) -> list[Evaluation]:
    """One evaluation for each question that was answered and scored on all metrics without a failure.

    Repeated judgements go with their question; those that failed are left out.
    Where a question or a score comes twice, the later counts.
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
    """Several evaluations as one, in their order."""
    parts = list(evaluations)
    return Evaluation(
        tuple(answer for part in parts for answer in part.answers),
        tuple(score for part in parts for score in part.scores),
        tuple(score for part in parts for score in part.repeats),
    )
