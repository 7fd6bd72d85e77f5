"""Which combinations of a search space become trials."""

from collections import Counter

import pytest

from dream.errors import ConfigurationError
from dream.rag.own_systems import own_system
from dream.rag.search import chosen, next_round, search_of, started
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.rag.told import Told
from dream.records import IN_ROUNDS, Search, Trial

SPACE = SearchSpace(["bm25"], ["gpt-4o-mini"], ["bge"], {"bm25": {"top_k": list(range(1, 41))}})


def drawn(n: int, seed: int = 0, trials: tuple[Trial, ...] = SPACE.trials()) -> list[str]:
    return [trial.id for trial in chosen(trials, Search("random", n, seed))]


def test_a_grid_is_everything():
    assert chosen(SPACE.trials(), search_of(None)) == SPACE.trials()
    assert search_of(None).summary == ""


def test_a_sample_is_the_same_for_a_seed_and_in_the_order_of_the_space():
    everything = [trial.id for trial in SPACE.trials()]
    assert len(drawn(10)) == 10 and drawn(10) == drawn(10) != drawn(10, seed=1)
    assert drawn(10) == [trial_id for trial_id in everything if trial_id in drawn(10)]
    assert drawn(100) == everything
    assert set(drawn(10)) < set(drawn(11))  # so an extended search pays for what is new


def test_each_combination_is_as_likely_as_any_other():
    counts = Counter(trial_id for seed in range(400) for trial_id in drawn(10, seed))
    assert len(counts) == 40
    assert all(60 <= count <= 140 for count in counts.values())  # 100 expected, standard deviation 8.7


def test_the_incumbent_is_always_among_them():
    trials = (*SPACE.trials(), Trial("ours", "", "", {"incumbent": True}))
    assert all(trials[-1].id in drawn(1, seed, trials) for seed in range(20))


@pytest.mark.parametrize("by", IN_ROUNDS)
def test_the_incumbent_is_the_first_of_a_search_in_rounds(by: str):
    @own_system(incumbent=True)
    def ours(question):
        return "the answer", []

    space = SearchSpace(["hybrid", "ours"], ["a", "b"], ["bge"], {"hybrid": {"top_k": [1, 2, 3, 4, 5, 6]}})
    search = started(space, search_of({"by": by, "trials": 8}))[1]
    first = next_round(search, ())
    assert [trial.name for trial in first].count("ours") == 1 and first[0].name == "ours"
    told = [Told(trial, (0.9 if trial.name == "ours" else 0.5,), trial.name == "ours") for trial in first]
    while trials := next_round(search := search.with_round(len(first)), told):
        told += [Told(trial, (0.4,)) for trial in trials]
        first = trials
    assert len({each.trial.id for each in told}) == len(told) == 8  # one that is better than all ends no search
    assert next_round(started(space, search_of({"by": by, "trials": 1}))[1], ())[0].name == "ours"


def test_the_rules_of_a_space_hold():
    joined = JoinedSpace([SPACE], exclude=[{"top_k": [*range(1, 31)]}])
    assert {t.parameters["top_k"] for t in chosen(joined.trials(), Search("random", 40))} == set(range(31, 41))


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as error:
        search_of({"by": "anneal", "trials": 0, "seed": -1, "budget": 3})
    assert "4 mistake(s) in the search" in str(error.value)
    assert "by='anneal'; valid: grid, random, optuna, nsga2, models_first" in str(error.value)
    with pytest.raises(ConfigurationError, match="by='random' needs trials"):
        search_of(Search("random"))
    with pytest.raises(ConfigurationError, match="trials=3 with by='grid'"):
        search_of({"trials": 3})
