"""Reads a server's response to a chat request: as an answer in OpenAI's format, for many dialects, or as a failure.

`read_chat` is the only reader, for new and for cached answers. Clients only see its result:

- one text as content, with thinking separated from it into `reasoning_content`;
- `finish_reason` stop, length or tool_calls;
- the other fields that the OpenAI client needs.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dream.models.event_stream import is_stream, read_stream
from dream.models.no_answer import NoAnswer, of_error, of_model, of_page, of_stranger
from dream.models.thinking import separated
from dream.records import FailureKind

# Attempts if the next answer may differ: after an empty answer, and after lost content.
EMPTY_ATTEMPTS, BROKEN_ATTEMPTS = 2, 4
THINKING = "reasoning_content"
# The fields in which servers put thinking, besides the content.
_THINKING_FIELDS = (THINKING, "reasoning", "thinking", "thoughts", "reasoning_details")
_CALLS = ("tool_calls", "function_call")

STOP, LENGTH, TOOL_CALLS, FILTERED, BROKEN = "stop", "length", "tool_calls", "content_filter", "error"
# The reasons in the words of other providers, in lower case with underscores.
_FINISH = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "token_limit"), LENGTH),
    **dict.fromkeys(("model_context_window_exceeded", "max_length", "incomplete", "context_length"), LENGTH),
    **dict.fromkeys(("content_filter", "contentfilter", "safety", "recitation", "blocklist", "refusal"), FILTERED),
    **dict.fromkeys(("prohibited_content", "spii", "sensitive", "content_filtered", "guardrail_intervened"), FILTERED),
    **dict.fromkeys(("error", "abort", "aborted", "cancelled", "network_error", "engine_overloaded"), BROKEN),
    **dict.fromkeys(("insufficient_system_resource", "malformed_function_call", "other_error"), BROKEN),
}


def wants_json(request: Mapping[str, Any]) -> bool:
    """True if the body of a request asks for JSON, or for the arguments of a tool."""
    asked = request.get("response_format")
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    return kind in ("json_object", "json_schema") or bool(request.get("tools") or request.get("functions"))


def body_of(content: bytes, content_type: str = "application/json") -> dict[str, Any] | NoAnswer:
    """The JSON object in a response to a chat or embeddings request, or the reason why there is none."""
    if is_stream(content, content_type):
        joined = read_stream(content)
        return joined or NoAnswer("answered with an event stream that ended early", most_attempts=BROKEN_ATTEMPTS)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return of_page(content, content_type) or _unreadable(content)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else of_stranger(value, "JSON object")


def _unreadable(content: bytes) -> NoAnswer:
    if not content.strip():
        return NoAnswer("answered with HTTP 200 and an empty body", most_attempts=BROKEN_ATTEMPTS)
    words = " ".join(content[:200].decode(errors="replace").split())
    return NoAnswer(f"answered with invalid or truncated JSON: {words!r}", most_attempts=BROKEN_ATTEMPTS)


def read_chat(request: Mapping[str, Any], answer: dict[str, Any] | NoAnswer) -> dict[str, Any] | NoAnswer:
    """The answer to a chat request in OpenAI's format, or the reason why the response is none.

    Args:
        request: the body of the request.
        answer: the `body_of` a response with status 200.
    """
    if isinstance(answer, NoAnswer):
        return answer
    if (failure := of_error(answer)) is not None:
        return failure
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(map(_has_message, choices)):
        return of_stranger(answer, "chat completion")
    for choice in choices:
        if (failure := of_error(choice)) is not None:
            return failure
    read = [_choice(number, choice, request, answer) for number, choice in enumerate(choices)]
    if (failure := _failure(choices[0], read[0], answer)) is not None:
        return failure
    defaults = {"id": "", "object": "chat.completion", "created": 0, "model": str(request.get("model", ""))}
    given = {name: value for name, value in answer.items() if value is not None}
    return {**defaults, **given, "object": "chat.completion", "choices": read}


def is_cut(answer: Mapping[str, Any]) -> bool:
    """True if an answer of `read_chat` reached the token limit."""
    return answer["choices"][0]["finish_reason"] == LENGTH


def _has_message(choice: Any) -> bool:
    return isinstance(choice, Mapping) and _raw_message(choice) is not None


def _raw_message(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The message of a choice; some servers return it as a stream delta, or as a text."""
    for name in ("message", "delta"):
        if isinstance(message := choice.get(name), Mapping):
            return message
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else None


def _choice(
    number: int, choice: Mapping[str, Any], request: Mapping[str, Any], answer: Mapping[str, Any]
) -> dict[str, Any]:
    """A choice in OpenAI's format."""
    rest = {name: value for name, value in choice.items() if name not in ("message", "delta", "text")}
    message = _message(_raw_message(choice) or {}, wants_json(request))
    has_calls = any(message.get(name) for name in _CALLS)
    finish = _finish_reason(choice.get("finish_reason"), has_calls)
    if finish == STOP and _limit_reached(request, answer):
        finish = LENGTH
    return {**rest, "index": number, "message": message, "finish_reason": finish}


