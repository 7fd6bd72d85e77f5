"""Searches by Optuna: rounds follow from results and seed alone, obey rules, and find more than chance."""

import statistics

import pytest

from dream.rag.combinations import Combinations
from dream.rag.search import next_round, search_of, started
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.rag.told import Told
from dream.records import Search, Trial

SPACE = SearchSpace(
    ["bm25", "hybrid"], ["a", "b", "c"], ["bge", "e5"],
    {name: {"top_k": [2, 4, 8], "temperature": [0, 0.5, 1], "context_tokens": [500, 1000, 2000]}
     for name in ("bm25", "hybrid")},
)  # fmt: skip
RULED = JoinedSpace([SPACE], exclude=[{"llm_identifier": "b", "top_k": 4}, {"query_engine_identifier": "bm25"}])


def quality(trial: Trial) -> float:
    config = trial.config()
    best = {"llm_identifier": "b", "top_k": 8, "query_engine_identifier": "hybrid", "embed_model_identifier": "e5"}
    return 0.5 + 0.1 * sum(config[name] == value for name, value in best.items()) - 0.05 * config.get("temperature", 0)


def told(trial: Trial, by: str) -> Told:
    costs = () if by == "optuna" else (-0.001 * trial.parameters["top_k"], -1.0 - (trial.llm_identifier == "b"))
    return Told(trial, (quality(trial), *costs))


def searched(by: str, seed: int, n: int = 30, space=SPACE, until: int = 100) -> tuple[Search, list[Told]]:
    search, found = started(space, search_of({"by": by, "trials": n, "seed": seed}))[1], list[Told]()
    while len(search.rounds) < until and (trials := next_round(search, found)):
        found += [told(trial, by) for trial in trials]
        search = search.with_round(len(trials))
    return search, found


def test_no_trial_is_chosen_twice_and_the_number_is_kept():
    for by, rounds in (("optuna", (10, 5, 5, 5, 5)), ("nsga2", (7, 7, 7, 7, 2))):
        search, found = searched(by, 0)
        assert search.rounds == rounds
        assert len({each.trial.id for each in found}) == 30


def test_rounds_are_the_same_for_a_seed_and_after_a_resume():
    for by in ("optuna", "nsga2"):
        whole = searched(by, 5)[1]
        assert searched(by, 5)[1] == whole != searched(by, 6)[1]
        search, begun = searched(by, 5, until=2)
        assert [told(trial, by) for trial in next_round(search, begun)] == whole[len(begun) :][: search.rounds[-1]]


def test_a_failed_trial_is_no_result():
    search, found = searched("optuna", 1, until=2)
    failed = [*found[:3], Told(found[3].trial), *found[4:]]
    trials = next_round(search, failed)
    assert len(trials) == 5 and found[3].trial.id not in {trial.id for trial in trials}
    assert len(next_round(search, [Told(each.trial) for each in found])) == 5


def test_rules_hold():
    allowed = {trial.id for trial in RULED.trials()}
    for by in ("optuna", "nsga2"):
        assert {each.trial.id for each in searched(by, 2, 25, RULED)[1]} <= allowed


def test_a_small_space_is_searched_to_its_end():
    few = SearchSpace(["bm25"], ["a"], ["bge"], {"bm25": {"top_k": [1, 2, 3]}})
    assert {each.trial.id for each in searched("optuna", 0, 30, few)[1]} == {trial.id for trial in few.trials()}


@pytest.mark.whole
def test_it_finds_better_trials_than_chance():
    best = max(quality(trial) for trial in Combinations.of(SPACE).listed())
    by_optuna = [best - max(each.values[0] for each in searched("optuna", seed)[1]) for seed in range(2)]
    by_chance = [
        best - max(map(quality, started(SPACE, search_of({"by": "random", "trials": 30, "seed": seed}))[0]))
        for seed in range(40)
    ]
    assert statistics.mean(by_optuna) < statistics.mean(by_chance)
