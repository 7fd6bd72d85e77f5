"""The reader of JSON answers: the schema that a request demands, and the matching JSON in an answer.

Models write JSON in many ways: in a Markdown block, surrounded by text or thinking, with single quotes, as the
arguments of a tool. `read_form` finds the JSON in the form of the schema, or states the problem. Truncated texts are
never completed, because an incomplete list would give another score.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dream.models.schema_fit import Misfit, fitted

ANY_JSON = "{}"

_DECODER = json.JSONDecoder(strict=False)  # strings may contain line breaks
_THINKING = re.compile(r"\s*<(think|thinking|thought|reasoning|analysis|reflection)\b[^>]*>.*?</\1\s*>", re.S | re.I)
_BEGIN_OF_THINKING = re.compile(r"\s*<(think|thinking|thought|reasoning)\b[^>]*>", re.I)
_END_OF_THINKING = re.compile(r"</(think|thinking|thought|reasoning)\s*>|◁/think▷|\bfinal<\|message\|>", re.I)
_CLOSING = {"{": "}", "[": "]"}
# json-repair's log messages for repairs that complete a possibly truncated list, or guess where its items end
_GUESSED = ("missed the closing ]", "stray '...'", "missing the left delimiter in array context")
_ELISION = re.compile(r",\s*(\.\.\.|…)\s*[}\]]")
_MAX_CHARACTERS = 400_000


@dataclass(frozen=True)
class Form:
    """The JSON that was read from an answer: `value` fits the schema, unless there is a `problem`.

    `exact` is true if the answer consisted of this JSON only.
    """

    value: Any = None
    problem: str | None = None
    exact: bool = False


def asked_schema(body: Mapping[str, Any]) -> str | None:
    """The JSON schema that the answer must match, as text; "{}" for any JSON, None if no JSON is requested."""
    if body.get("tools") and body.get("tool_choice") not in (None, "none", "auto"):
        return json.dumps(body["tools"][0]["function"].get("parameters") or {}) if len(body["tools"]) == 1 else ANY_JSON
    asked = body.get("response_format") or {}
    if asked.get("type") == "json_schema":
        return json.dumps((asked.get("json_schema") or {}).get("schema") or {})
    if asked.get("type") != "json_object":
        return None
    text = next((m["content"] for m in body.get("messages", ()) if "json_schema:" in str(m.get("content"))), "")
    return _schema_in(text) if isinstance(text, str) else ANY_JSON


def read_form(message: Mapping[str, Any], schema: str) -> Form:
    """The JSON for a schema in a chat answer's message.

    Example:
        >>> read_form({"content": 'Here it is: ```json {"a": 1,} ```'}, ANY_JSON).value
        {'a': 1}
        >>> read_form({"content": "I cannot."}, ANY_JSON).problem
        'it contains no JSON'
    """
    problem = "it is empty"
    for text in _texts(message):
        form = _read_text(text[:_MAX_CHARACTERS], schema)
        if form.problem is None:
            return form
        problem = form.problem
    return Form(problem=problem)


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a chat answer: the content, or the arguments of a tool."""
    return "\n".join(_texts(message))


def _texts(message: Mapping[str, Any]) -> list[str]:
    """Arguments of tools, of the older function, and the content, as far as the message has them."""
    calls = [call.get("function") for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    functions = [call for call in (*calls, message.get("function_call")) if isinstance(call, Mapping)]
    arguments = [call.get("arguments") for call in functions]
    texts = [given if isinstance(given, str) else json.dumps(given) for given in arguments if given]
    candidates = ["\n".join(texts), _content(message)]
    return [text for text in candidates if text.strip()]


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):  # parts
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else json.dumps(content) if content else ""


def _read_text(text: str, schema: str) -> Form:
    validator = _validator(schema)
    try:
        value = json.loads(text)
        if isinstance(value, dict | list) and validator.is_valid(value):
            return Form(value, exact=True)
    except (ValueError, RecursionError):
        pass
    candidates, is_cut = _candidates(_without_thinking(text))
    if not candidates:
        return Form(problem="its JSON is truncated or broken" if is_cut else "it contains no JSON")
    valid = [value for value in candidates if validator.is_valid(value)]
    if valid:
        return _the_only(valid, is_cut)
    return _fitting(candidates, schema, is_cut)


def _fitting(candidates: list[Any], schema: str, is_cut: bool) -> Form:
    """The only candidate that fits the schema; several consecutive ones may be the items of its list."""
    wanted, problems = json.loads(schema), []
    fits = [value for candidate in candidates for value in _fit(candidate, wanted, problems)]
    if not fits and len(candidates) > 1 and not is_cut:
        fits = _fit(candidates, wanted, [])
    good = [value for value in fits if _validator(schema).is_valid(value)]
    if good and not (is_cut and problems):
        return _the_only(good, is_cut)
    if fits and not good:
        problems.append(next(iter(_validator(schema).iter_errors(fits[-1]))).message)
    return Form(problem=problems[-1] if problems else "its JSON is truncated or broken")


