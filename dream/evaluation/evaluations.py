"""Parts of an `Evaluation`: taken apart by question, joined again, and the repeated judgements that are due."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dream.metrics import COMPUTED
from dream.records import Evaluation


@dataclass(frozen=True)
class Repeats:
    """The answers to these questions are judged so many times, the first included; all others once."""

    times: int = 1
    question_ids: tuple[str, ...] = ()

    def missing(self, evaluation: Evaluation, metrics: Sequence[str]) -> list[int]:
        """Numbers of the judgements that the evaluation of a single question still lacks on these metrics."""
        answer = evaluation.answers[0] if evaluation.answers else None
        if answer is None or answer.error or answer.question_id not in self.question_ids:
            return []
        judged = set(metrics) - set(COMPUTED)
        done = {(score.repeat, score.metric) for score in evaluation.repeats if score.error is None}
        return [n for n in range(1, self.times) if not judged <= {metric for repeat, metric in done if repeat == n}]


JUDGED_ONCE = Repeats()


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
        own = [scores.get((question_id, metric, 0)) for metric in metrics]
        good = tuple(score for score in own if score is not None and score.error is None)
        again = [score for score in repeats.values() if score.question_id == question_id and score.error is None]
        if answer.error is None and len(good) == len(own):
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
