"""Which metrics apply to which questions, told before anything is asked."""

import pytest

from dream.errors import ConfigurationError
from dream.evaluation.applicability import applicability_notes, why_not_applicable
from dream.evaluation.evidence import Evidence, Place
from dream.metrics import find_metric
from dream.records import GoldenQuestion

QUESTIONS = [GoldenQuestion("a", "Which?", "17 metres."), GoldenQuestion("b", "Who?", "Ida.")]
NONE = Evidence(unmatched="no document is called 'gone.pdf'")
SOME = Evidence((Place("a.pdf"),))


def test_a_metric_of_evidence_needs_evidence():
    assert why_not_applicable(find_metric("recall@5"), QUESTIONS[0], SOME) == ""
    reason = why_not_applicable(find_metric("recall@5"), QUESTIONS[0], NONE)
    assert reason == "no evidence can be matched: no document is called 'gone.pdf'"
    assert why_not_applicable(find_metric("faithfulness"), QUESTIONS[0], NONE) == ""


def test_what_can_be_matched_is_told_once_for_all_metrics():
    notes = applicability_notes(["mrr", "faithfulness", "recall@5"], QUESTIONS, {"a": SOME, "b": NONE})
    assert notes == [
        "mrr, recall@5: evidence of 1 of 2 questions can be matched (1 by file); not of 1: no document is called "
        "'gone.pdf'"
    ]
    assert applicability_notes(["faithfulness"], QUESTIONS, {}) == []


def test_a_metric_that_no_question_can_be_scored_on_is_refused():
    with pytest.raises(ConfigurationError, match=r"leave them out(.|\n)*mrr: evidence of 0 of 2 questions"):
        applicability_notes(["mrr"], QUESTIONS, {"a": NONE, "b": NONE})


def test_questions_whose_truth_has_no_number_are_counted():
    assert applicability_notes(["numbers_agree", "token_f1"], QUESTIONS, {}) == [
        "numbers_agree: not applicable to 1 of 2 questions: the ground truth has no number"
    ]
    with pytest.raises(ConfigurationError, match="numbers_agree: not applicable to 1 of 1 questions"):
        applicability_notes(["numbers_agree"], QUESTIONS[1:], {})
