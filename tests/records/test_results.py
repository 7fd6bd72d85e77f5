"""Results: a trial's id changes with every field, failures never become numbers, JSON gives all of it back."""

import json
import pickle
from dataclasses import replace

import pytest

from dream.records import (
    Answer,
    Evaluation,
    Failure,
    FailureKind,
    MetricSummary,
    Passage,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)

UNREADABLE = Failure(FailureKind.UNREADABLE_JUDGEMENT, "no statement")
TRIAL = Trial("hierarchical_automerging", "llm", "embed", {"chunk_sizes": (1024, 128), "top_k": 16})


def test_a_trial_is_its_configuration():
    assert Trial.from_config(TRIAL.config()) == TRIAL
    assert pickle.loads(pickle.dumps(TRIAL)) == TRIAL
    assert TRIAL.name == "hierarchical_automerging + llm + embed"


def test_lists_and_tuples_are_the_same_parameter():
    listed = replace(TRIAL, parameters={"top_k": 16, "chunk_sizes": [1024, 128]})
    assert listed == TRIAL
    assert listed.id == TRIAL.id


@pytest.mark.parametrize(
    "change",
    [
        {"query_engine_identifier": "other"},
        {"llm_identifier": "other"},
        {"embed_model_identifier": "other"},
        {"llm_identifier": "embed", "embed_model_identifier": "llm"},
        {"parameters": {"chunk_sizes": (1024, 128), "top_k": 17}},
        {"parameters": {"chunk_sizes": (128, 1024), "top_k": 16}},
        {"parameters": {"chunk_sizes": (1024, 128)}},
    ],
)
def test_any_changed_field_changes_the_id(change):
    assert replace(TRIAL, **change).id != TRIAL.id


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


def test_records_come_back_from_json_as_they_were():
    refused = Failure(FailureKind.REFUSED, "BadRequestError: too long", "Traceback ...")
    passage = Passage("The well is deep.", "wells.pdf", "3", 0.5, 5, "a digest", 20, 37)
    answers = (Answer("1", "17 m", (passage,), 1.5, 100, 10, None, 0.5, 1e9), Answer("2", None, failure=refused))
    scores = (Score("1", "faithfulness", 0.5, "one of two"), Score("2", "faithfulness", None, None, refused))
    evaluation = Evaluation(answers, scores, (Score("1", "faithfulness", 1.0, repeat=1),))
    row = UsageRow("x", "llm", "answer", TRIAL.id, 3, 1, 2, usd=None)
    for result in (TrialResult(TRIAL, evaluation, 2.0, 10, (row,)), TrialResult(TRIAL, failure=refused)):
        assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result
