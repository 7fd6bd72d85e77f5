"""What the manifest keeps of a search."""

import json

import pytest

from dream.records import GoldenDataset, Manifest, Search, Trial


def test_a_search_survives_json():
    search = Search("optuna", 30, 2, 400, True, (10, 5), {"blocks": []}, True)
    assert Search.from_json(json.loads(json.dumps(search.to_json()))) == search
    assert Search.from_json({"by": "random", "trials": 3, "of_a_later_version": 1}) == Search("random", 3)
    assert Search.from_json({}) == Search()


@pytest.mark.parametrize(
    ("search", "begins"),
    [
        (Search(), ""),
        (Search("random", 60, 1, 1000), "60 of 1,000 combinations were drawn at random (seed 1); better ones"),
        (
            Search("optuna", 30, 0, 400),
            "at most 30 of 400 combinations are chosen one round after the other by Optuna's",
        ),
        (Search("optuna", 30, 0, 400, True, (10, 5)), "15 of at most 400 combinations were chosen one round after"),
        (Search("models_first", None, 0, 40), "some of 40 combinations are chosen models first"),
    ],
)
def test_it_says_how_trials_are_chosen_and_warns(search: Search, begins: str):
    assert search.summary.startswith(begins)
    assert bool(search.summary) == ("partly luck" in search.summary)


def test_the_trials_to_come_count():
    golden, trial = GoldenDataset(()), Trial("bm25", "llm", "")
    assert Manifest("x", golden, (), (trial,), search=Search("optuna", 30)).n_trials == 30
    assert Manifest("x", golden, (), (trial,), search=Search("optuna", 30, is_done=True)).n_trials == 1
    assert Manifest("x", golden, (), (trial,), search=Search("models_first")).n_trials == 1
