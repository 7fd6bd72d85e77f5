"""Means of a trial: what counts as the worst score, what is missing, and where lower is better."""

from dream.records import Answer, Evaluation, Failure, FailureKind, Score, Trial, TrialResult
from dream.records.means import means_of, scores_of

EMPTY, OUTAGE = Failure(FailureKind.EMPTY_ANSWER, "empty"), Failure(FailureKind.UNREADABLE_JUDGEMENT, "no JSON")


def result(*scores: Score) -> TrialResult:
    answers = tuple(Answer(name, "text") for name in dict.fromkeys(score.question_id for score in scores))
    return TrialResult(Trial("method", "llm", "embed"), Evaluation(answers, scores))


def test_what_the_system_failed_counts_as_the_worst_score_and_what_the_judge_failed_not_at_all():
    found = result(
        Score("a", "faithfulness", 0.9),
        Score("b", "faithfulness", None, failure=EMPTY),
        Score("c", "faithfulness", None, failure=OUTAGE),
        Score("a", "noise_sensitivity", 0.2),
        Score("b", "noise_sensitivity", None, failure=EMPTY),
    )
    assert means_of(found) == {"faithfulness": 0.45, "noise_sensitivity": 0.6}
    assert scores_of(found, "faithfulness") == {"a": 0.9}
    assert means_of(result(Score("c", "faithfulness", None, failure=OUTAGE))) == {"faithfulness": None}
