"""Reads JSON answers on arrival, so that every client receives them in the requested form.

An unreadable answer is requested again once, with the reader's complaint. If most answers of a model are unreadable, no
further requests are sent to it (`Readability`), before an experiment has paid for all of them.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dream.models.json_forms import Form, asked_schema, read_form, text_of
from dream.models.openai_wire import ModelRequest, ModelResponse

# The number of first answers by which a model is judged; fewer would leave it to chance.
LEAST_ANSWERS = 10
MOST_UNREADABLE = 0.5
_SHOWN = 200
_QUOTED = 8_000

Answer = dict[str, Any]
Send = Callable[[ModelRequest, Answer], Awaitable[tuple[ModelResponse, Answer | None]]]


@dataclass(frozen=True)
class Reading:
    """A response and its answer, which is None if the endpoint gave none.

    `problem` is the reason why the requested JSON is missing; `is_read` is true if JSON was requested and found.
    """

    response: ModelResponse
    answer: Answer | None
    problem: str | None = None
    is_read: bool = False


async def read_or_ask_again(send: Send, request: ModelRequest, body: Mapping[str, Any]) -> Reading:
    """Send a chat request and read its answer, which then consists of the requested JSON only.

    The answer has the tokens and seconds of both attempts.
    """
    response, answer = await send(request, dict(body))
    first = read(request, body, response, answer)
    if first.problem is None or first.answer is None or _is_cut(first.answer):
        return first
    again = {**body, "messages": [*body["messages"], *_complaint(first.answer, first.problem)]}
    response, answer = await send(replace(request, body=json.dumps(again).encode()), again)
    second = read(request, body, response, _with_usage_of(first.answer, answer))
    if second.answer is None:
        return second
    seconds = first.response.seconds + response.seconds
    content = json.dumps(second.answer).encode()
    problem = second.problem and f"{second.problem} (after two requests)"
    return replace(second, response=replace(second.response, body=content, seconds=seconds), problem=problem)


def read(request: ModelRequest, body: Mapping[str, Any], response: ModelResponse, answer: Answer | None) -> Reading:
    """Read an answer from the endpoint or from the cache."""
    schema = request.schema or asked_schema(body)
    message = _message(answer)
    if schema is None or answer is None or message is None:
        return Reading(response, answer)
    form = read_form(message, schema)
    if form.problem is not None:
        is_cut = "it was cut off: it reached max_tokens; " if _is_cut(answer) else ""
        return Reading(response, answer, f"{is_cut}{form.problem}; it says: {_shown(text_of(message))}")
    rewritten = _rewritten(answer, message, form, "tools" in body)
    if rewritten is answer:
        return Reading(response, answer, is_read=True)
    answer = rewritten
    return Reading(replace(response, body=json.dumps(answer).encode()), answer, is_read=True)


@dataclass
class Readability:
    """Counts the readable answers of each model and stage, and those unreadable even after a second request."""

    _counts: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    _last_problem: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _refusals: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def count(self, endpoint: str, model: str, stage: str, problem: str | None) -> None:
        """Count an answer; `problem` is the reason why it is unreadable."""
        key = (endpoint, model, stage)
        counts = self._counts.setdefault(key, [0, 0])
        counts[problem is not None] += 1
        if problem is not None:
            self._last_problem[key] = problem
        good, bad = counts
        if good + bad >= LEAST_ANSWERS and bad > MOST_UNREADABLE * (good + bad):
            self._refusals.setdefault(key, self._why(key, good, bad))

    def _why(self, key: tuple[str, str, str], good: int, bad: int) -> str:
        endpoint, model, stage = key
        return (
            f"{bad} of the first {good + bad} answers of the model {model!r} of the endpoint {endpoint!r} (stage "
            f"{stage!r}) are not in the requested form: {self._last_problem[key]}. Nothing more is sent to it, and "
            f"paid answers are kept: correct its settings and resume, or choose a model that can answer in JSON"
        )

    def refusal(self, endpoint: str, model: str, stage: str) -> str | None:
        """The reason why no more requests are sent to a model, always with the same text; None if they are."""
        return self._refusals.get((endpoint, model, stage))


def _message(answer: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    try:
        message = (answer or {})["choices"][0]["message"]
    except (KeyError, IndexError, TypeError):
        return None
    return message if isinstance(message, Mapping) else None


def _is_cut(answer: Mapping[str, Any]) -> bool:
    return answer["choices"][0].get("finish_reason") == "length"


def _rewritten(answer: Answer, message: Mapping[str, Any], form: Form, wants_tool: bool) -> Answer:
    """The answer with the JSON where the client expects it; unchanged if it is already there."""
    has_tool = bool(message.get("tool_calls"))
    if form.exact and has_tool == wants_tool and (has_tool or isinstance(message.get("content"), str)):
        return answer
    text = json.dumps(form.value, ensure_ascii=False)
    rest = {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}
    if wants_tool and has_tool:
        call = message["tool_calls"][0]
        calls = [{**call, "function": {**call["function"], "arguments": text}}]
        message = {**rest, "tool_calls": calls}
    else:
        message = {**rest, "content": text}
    choice, *others = answer["choices"]
    finish = "stop" if choice.get("finish_reason") == "tool_calls" and not wants_tool else choice.get("finish_reason")
    return {**answer, "choices": [{**choice, "message": message, "finish_reason": finish}, *others]}


def _complaint(answer: Answer, problem: str) -> list[dict[str, str]]:
    """The two messages of the second request: the first answer, and the complaint."""
    text = text_of(answer["choices"][0]["message"])[:_QUOTED]
    wanted = (
        f"This answer cannot be used: {problem.partition('; it says: ')[0]}. Answer once more, with one JSON object "
        "alone that matches the schema: every field, no other text, no Markdown."
    )
    before = [{"role": "assistant", "content": text}] if text.strip() else []
    return [*before, {"role": "user", "content": wanted}]


def _with_usage_of(first: Answer, second: Answer | None) -> Answer | None:
    """The second answer with the tokens of both; unknown if one of them does not report tokens."""
    counted, more = first.get("usage"), (second or {}).get("usage")
    if second is None or not isinstance(counted, Mapping) or not isinstance(more, Mapping):
        return second
    both = {
        name: counted[name] + more[name]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        if isinstance(counted.get(name), int) and isinstance(more.get(name), int)
    }
    return {**second, "usage": {**more, **both}}


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
