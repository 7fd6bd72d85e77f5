"""Trials: the id changes with every field, and lists are tuples."""

import pickle
from dataclasses import replace

import pytest

from dream.records import Trial

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
