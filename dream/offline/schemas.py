"""The JSON schema that a chat request asks for, and its input, in the prompt formats of ragas and instructor."""

import json
import re
from dataclasses import dataclass
from typing import Any

from dream.offline.prompts import message_text

_INPUT_MARK = "Now perform the same with the following input\ninput: "
_SCHEMA_MARKS = ("json_schema:", "as specified in JSON Schema:")
_DECODER = json.JSONDecoder()
_LEVEL = re.compile(r"^score(\d)_description:", re.MULTILINE)


@dataclass(frozen=True)
class Task:
    """One structured request: the answer's schema by name, ragas' input, its instruction, and the tool to call."""

    schema: str | None
    data: Any
    instruction: str
    tool: str | None = None


def read_task(body: dict) -> Task | None:
    """The structured task of a chat request; None if it asks for plain text."""
    messages = body["messages"]
    name, tool = _declared(body)
    if name is None:
        name = _schema_in_text(messages)
    wants_json = (body.get("response_format") or {}).get("type") in ("json_object", "json_schema")
    if name is None and not wants_json:
        return None
    data, instruction = _input(messages)
    if name == "RubricScoreOutput" and isinstance(data, dict):
        data = {**data, "levels": _levels(messages)}
    return Task(name, data, instruction, tool)


def _declared(body: dict) -> tuple[str | None, str | None]:
    """The schema named by `response_format` or by a tool that must be called."""
    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        declared = response_format.get("json_schema") or {}
        return (declared.get("schema") or {}).get("title") or declared.get("name"), None
    functions = [tool.get("function") or {} for tool in body.get("tools") or []]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function.get("name") == wanted]
    elif choice != "required":
        return None, None
    if not functions:
        return None, None
    function = functions[0]
    return (function.get("parameters") or {}).get("title") or function.get("name"), function.get("name")


def _schema_in_text(messages: list[dict]) -> str | None:
    for message in messages:
        text = message_text(message)
        for mark in _SCHEMA_MARKS:
            _, mark_seen, after = text.partition(mark)
            schema = _json_at(after) if mark_seen else None
            if isinstance(schema, dict) and schema.get("title"):
                return schema["title"]
    return None


def _input(messages: list[dict]) -> tuple[Any, str]:
    """ragas' real input: the JSON after the last marker, in the newest message with one; never an example."""
    for message in reversed(messages):
        before, mark_seen, after = message_text(message).rpartition(_INPUT_MARK)
        if mark_seen:
            return _json_at(after), before.partition("\n")[0]
    return None, ""


def _levels(messages: list[dict]) -> int:
    """The levels of a rubric, which ragas lists after its instruction."""
    return len(set(_LEVEL.findall("\n".join(map(message_text, messages))))) or 5


def _json_at(text: str) -> Any:
    start = min((position for position in (text.find("{"), text.find("[")) if position >= 0), default=-1)
    if start < 0:
        return None
    try:
        return _DECODER.raw_decode(text, start)[0]
    except ValueError:
        return None
