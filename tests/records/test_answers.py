"""Answers and scores: failures never become numbers."""

import json

from dream.records import Answer, Evaluation, Failure, FailureKind, MetricSummary, Score

UNREADABLE = Failure(FailureKind.UNREADABLE_JUDGEMENT, "no statement")


def test_a_mean_counts_what_was_scored_and_names_what_failed():
    scores = [
        Score("1", "faithfulness", 1.0),
        Score("1", "context_recall", None, failure=UNREADABLE),
        Score("2", "faithfulness", None, failure=UNREADABLE),
        Score("2", "context_recall", None, failure=UNREADABLE),
        Score("3", "faithfulness", 0.5),
        Score("3", "context_recall", None, failure=UNREADABLE),
        Score("4", "faithfulness", 0.0),
    ]
    evaluation = Evaluation((Answer("1", "text"),), tuple(scores))
    assert evaluation.summaries() == (
        MetricSummary("faithfulness", 0.5, 3, 1),
        MetricSummary("context_recall", None, 0, 3),
    )
    assert Evaluation((), ()).summaries() == ()


def test_a_question_that_a_metric_does_not_apply_to_is_neither_scored_nor_failed():
    outside = Score("2", "recall@5", None, not_applicable="no evidence can be matched")
    evaluation = Evaluation((Answer("1", "text"), Answer("2", "text")), (Score("1", "recall@5", 0.5), outside))
    assert evaluation.summaries() == (MetricSummary("recall@5", 0.5, 1, 0, 1),)
    assert Score.from_json(json.loads(json.dumps(outside.to_json()))) == outside
    assert "not_applicable" not in Score("1", "recall@5", 0.5).to_json()