def _fit(value: Any, schema: Mapping[str, Any], problems: list[str]) -> list[Any]:
    """The value in the form of the schema, in a list; none, and a problem more, where it does not fit."""
    try:
        return [fitted(value, schema)]
    except Misfit as misfit:
        problems.append(str(misfit))
        return []


def _the_only(values: list[Any], is_cut: bool) -> Form:
    if any(value != values[0] for value in values):
        return Form(problem=f"it holds {len(values)} different objects that fit, but only one is expected")
    return Form(problem="its JSON is followed by truncated JSON") if is_cut else Form(values[0])


def _without_thinking(text: str) -> str:
    """A text without the thinking before its answer. (Strings of the answer may hold such marks too.)"""
    shorter = _THINKING.sub("", text, count=1) if _THINKING.match(text) else text
    if shorter is text and (ends := list(_END_OF_THINKING.finditer(text))) and not _is_json_before(text, ends[0]):
        shorter = text[ends[-1].end() :]
    return "" if _BEGIN_OF_THINKING.match(shorter) else shorter  # thinking that does not end has no answer after it


def _is_json_before(text: str, mark: "re.Match[str]") -> bool:
    """True if the text begins with JSON that the mark is a part of."""
    start = text.lstrip().removeprefix("```json").lstrip()
    return start[:1] in ("{", "[") and not _is_closed_before(start, mark.start() - (len(text) - len(start)))


def _is_closed_before(text: str, position: int) -> bool:
    end = _end_of(text, 0)
    return end is not None and end <= position


def _candidates(text: str) -> tuple[list[Any], bool]:
    """Every outermost JSON value in a text, and whether one was left out that is cut off or broken."""
    values: list[Any] = []
    position, is_cut = 0, False
    while (start := _next_bracket(text, position)) >= 0:
        try:
            value, position = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = _end_of(text, start)
            # without an end, quotes inside of strings may hide it: the last bracket of its kind is tried
            position = end or text.rfind(_CLOSING[text[start]]) + 1
            value = _repaired(text[start:position]) if position > start else None
            is_cut |= value is None and end is None
            position = position if end else len(text)
        if isinstance(value, dict | list) and value:
            values.append(value)
    return (values or list(_in_a_string(text))), is_cut


def _in_a_string(text: str) -> Iterator[Any]:
    """A JSON text inside a JSON string, which may stand in a Markdown block."""
    start, end = text.find('"'), text.rfind('"')
    try:
        inner = json.loads(text[start : end + 1], strict=False) if 0 <= start < end else None
        value = json.loads(inner, strict=False) if isinstance(inner, str) else None
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict | list):
        yield value


def _next_bracket(text: str, position: int) -> int:
    return min((at for at in (text.find("{", position), text.find("[", position)) if at >= 0), default=-1)


def _end_of(text: str, start: int) -> int | None:
    """The position after the bracket that closes the one at `start`; brackets in strings do not count."""
    depth, quote, i = 0, "", start
    while i < len(text):
        mark = text[i]
        if quote:
            if mark == "\\":
                i += 1
            elif mark == quote and (quote == '"' or re.match(r"\s*[,:}\]]", text[i + 1 :])):
                quote = ""
        elif mark == '"' or (mark == "'" and re.search(r"[{\[,:]\s*$", text[max(start, i - 8) : i])):
            quote = mark
        elif mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if depth == 0:
                return i + 1
        i += 1
    return None


def _repaired(text: str) -> Any:
    """Repaired JSON; None if the repair would have to guess the items of a list."""
    from json_repair import repair_json

    if _ELISION.search(text):
        return None
    try:
        return _json_value(ast.literal_eval(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pass
    try:
        value, log = repair_json(text, return_objects=True, logging=True, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    if any(words in str(entry.get("text")) for entry in log for words in _GUESSED):
        return None
    has_odd_quotes = len(re.findall(r'(?<!\\)"', text)) % 2 and _holds_texts(value)
    return None if has_odd_quotes else _json_value(value)


def _json_value(value: Any) -> Any:
    """An object or a list that JSON can represent; None for anything else, such as a set."""
    try:
        return json.loads(json.dumps(value)) if isinstance(value, dict | list) else None
    except (TypeError, ValueError, RecursionError):
        return None


def _holds_texts(value: Any) -> bool:
    """True for a value with a list of texts in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, list) and any(isinstance(item, str) for item in value)) or any(map(_holds_texts, inner))


@lru_cache(maxsize=256)
def _schema_in(prompt: str) -> str:
    """The schema that the library instructor writes into a prompt after "json_schema:"."""
    start = prompt.find("{", prompt.find("json_schema:"))
    try:
        return json.dumps(json.JSONDecoder().raw_decode(prompt, start)[0]) if start >= 0 else ANY_JSON
    except ValueError:
        return ANY_JSON


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    from jsonschema_rs import Draft202012Validator

    try:
        return Draft202012Validator(json.loads(schema))
    except ValueError:
        return Draft202012Validator({})  # an invalid schema: accept any JSON
