"""The search space: valid trials, every mistake at once, and an id that changes with the configuration."""

import pytest

from dream.errors import ConfigurationError
from dream.rag.methods import RAG_METHODS
from dream.rag.search_space import DEFAULT_METHODS, SearchSpace, default_search_space
from dream.records import Trial
from dream.settings import Settings

SETTINGS = Settings.from_environment({})


def test_the_default_grid_is_three_by_two_by_two_with_all_parameters_written_out():
    trials = default_search_space(SETTINGS).trials(SETTINGS)
    assert len(trials) == 12
    assert len({trial.id for trial in trials}) == 12
    for trial in trials:
        assert dict(trial.parameters) == dict(RAG_METHODS[trial.query_engine_identifier].defaults)


def test_all_methods_read_the_same_amount_of_context_by_default():
    reading = {name: method.defaults["context_tokens"] for name, method in RAG_METHODS.items()}
    assert reading.pop("long_context") == 6000  # what it is for
    assert len(set(reading.values())) == 1


def test_a_list_of_values_makes_a_trial_for_each_and_chunk_sizes_stay_one_value():
    space = SearchSpace(
        ["chunks_with_overlap", "hierarchical_automerging"],
        ["offline/llm-small"],
        ["offline/embed-small"],
        {
            "chunks_with_overlap": {"chunk_size": [256, 512], "top_k": [2, 4]},
            "hierarchical_automerging": {"chunk_sizes": [512, 128]},
        },
    )
    trials = space.trials(SETTINGS)
    assert [(t.parameters["chunk_size"], t.parameters["top_k"]) for t in trials[:4]] == [
        (256, 2),
        (256, 4),
        (512, 2),
        (512, 4),
    ]
    assert [t.parameters["chunk_sizes"] for t in trials[4:]] == [(512, 128)]


def test_exclude_drops_matching_combinations():
    rule = {"query_engine_identifier": "sentence_window", "llm_identifier": "offline/llm-large"}
    space = SearchSpace(DEFAULT_METHODS, SETTINGS.llms, SETTINGS.embed_models, exclude=[rule])
    assert len(space.trials(SETTINGS)) == 10


def test_exclude_knows_the_defaults_of_shared_factors():
    parameters = {"hybrid": {"reranker": ["none", "llm"], "query_transform": ["none", "hyde"]}}
    rules = [{"reranker": "none", "query_transform": "hyde"}]
    trials = SearchSpace(["hybrid"], ["a"], ["b"], parameters, rules).trials()
    chosen = [(one.parameters.get("reranker"), one.parameters.get("query_transform")) for one in trials]
    assert chosen == [(None, None), ("llm", None), ("llm", "hyde")]


def test_methods_without_an_embedding_model_have_one_trial_per_llm():
    trials = SearchSpace(["bm25", "long_context", "hybrid"], ["a", "b"], ["e", "f"]).trials()
    assert [one.name for one in trials] == [
        "bm25 + a", "bm25 + b", "long_context + a", "long_context + b",
        "hybrid + a + e", "hybrid + a + f", "hybrid + b + e", "hybrid + b + f",
    ]  # fmt: skip


def test_every_mistake_is_named_with_what_is_valid():
    space = SearchSpace(
        ["chunks_with_overlap", "no_such_method"],
        "gpt-4o",  # pyright: ignore[reportArgumentType]
        [],
        {
            "chunks_with_overlap": {"chunk_size": 100, "chunk_overlap": [20, 100], "topk": 3},
            "hierarchical_automerging": {"chunk_sizes": [128, 512], "merge_ratio": 1.5},
        },
        [{"llm": "gpt-4o"}],
    )
    with pytest.raises(ConfigurationError) as caught:
        space.trials()
    message = str(caught.value)
    assert message.startswith("9 mistake(s)")
    for expected in (
        "llms='gpt-4o' must be a list",
        "embed_models is empty",
        "no_such_method",
        "'topk'; valid: chunk_size",
        "not in query_engines",
        "chunk_overlap=100 must be smaller than chunk_size=100",
        "[128, 512] must be two or more sizes in descending order",
        "merge_ratio=1.5",
        "exclude names 'llm'",
    ):
        assert expected in message


def test_an_overlap_as_large_as_the_chunk_is_refused():
    space = SearchSpace(["chunks_with_overlap"], ["a"], ["b"], {"chunks_with_overlap": {"chunk_overlap": [64, 512]}})
    with pytest.raises(ConfigurationError, match="chunk_overlap=512 must be smaller than chunk_size=512"):
        space.trials()


def test_models_of_endpoints_that_nobody_configured_are_refused():
    space = SearchSpace(["sentence_window"], ["gpt-4o", "llama@vllm"], ["offline/embed-small"])
    with pytest.raises(ConfigurationError) as caught:
        space.trials(SETTINGS)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "DREAM_ENDPOINT_VLLM_BASE_URL" in str(caught.value)


def test_each_changed_field_changes_the_trial_id_and_a_config_round_trip_keeps_it():
    trial = Trial("sentence_window", "llm", "embed", {"top_k": 4, "sizes": [1, 2]})
    others = [
        Trial("chunks_with_overlap", "llm", "embed", trial.parameters),
        Trial("sentence_window", "other", "embed", trial.parameters),
        Trial("sentence_window", "llm", "other", trial.parameters),
        Trial("sentence_window", "llm", "embed", {**trial.parameters, "top_k": 5}),
        Trial("sentence_window", "llm", "embed", {**trial.parameters, "extra": 1}),
    ]
    assert trial.id not in {other.id for other in others}
    assert Trial.from_config(trial.config()) == trial
    assert Trial.from_config(trial.config()).id == trial.id


def test_a_budget_that_cannot_hold_a_merged_parent_is_refused():
    space = SearchSpace(
        ["hierarchical_automerging"], ["a"], ["b"], {"hierarchical_automerging": {"context_tokens": 1000}}
    )
    with pytest.raises(ConfigurationError, match="context_tokens=1000 must be at least the largest"):
        space.trials()
