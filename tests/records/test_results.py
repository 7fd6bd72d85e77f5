"""Records: ids change with every field, failures never become numbers, everything survives the trip to a worker."""

import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dream.ray_cluster import Cluster
from dream.records import (
    Answer,
    DocumentSet,
    Evaluation,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    MetricSummary,
    Passage,
    Plan,
    PlannedCalls,
    Repeats,
    Score,
    Source,
    Trial,
    TrialResult,
    UsageRow,
    add_usage,
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


def test_records_come_back_from_json_as_they_were():
    refused = Failure(FailureKind.REFUSED, "BadRequestError: too long", "Traceback ...")
    passage = Passage("The well is deep.", "wells.pdf", "3", 0.5, 5)
    answers = (Answer("1", "17 m", (passage,), 1.5, 100, 10, None, 0.5, 1e9), Answer("2", None, failure=refused))
    scores = (Score("1", "faithfulness", 0.5, "one of two"), Score("2", "faithfulness", None, None, refused))
    evaluation = Evaluation(answers, scores, (Score("1", "faithfulness", 1.0, repeat=1),))
    row = UsageRow("x", "llm", "answer", TRIAL.id, 3, 1, 2, usd=None)
    for result in (TrialResult(TRIAL, evaluation, 2.0, 10, (row,)), TrialResult(TRIAL, failure=refused)):
        assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_manifest_comes_back_from_json_as_it_was():
    questions = (GoldenQuestion("1", "How deep?", "17 m", ("It is deep.",), (Source("a; b.pdf", "3"),), "single_hop"),)
    whole = Manifest(
        "all",
        GoldenDataset(questions, "s3://golden/golden.csv"),
        ("faithfulness",),
        trials=(TRIAL,),
        baselines=(Trial("oracle", "llm", ""),),
        judge_llm="judge",
        judge_embed_model="embed",
        strictness=3,
        repeats=Repeats(2, ("1",)),
        documents=DocumentSet("s3://documents", "d0c5"),
        offline=True,
        started=datetime(2026, 11, 27, 12, tzinfo=UTC),
        cluster=Cluster("local", 1, 2),
        endpoints={"llm": "http://models.example/v1"},
        versions={"ragas": "0.4.3"},
        plan=Plan(1, 1, 1, 0, 5, (PlannedCalls("llm", "answer", 1, 0, 10, 1, 0.5),), 0.5, 0.1, ("a note",)),
    )
    for manifest in (whole, Manifest("least", GoldenDataset(()), ("faithfulness",))):
        assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_usage_adds_up_and_an_unknown_price_stays_unknown():
    one = UsageRow("x", "llm", "answer", "t1", 3, 1, 2, prompt_tokens=10, completion_tokens=1, usd=0.5, usd_full=0.75)
    total, other = add_usage([one, replace(one, trial="t2")], [replace(one, calls=4, usd=None)])
    assert (total.calls, total.tokens, total.usd, total.usd_full) == (7, 22, None, 1.5)
    assert other == replace(one, trial="t2")
