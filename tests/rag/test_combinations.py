"""The trials of a search space by number."""

import json
import tracemalloc
from itertools import islice

import pytest

from dream.errors import ConfigurationError
from dream.rag.combinations import Combinations
from dream.rag.methods import RAG_METHODS
from dream.rag.search import next_round, search_of, started
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace, Requirement

IDLE = {
    "query_transform": ["none", "multi_query"],
    "n_queries": [2, 3],
    "reranker": ["none", "llm"],
    "rerank_from": [20, 9],
}
SPACES = [
    SearchSpace(["bm25", "hybrid"], ["gpt-4o", "gpt-4o-mini"], ["bge"], {"bm25": IDLE, "hybrid": {"top_k": [2, 3]}}),
    SearchSpace(["hybrid", "hierarchical_automerging"], ["gpt-4o"], ["bge"], {"hybrid": {"top_k": [3, 4]}},
                exclude=[{"top_k": 4}]),
]  # fmt: skip
JOINED = JoinedSpace(SPACES, exclude=[{"n_queries": 2, "reranker": "llm"}],
                     require=[Requirement({"llm_identifier": "gpt-4o-mini"}, {"top_k": [2, 3, 5]})])  # fmt: skip
# 4 million combinations
LARGE = SearchSpace(
    ["chunks_with_overlap"], ["gpt-4o", "gpt-4o-mini"], ["bge", "e5"],
    {"chunks_with_overlap": {"chunk_size": [512, 640, 768, 1024], "chunk_overlap": [16, 32, 64, 128],
                             "top_k": [1, 2, 3, 4, 5], "temperature": [0, 0.25, 0.5, 0.75, 1],
                             "query_transform": ["none", "hyde", "multi_query", "decompose"],
                             "n_queries": [1, 2, 3, 4, 5], "context_tokens": list(range(1000, 1125))}},
)  # fmt: skip


@pytest.mark.parametrize("space", [*SPACES, JOINED])
def test_they_are_the_trials_of_the_space(space):
    combinations = Combinations.of(space)
    assert combinations.listed() == space.trials()
    assert {trial.id for trial in combinations.drawn(4)} == {trial.id for trial in space.trials()}
    assert Combinations.from_json(json.loads(json.dumps(combinations.to_json()))).listed() == space.trials()


def test_each_trial_has_its_place():
    combinations = Combinations.of(JOINED)
    for trial in combinations.listed():
        number, digits = combinations.place(trial)
        assert combinations.blocks[number].trial(digits) == trial


def test_millions_of_combinations_are_drawn_from_without_a_list():
    tracemalloc.start()
    trials, search = started(LARGE, search_of({"by": "random", "trials": 60}))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len({trial.id for trial in trials}) == 60
    assert most < 20e6
    assert (search.combinations, search.at_most) == (4_000_000, True)
    assert started(LARGE, search_of({"by": "random", "trials": 70}))[0][:60] == trials  # a larger one holds it
    assert "60 of at most 4,000,000 combinations were drawn at random" in search.summary


def test_optuna_chooses_among_millions():
    trials, search = started(LARGE, search_of({"by": "optuna", "trials": 12}))
    assert trials == ()
    assert len({trial.id for trial in next_round(search, [])}) == 10


def test_mistakes_in_a_large_space_are_found():
    wrong = {**LARGE.parameters["chunks_with_overlap"], "top_k": [1, 2, 3, 0]}
    with pytest.raises(ConfigurationError, match="top_k=0"):
        Combinations.of(SearchSpace(["chunks_with_overlap"], ["a"], ["b"], {"chunks_with_overlap": wrong}))


def test_values_that_make_no_sense_together_count_as_no_trial():
    combinations = Combinations.of(LARGE)
    assert all(
        not RAG_METHODS[t.query_engine_identifier].problems(t.parameters) for t in islice(combinations.drawn(0), 50)
    )


def test_rules_that_leave_nothing_are_told():
    with pytest.raises(ConfigurationError, match="exclude every trial"):
        Combinations.of(
            JoinedSpace(SPACES[:1], exclude=[{"embed_model_identifier": "bge"}, {"query_engine_identifier": "bm25"}])
        )


def test_representatives_have_every_value():
    found = Combinations.of(LARGE).representatives()
    assert len(found) < 160
    assert {trial.llm_identifier for trial in found} == {"gpt-4o", "gpt-4o-mini"}
    assert {trial.parameters["context_tokens"] for trial in found if "context_tokens" in trial.parameters} >= {
        1000,
        1124,
    }