def _message(message: Mapping[str, Any], json_wanted: bool) -> dict[str, Any]:
    """A message in OpenAI's format, with its thinking in one field."""
    given, thinking = _texts(message.get("content"), json_wanted)
    parted = separated(given or "", only_around=json_wanted)
    thinking += [text for name in _THINKING_FIELDS[:1] for text in _strings(message.get(name))]
    if not thinking:  # routers return the same thinking in several fields
        thinking = next((list(_strings(message[name])) for name in _THINKING_FIELDS[1:] if message.get(name)), [])
    whole = "\n\n".join(dict.fromkeys(part for text in (*thinking, parted.thinking) if (part := text.strip())))
    rest = {name: value for name, value in message.items() if name not in _THINKING_FIELDS}
    rest = {name: value for name, value in rest.items() if value or name not in _CALLS}
    content = None if given is None else parted.answer
    return {**rest, "role": "assistant", "content": content, **({THINKING: whole} if whole else {})}


def _texts(content: Any, json_wanted: bool) -> tuple[str | None, list[str]]:
    """The text of a message's content (None if there is none), and the thinking among its parts."""
    if content is None or isinstance(content, str):
        return content, []
    if json_wanted and isinstance(content, Mapping) and not {"type", "text"} & set(content):
        return json.dumps(content, ensure_ascii=False), []  # JSON that the server has already parsed
    parts = content if isinstance(content, list) else [content]
    texts = [text for part in parts if not _is_thinking(part) for text in _strings(part)]
    thinking = [text for part in parts if _is_thinking(part) for text in _strings(part)]
    return "".join(texts) if texts else None, thinking


def _is_thinking(part: Any) -> bool:
    kind = str(part.get("type", "")) if isinstance(part, Mapping) else ""
    return any(word in kind for word in ("thinking", "reasoning", "thought")) or (
        isinstance(part, Mapping) and part.get("thought") is True
    )


def _strings(value: Any) -> Iterable[str]:
    """The texts in a part of a message: itself, or those in its fields for text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, Mapping):
        for name in ("text", "thinking", "content", "summary", "value", "reasoning"):
            if isinstance(value.get(name), str | list | Mapping):
                yield from _strings(value[name])
                return


def _finish_reason(given: Any, has_calls: bool) -> str:
    word = str(given or "").strip().lower().replace("-", "_").replace(" ", "_")
    return _FINISH.get(word, TOOL_CALLS if has_calls else STOP)


def _limit_reached(request: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    """True if the answer has as many tokens as allowed; some servers report "stop" even then."""
    usage = answer.get("usage")
    made = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    return isinstance(made, int) and isinstance(limit, int) and made >= limit > 1


def _failure(given: Mapping[str, Any], choice: Mapping[str, Any], answer: Mapping[str, Any]) -> NoAnswer | None:
    """The reason why a choice is not an answer; None if it is one.

    Args:
        given: the original choice; `choice`: the same in OpenAI's format.
    """
    message, finish = choice["message"], choice["finish_reason"]
    content, thinking = (message.get("content") or "").strip(), message.get(THINKING, "")
    refusal = message.get("refusal")
    if finish == FILTERED:
        return of_model(
            f"ended the answer with finish_reason {given.get('finish_reason')!r}: its content filter stopped it"
            + (f" after {content[:100]!r}" if content else ""),
            FailureKind.REFUSED,
        )
    if finish == BROKEN:
        return NoAnswer(f"broke off the answer with finish_reason {given.get('finish_reason')!r}")
    if content or any(message.get(name) for name in _CALLS):
        return None
    if refusal:
        return of_model(f"refused to answer: {str(refusal)[:300]!r}", FailureKind.REFUSED)
    if finish == LENGTH:
        return of_model(f"gave no answer within the token limit{_spent(answer, thinking)}", FailureKind.EMPTY_ANSWER)
    if thinking:
        reason = f"gave only thinking and no answer: {thinking[:100]!r}"
        return of_model(reason, FailureKind.EMPTY_ANSWER, EMPTY_ATTEMPTS)
    return of_model("gave an empty answer", FailureKind.EMPTY_ANSWER, EMPTY_ATTEMPTS)


def _spent(answer: Mapping[str, Any], thinking: str) -> str:
    usage = answer.get("usage")
    made = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    parts = [
        f"{made:,} were spent" if isinstance(made, int) else "",
        f"on thinking: {thinking[:100]!r}" if thinking else "",
    ]
    told = " ".join(part for part in parts if part)
    return f" ({told})" if told else ""
