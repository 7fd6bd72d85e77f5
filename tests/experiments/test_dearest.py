"""The dearest trials that a search may choose."""

from dream.experiments.dearest import dearest, most_trials
from dream.rag.combinations import Combinations
from dream.rag.search import next_round, search_of, started
from dream.rag.search_space import SearchSpace

SPACE = SearchSpace(["bm25"], ["a", "b"], ["bge"], {"bm25": {"top_k": [1, 2, 3, 4]}})
LARGE = SearchSpace(["bm25", "hybrid"], ["a", "b"], ["bge"],
                    {name: {"top_k": [*range(1, 41)], "context_tokens": [*range(400, 410)]}
                     for name in ("bm25", "hybrid")})  # fmt: skip


def price(trial):
    usd = (
        trial.parameters["top_k"] * (2.5 if trial.llm_identifier == "b" else 1.0)
        + trial.parameters["context_tokens"] / 1e4
    )
    return usd + (trial.query_engine_identifier == "hybrid"), 0.0


def search_in(space, **asked):
    return started(space, search_of(asked))[1]


def test_of_few_combinations_they_are_the_dearest_besides_the_first_round():
    wide = SearchSpace(["bm25"], ["a", "b"], ["bge"], {"bm25": {"top_k": [*range(1, 9)]}})
    search = search_in(wide, by="optuna", trials=12)
    found, first = dearest(search, (), price), next_round(search, ())
    left = sorted((trial for trial in wide.trials() if trial not in first), key=price, reverse=True)
    assert len(first) == 10 and list(found.trials) == [*first, *left[:2]]
    assert "the 10 trials of the first round, and the 2 most expensive of 6 other combinations" in found.note
    all_known = dearest(search_in(wide, by="optuna", trials=3), (), price)
    assert all_known.trials == next_round(search_in(wide, by="optuna", trials=3), ())
    assert all_known.note == "the 3 trials of the search are known before any result"


def test_trials_that_were_chosen_count_once():
    chosen = SPACE.trials()[:2]
    found = dearest(search_in(SPACE, by="optuna", trials=3), chosen, price)
    assert found.trials[:2] == chosen and len(found.trials) == 3


def test_of_many_it_is_the_dearest_value_of_each_factor():
    found = dearest(search_in(LARGE, by="optuna", trials=30), (), price)
    assert len(found.trials) == 30
    assert price(found.trials[-1]) == max(map(price, Combinations.of(LARGE).listed()))
    assert "20 times the most expensive combination" in found.note


def test_models_first_has_at_most_three_pairs_with_all_systems():
    models = SearchSpace(
        ["bm25", "hybrid"], list("abcde"), ["bge", "e5"], {name: {"top_k": [2, 3, 4]} for name in ("bm25", "hybrid")}
    )
    search = search_in(models, by="models_first")
    assert most_trials(search, Combinations.of(models)) == 10 + 3 * (
        3 + 2
    )  # pairs; then bm25 and hybrid, one of it known
    assert most_trials(search_in(models, by="models_first", trials=12), Combinations.of(models)) == 12


def test_the_indexes_that_embed_most_are_counted():
    sizes = {"chunk_size": [128, 512], "chunk_overlap": [0, 64], "top_k": [2, 3]}
    space = SearchSpace(["hybrid"], ["a"], ["bge", "e5"], {"hybrid": sizes})
    found = dearest(search_in(space, by="optuna", trials=12), (), lambda trial: (0.0, 0.0))
    first, parameters = found.trials[:10], [(t.parameters["chunk_size"], t.parameters["chunk_overlap"])
                                            for t in found.indexed[10:]]  # fmt: skip
    assert found.indexed[:10] == first and len(parameters) == 2
    assert parameters == sorted(parameters, key=lambda size: (-size[1] / size[0], size[0]))
