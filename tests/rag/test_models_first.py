"""Models first, then systems for the best models."""

from dream.rag.search import next_round, search_of, started
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.rag.told import Told

LLMS = ["a", "b", "c", "d", "e"]
SPACE = SearchSpace(
    ["hybrid", "bm25"], LLMS, ["bge", "e5"], {"hybrid": {"top_k": [2, 3, 4]}, "bm25": {"top_k": [2, 5]}}
)


def rounds(space, best: dict[str, float], **options):
    """The trials of both rounds, where pairs of `best` may be the best."""
    search = started(space, search_of({"by": "models_first", **options}))[1]
    first = next_round(search, [])
    told = [
        Told(trial, (best.get(f"{trial.llm_identifier} {trial.embed_model_identifier}", 0.1),),
             f"{trial.llm_identifier} {trial.embed_model_identifier}" in best)
        for trial in first
    ]  # fmt: skip
    second = next_round(search.with_round(len(first)), told)
    last = search.with_round(len(first)).with_round(len(second))
    assert next_round(last, [*told, *map(Told, second)]) == ()
    return first, second


def test_the_first_round_has_each_pair_of_models_with_the_default_system():
    first, _ = rounds(SPACE, {})
    assert [(trial.llm_identifier, trial.embed_model_identifier) for trial in first] == [
        (x, y) for x in LLMS for y in ("bge", "e5")
    ]
    assert {(trial.query_engine_identifier, trial.parameters["top_k"]) for trial in first} == {("hybrid", 3)}


def test_the_second_round_has_all_systems_with_the_best_models():
    _, second = rounds(SPACE, {"b e5": 0.8})
    found = sorted(
        (t.query_engine_identifier, t.llm_identifier, t.embed_model_identifier, t.parameters["top_k"]) for t in second
    )
    assert found == [("bm25", "b", "", 2), ("bm25", "b", "", 5), ("hybrid", "b", "e5", 2), ("hybrid", "b", "e5", 4)]


def test_at_most_three_pairs_go_on_the_best_first():
    _, second = rounds(SPACE, {"a e5": 0.5, "b e5": 0.8, "c e5": 0.7, "d bge": 0.6})
    pairs = {(t.llm_identifier, t.embed_model_identifier) for t in second if t.embed_model_identifier}
    assert pairs == {("b", "e5"), ("c", "e5"), ("d", "bge")}


def test_no_model_that_can_be_ranked_ends_it():
    assert rounds(SPACE, {})[1] == ()


def test_a_number_of_trials_is_kept():
    first, second = rounds(SPACE, {"a e5": 0.5, "b e5": 0.8}, trials=13)
    assert len(first) + len(second) == 13


def test_rules_hold():
    ruled = JoinedSpace([SPACE], exclude=[{"top_k": [3, 4]}, {"llm_identifier": "a"}])
    first, second = rounds(ruled, {"b e5": 0.9})
    assert {trial.parameters["top_k"] for trial in first} == {2} and len(first) == 8
    assert len(second) == 2
