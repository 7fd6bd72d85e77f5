"""Rubrics and aspects that mappings describe."""

import pytest

from dream.errors import ConfigurationError
from dream.metrics import aspect_critic, described_metric, names_of, own_metrics, registry, rubric
from dream.metrics.described import description_problems

LEVELS = ["It is rude.", "It is neutral.", "It is friendly."]


@pytest.fixture(autouse=True)
def no_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_OWN", {})


def test_a_description_is_the_same_metric_as_its_function_makes():
    numbered = {"name": "tone", "levels": {2: LEVELS[1], 1: LEVELS[0], 3: LEVELS[2]}, "question": "How friendly?"}
    assert described_metric(numbered) == rubric("tone", LEVELS, question="How friendly?")
    aspect = {"name": "brief", "aspect": "Is it brief?", "low_value": "It rambles."}
    assert described_metric(aspect) == aspect_critic("brief", "Is it brief?", low_value="It rambles.")


def test_descriptions_stand_among_names():
    described = [{"name": "tone", "levels": LEVELS}, {"name": "brief", "aspect": "Is it brief?"}]
    assert names_of(["recall", *described]) == ("recall", "tone", "brief")
    (tone,) = own_metrics(["tone"])
    assert (tone.range, tone.bounds, tone.judge_calls) == ("0 to 1 (levels 1 to 3, scaled)", (1, 3), 1)


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        ({"name": "x", "levels": "It"}, "levels", "levels='It': write a list"),
        ({"name": "x", "levels": ["a"]}, "levels", "give two to five descriptions"),
        ({"name": "x", "levels": ["a", None]}, "levels", "give two to five descriptions"),
        ({"name": "x", "levels": {0: "a", 1: "b"}}, "levels", "number them 1 (the worst), 2"),
        ({"name": "x", "levels": dict.fromkeys(range(1, 11), "a")}, "levels", "give two to five descriptions"),
        ({"name": "x"}, "", "neither is given"),
        ({"name": "x", "levels": ["a", "b"], "aspect": "?"}, "", "both are given"),
        ({"name": "x", "aspect": 7}, "aspect", "aspect=7: give a text"),
        ({"name": "x", "aspect": "Is it?", "question": "Is it?"}, "question", "leave question out"),
        ({"name": "usd", "aspect": "Is it?"}, "name", "the name 'usd' is taken"),
        ({"aspect": "Is it?"}, "", "needs a name"),
        (
            {"name": "x", "aspect": "Is it?", "bounds": [1, 5]},
            "bounds",
            "there is no 'bounds' here; valid: name, levels",
        ),
    ],
)
def test_a_mistake_is_told_at_its_key(given: dict, key: str, message: str):
    (found,) = description_problems(given)
    assert found[0] == key and message in found[1]


def test_nothing_is_registered_with_a_mistake():
    with pytest.raises(ConfigurationError, match=r"the metric 'tone' cannot be used:\n  - levels='It': write a list"):
        names_of([{"name": "tone", "levels": "It"}])
    assert own_metrics(["tone"]) == ()
