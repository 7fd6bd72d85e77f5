"""Records: ids change with every field, failures never become numbers, everything survives the trip to a worker."""

import pickle
from dataclasses import replace

import pytest

from dream.records import (
    Answer,
    Evaluation,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    MetricSummary,
    Score,
    Source,
    Trial,
    digest,
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


def test_a_question_keeps_its_id_and_a_dataset_its_digest():
    assert GoldenQuestion.make_id("q", "a") == GoldenQuestion.make_id("q", "a")
    assert len({GoldenQuestion.make_id(*pair) for pair in (("q", "a"), ("q", "b"), ("qa", ""), ("", "qa"))}) == 4
    questions = (GoldenQuestion("1", "q", "a"), GoldenQuestion("2", "r", "b"))
    dataset = GoldenDataset(questions, "somewhere")
    assert dataset.digest == GoldenDataset(questions, "elsewhere").digest
    assert dataset.digest != GoldenDataset(questions[::-1]).digest
    assert (
        dataset.digest != GoldenDataset((replace(questions[0], sources=(Source("a.pdf", "2"),)), questions[1])).digest
    )


def test_digest_keeps_what_is_different_apart():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert len({digest(value) for value in (1, "1", [1], {"1": 1}, None, "µ", "m", 1.5)}) == 8


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
