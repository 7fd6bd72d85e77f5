"""Manifests: every field survives JSON; later formats are refused and unknown fields ignored."""

import json
from datetime import UTC, datetime

import pytest

from dream.errors import DataError
from dream.ray_cluster import Cluster
from dream.records import (
    JUDGED_ONCE,
    DocumentSet,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Plan,
    PlannedCalls,
    Repeats,
    Source,
    Trial,
)
from dream.records.manifest import FORMAT

TRIAL = Trial("hierarchical_automerging", "llm", "embed", {"chunk_sizes": (1024, 128), "top_k": 16})


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


LEAST = Manifest("least", GoldenDataset(()), ("faithfulness",)).to_json()


def test_a_later_format_is_refused_and_fields_that_are_not_known_are_ignored():
    with pytest.raises(DataError, match=f"'least' .*format {FORMAT + 1}"):
        Manifest.from_json({**LEAST, "format": FORMAT + 1})
    assert Manifest.from_json({**LEAST, "seeds": [1, 2]}) == Manifest.from_json(LEAST)


def test_what_version_0_1_wrote_is_read_with_defaults_and_its_time_as_utc():
    """It wrote no format, and times without a zone."""
    old = {"name": "old", "metrics": ["faithfulness"], "started": "2026-01-02T03:04:05"}
    old["golden_dataset"] = {"questions": [{"id": "1", "question": "How deep?", "ground_truth": "17 m"}]}
    manifest = Manifest.from_json(old)
    assert manifest.started == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert manifest.questions == (GoldenQuestion("1", "How deep?", "17 m"),)
    assert (manifest.strictness, manifest.repeats, manifest.documents) == (1, JUDGED_ONCE, DocumentSet())
    assert (manifest.cluster, manifest.plan, manifest.trials) == (None, None, ())


def test_a_cluster_runs_a_trial_on_each_cpu_and_at_least_two():
    assert Cluster("local", nodes=1, cpus=2).trials_at_once == Cluster("local", nodes=1, cpus=1).trials_at_once == 2
    assert Cluster("ray://head:10001", nodes=2, cpus=8).trials_at_once == 8
