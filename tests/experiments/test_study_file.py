"""YAML with the line of every value."""

import pytest

from dream.errors import ConfigurationError
from dream.experiments.study_file import read_yaml


def test_every_value_has_its_line():
    document = read_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: [3, 4]}\n", "x.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": 2, "d": [3, 4]}]}
    assert document.lines["b", 1, "c"] == 4
    assert document.lines["b", 1, "d"] == document.lines["b", 1, "d", 1] == 5


def test_own_keys_replace_merged_ones_and_are_not_there_twice():
    document = read_yaml("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\n", "x.yaml")
    assert document.value["own"] == {"x": 1, "y": 3}
    document.raise_problems()


def test_problems_come_by_line_each_once_and_at_the_nearest_line():
    document = read_yaml("a: 1\nb: {c: 2, c: 3}\n", "x.yaml")
    document.problem(("b", "missing", 3), "no d")
    document.problem(("a",), "too small")
    document.problem(("a",), "too small")
    with pytest.raises(ConfigurationError) as caught:
        document.raise_problems()
    assert str(caught.value).splitlines() == [
        "3 mistake(s) in x.yaml:", "  - line 1: too small", "  - line 2: 'c' occurs twice: keep one",
        "  - line 2: no d",
    ]  # fmt: skip
