"""What a model means by a value: mended where it has one meaning alone, refused with its place where it has not."""

import json

import pytest

from dream.models.schema_fit import Misfit, fitted

BINARY = {"type": "integer", "minimum": 0, "maximum": 1}
TEXT = {"type": "string"}
ITEM = {
    "type": "object",
    "title": "Item",
    "properties": {"statement": TEXT, "reason": TEXT, "verdict": BINARY},
    "required": ["statement", "reason", "verdict"],
}
ITEMS = {
    "type": "object",
    "title": "Judged",
    "$defs": {"Item": ITEM},
    "properties": {"statements": {"type": "array", "items": {"$ref": "#/$defs/Item"}}},
    "required": ["statements"],
}
TEXTS = {"type": "object", "properties": {"statements": {"type": "array", "items": TEXT}}, "required": ["statements"]}
CLASSES = {
    "type": "object",
    "properties": {
        "TP": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"statement": TEXT, "reason": TEXT},
                "required": ["statement", "reason"],
            },
        }
    },
    "required": ["TP"],
}
A, B = {"statement": "a", "reason": "r", "verdict": 1}, {"statement": "b", "reason": "", "verdict": 0}
WANTED = {"statements": [A, B]}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        *[(1, 1), (0, 0), ("1", 1), (" 0 ", 0), ("1.0", 1), (1.0, 1), (True, 1), (False, 0), ("yes", 1), ("False", 0)],
        *[([1], 1), ({"type": "integer", "value": 1}, 1)],
    ],
)
def test_a_verdict_may_be_written_in_many_ways(given, wanted):
    value = fitted(given, BINARY)
    assert (value, type(value)) == (wanted, int)


@pytest.mark.parametrize("given", [5, -1, 0.5, "2", "perhaps", "", None, "1 or 0", [0, 1], {}, float("nan"), 10**400])
def test_what_is_no_verdict_is_refused(given):
    with pytest.raises(Misfit, match="but must be a whole number from 0 to 1"):
        fitted(given, BINARY)


def test_words_are_numbers_only_where_the_range_is_0_to_1():
    for given in (True, "yes"):
        with pytest.raises(Misfit):
            fitted(given, {"type": "integer", "minimum": 1, "maximum": 5})


@pytest.mark.parametrize(
    "given",
    [
        WANTED,
        {"statements": [A, {"statement": "b", "verdict": "0"}]},
        {"statements": [A, {"statement": "b", "reason": None, "verdict": False}], "confidence": 0.9},
        {"Statements": [{"Statement": "a", "REASON": "r", "Verdict": 1}, B]},
        [WANTED],
        [A, B],
        {"result": WANTED},
        {"result": [A, B]},
        {"Judged": WANTED, "$defs": {}},
        {"title": "Judged", "type": "object", "properties": WANTED},
        {"name": "Judged", "arguments": WANTED},
        {"statements": {"1": A, "2": B}},
        {"output": json.dumps(WANTED)},
    ],
)
def test_an_object_is_found_in_what_is_around_it(given):
    assert fitted(given, ITEMS) == WANTED


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"statements": [A, {"statement": "b", "reason": ""}]}, "`statements[1]` lacks `verdict`"),
        ({"statements": [A, {**B, "verdict": 5}]}, "`statements[1].verdict` is 5"),
        ({"statements": "none"}, '`statements` is "none", but must be a list'),
        ({"verdicts": [1, 0], "reasons": ["", ""]}, "lacks `statements`: it has `verdicts`, `reasons`"),
        ("a text", "must be an object with `statements`"),
        (ITEMS, "statements"),  # the schema, echoed
    ],
)
def test_what_could_mean_something_else_is_refused_with_its_place(given, place):
    with pytest.raises(Misfit) as caught:
        fitted(given, ITEMS)
    assert place in str(caught.value)


def test_texts_may_be_objects_with_one_text_and_objects_with_one_text_may_be_texts():
    assert fitted({"statements": [{"id": 1, "statement": "a"}, "b"]}, TEXTS) == {"statements": ["a", "b"]}
    assert fitted(["a", 7], TEXTS) == {"statements": ["a", "7"]}
    with pytest.raises(Misfit):
        fitted({"statements": [{"statement": "a", "source": "b"}]}, TEXTS)
    assert fitted({"TP": ["a", {"statement": "b"}]}, CLASSES) == {
        "TP": [{"statement": "a", "reason": ""}, {"statement": "b", "reason": ""}]
    }
    assert fitted({"TP": None}, CLASSES) == {"TP": []}
    with pytest.raises(Misfit, match="lacks `TP`"):
        fitted({}, CLASSES)


@pytest.mark.parametrize(
    ("given", "schema", "wanted"),
    [
        (0, {"enum": ["0", "1"]}, "0"),
        ("Yes", {"enum": ["yes", "no"]}, "yes"),
        ("true", {"type": "boolean"}, True),
        (0, {"type": "boolean"}, False),
        ("0.5", {"type": "number"}, 0.5),
        (None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("3", {"type": ["integer", "null"]}, 3),
        ({"Ann": ["x"]}, {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}, {"Ann": ["x"]}),
        ({"any": 1}, {}, {"any": 1}),
    ],
)
def test_other_schemas(given, schema, wanted):
    assert fitted(given, schema) == wanted


def test_a_schema_that_points_at_itself_ends():
    schema = {"$defs": {"Loop": {"$ref": "#/$defs/Loop"}}, "$ref": "#/$defs/Loop"}
    assert fitted({"a": 1}, schema) == {"a": 1}
