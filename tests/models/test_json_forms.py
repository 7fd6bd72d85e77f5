"""The reader of answers in JSON: habits of models are read as what they mean, and nothing is completed or chosen."""

import json

import pytest

from dream.models.json_forms import ANY_JSON, asked_schema, read_form, text_of

BINARY = {"type": "integer", "minimum": 0, "maximum": 1}
ITEM = {
    "type": "object",
    "properties": {"statement": {"type": "string"}, "reason": {"type": "string"}, "verdict": BINARY},
    "required": ["statement", "reason", "verdict"],
}
SCHEMA = json.dumps(
    {"type": "object", "properties": {"statements": {"type": "array", "items": ITEM}}, "required": ["statements"]}
)
VERDICT = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "verdict": BINARY},
        "required": ["reason", "verdict"],
    }
)
VALUE = {
    "statements": [{"statement": "a. b", "reason": "r", "verdict": 1}, {"statement": "c", "reason": "", "verdict": 0}]
}
TEXT = json.dumps(VALUE)
FIRST, SECOND = (json.dumps(item) for item in VALUE["statements"])
THINKING = '<think>\nThe user wants JSON like {"statements": [...]}. Let me think {step 1}.\n</think>\n\n'


def content(text: object) -> dict:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}",
        f"Sure! Here is the JSON [as asked]:\n\n{TEXT}\n\nLet me know if you need {{anything}} else.",
        THINKING + TEXT,
        f"The user wants {{x}}.</think>{TEXT}",
        f"<|channel|>analysis<|message|>a {{draft}}<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}",
        f"<tool_call>\n{json.dumps({'name': 'Judged', 'arguments': VALUE})}\n</tool_call>",
        str(VALUE),
        TEXT.replace("}", ",}").replace("]", ",]"),
        TEXT.replace("]}", "], // done\n}"),
        TEXT.replace('"statements"', "statements"),
        TEXT.replace('"', "“", 1).replace('"', "”", 1),
        TEXT.replace('"verdict": 1', '"verdict": True').replace('"verdict": 0', '"verdict": False'),
        TEXT.replace('"reason": "", ', ""),
        TEXT.replace(", {", " {"),
        json.dumps(TEXT),
        f"```json\n{json.dumps(TEXT)}\n```",
        f"[{TEXT}]",
        f"{FIRST}\n{SECOND}",
        f"[{FIRST}, {SECOND}]",
        f"{TEXT}\n{TEXT}",
        f'{{"note": "first a plan"}}\n{TEXT}',
    ],
)
def test_what_a_model_means_is_read(text):
    form = read_form(content(text), SCHEMA)
    assert (form.value, form.problem, form.exact) == (VALUE, None, False)


def test_json_alone_is_exact():
    assert read_form(content(TEXT), SCHEMA).exact
    assert read_form(content([{"type": "text", "text": TEXT}]), SCHEMA).value == VALUE
    assert read_form(content(TEXT.replace("a. b", "</think>")), SCHEMA).exact


@pytest.mark.parametrize(
    ("old", "new"),
    [("a. b", "a.\nb"), ("a. b", 'he said "no" to it'), ("a. b", "brackets ]} and {["), ("a. b", "<think>x</think>")],
)
def test_strings_may_hold_anything(old, new):
    text = TEXT.replace("]}", "],}").replace(old, new)
    assert read_form(content(text), SCHEMA).value["statements"][0]["statement"] == new


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"type": "function", "function": {"name": "n", "arguments": TEXT}}]},
        {"content": "I call it.", "tool_calls": [{"function": {"name": "n", "arguments": VALUE}}]},
        {"content": None, "function_call": {"name": "n", "arguments": TEXT}},
        {"content": TEXT, "tool_calls": [], "function_call": None},
        {"content": TEXT, "tool_calls": [{"function": {"name": "n", "arguments": "{}"}}]},
    ],
)
def test_the_arguments_of_a_tool_are_an_answer_too(message):
    assert read_form(message, SCHEMA).value == VALUE


@pytest.mark.parametrize("left_out", range(1, len(SECOND) + 3))
@pytest.mark.parametrize("around", ["{}", "Here: ```json\n{}", THINKING + "{}"])
def test_a_text_that_is_cut_off_is_never_completed(left_out, around):
    text = around.replace("{}", TEXT[:-left_out]) if around != "{}" else TEXT[:-left_out]
    assert read_form(content(text), SCHEMA).problem is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        (None, "it is empty"),
        ("I would rather not say.", "it contains no JSON"),
        ("verdict: 1", "it contains no JSON"),
        ('{"verdict": 5, "reason": "x"}', "`verdict` is 5, but must be a whole number from 0 to 1"),
        ('```{"verdict": -1}```', "`verdict` is -1"),
        ('{"reason": "x"}', "lacks `verdict`"),
        ('{"verdict": 0, "reason": "a"} or {"verdict": 1, "reason": "b"}', "2 different objects"),
        ('{"verdict": "0"} or {"verdict": "1"}', "2 different objects"),
        ('<think>{"verdict": 1}', "it contains no JSON"),
        (VERDICT, "`verdict` is "),
    ],
)
def test_what_cannot_be_read_is_told(text, problem):
    form = read_form(content(text), VERDICT)
    assert form.value is None
    assert problem in str(form.problem)


@pytest.mark.parametrize(
    "text",
    [
        '{"statements": ["a", ...]}',
        '{"statements": ["a", "b"',
        '{"statements": ["a 5" pipe", "b"]}',
        "{'statements': ['it's fine', 'b']}",
    ],
)
def test_a_list_whose_items_would_be_guessed_is_not_read(text):
    texts = {"type": "array", "items": {"type": "string"}}
    schema = {"type": "object", "properties": {"statements": texts}, "required": ["statements"]}
    assert read_form(content(text), json.dumps(schema)).problem is not None


def test_the_schema_is_read_off_the_request():
    prompt = f"match the following json_schema:\n\n\n{SCHEMA}\n\nMake sure to return"
    asked = {"response_format": {"type": "json_object"}, "messages": [{"role": "system", "content": prompt}]}
    assert json.loads(asked_schema(asked) or "") == json.loads(SCHEMA)
    assert asked_schema({**asked, "messages": []}) == ANY_JSON
    native = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": json.loads(SCHEMA)}}}
    assert json.loads(asked_schema(native) or "") == json.loads(SCHEMA)
    tool = {"type": "function", "function": {"name": "n", "parameters": json.loads(SCHEMA)}}
    assert json.loads(asked_schema({"tools": [tool], "tool_choice": "required"}) or "") == json.loads(SCHEMA)
    assert asked_schema({"tools": [tool, tool], "tool_choice": "required"}) == ANY_JSON
    assert asked_schema({"tools": [tool], "tool_choice": "auto"}) is None
    assert asked_schema({"messages": [{"role": "user", "content": prompt}]}) is None


def test_what_an_answer_says_is_its_content_and_the_arguments_of_its_tools():
    assert text_of({"content": "x", "tool_calls": [{"function": {"arguments": "y"}}]}) == "y\nx"
    assert text_of({"content": None}) == ""
