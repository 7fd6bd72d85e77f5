"""Several search spaces as one, and rules."""

import pytest

from dream.errors import ConfigurationError
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace, Requirement

CHUNKS = SearchSpace(["chunks_with_overlap"], ["a", "b"], ["e"], {"chunks_with_overlap": {"top_k": [2, 3]}})
MERGING = SearchSpace(["hierarchical_automerging"], ["a"], ["e"])


def found(space: JoinedSpace) -> list[tuple[str, str, int]]:
    return [(t.query_engine_identifier[:6], t.llm_identifier, t.parameters["top_k"]) for t in space.trials()]


def test_trials_come_in_order_each_once():
    assert found(JoinedSpace([CHUNKS, MERGING, CHUNKS])) == [
        ("chunks", "a", 2), ("chunks", "a", 3), ("chunks", "b", 2), ("chunks", "b", 3), ("hierar", "a", 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"llm_identifier": "a"}], ["b2", "b3"]),
        ([{"llm_identifier": ["a"], "top_k": [3, 16]}], ["a2", "b2", "b3"]),
        ([{"chunk_sizes": [1024, 512, 128]}], ["a2", "a3", "b2", "b3"]),
        ([{"chunk_sizes": [[64, 32], [1024, 512, 128]]}], ["a2", "a3", "b2", "b3"]),
        ([{"chunk_sizes": [1024, 512]}], ["a2", "a3", "b2", "b3", "a16"]),
        ([{"chunk_sizes": 1024}], ["a2", "a3", "b2", "b3", "a16"]),
    ],
)
def test_a_trial_that_meets_a_condition_is_left_out(exclude, left):
    assert [f"{llm}{k}" for _, llm, k in found(JoinedSpace([CHUNKS, MERGING], exclude))] == left


def test_a_requirement_holds_where_its_condition_is_met():
    rule = Requirement({"llm_identifier": "a"}, {"top_k": 2})
    assert [f"{llm}{k}" for _, llm, k in found(JoinedSpace([CHUNKS, MERGING], require=[rule]))] == ["a2", "b2", "b3"]


def test_mistakes_of_all_spaces_are_told_once_with_their_places():
    wrong = SearchSpace(["nothing"], ["a"], ["e"])
    with pytest.raises(ConfigurationError) as caught:
        JoinedSpace([wrong, CHUNKS, wrong], places=["line 3", "line 4", "line 5"], name="x.yaml").trials()
    assert [line[:14] for line in str(caught.value).splitlines()] == [
        "2 mistake(s) i",
        "  - line 3: un",
        "  - line 5: un",
    ]


def test_rules_that_leave_nothing_are_told():
    with pytest.raises(ConfigurationError, match="exclude all 4 trials"):
        JoinedSpace([CHUNKS], [{"llm_identifier": ["a", "b"]}]).trials()
