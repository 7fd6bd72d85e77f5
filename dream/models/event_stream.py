"""Event streams: joins the pieces of an answer that was streamed without a request for it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# The fields of a message that come in pieces of text.
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def is_stream(content: bytes, content_type: str) -> bool:
    """True for server-sent events, by their content type or by their first characters."""
    start = content[:100].lstrip(b"\xef\xbb\xbf \r\n\t")
    return start.startswith((b"data:", b"event:", b":")) or ("event-stream" in content_type and start[:1] != b"{")


def read_stream(content: bytes) -> dict[str, Any] | None:
    """The chat completion in an event stream, or the error in it; None if the stream ended early or is unreadable.

    Some servers send comments (lines that begin with a colon) to keep the connection, and then plain JSON.
    """
    lines = [line for line in content.decode("utf-8-sig", "replace").splitlines() if not line.startswith(":")]
    plain = _json("\n".join(lines))
    if isinstance(plain, dict):
        return plain
    answer: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": None}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": None}
    is_over = False
    for data in _events(lines):
        is_over = is_over or data == "[DONE]"
        chunk = _json(data)
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            return chunk
        answer.update({name: value for name, value in chunk.items() if name != "choices" and value is not None})
        for part in chunk.get("choices") or ():
            _add(message, part)
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
    if not answer or not (is_over or choice["finish_reason"]):
        return None
    return {**answer, "object": "chat.completion", "choices": [choice]}


def _events(lines: list[str]) -> Iterator[str]:
    """The data of each event."""
    data: list[str] = []
    for line in (*lines, ""):
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line.strip() and data:
            yield "\n".join(data)
            data = []


def _add(message: dict[str, Any], choice: Mapping[str, Any]) -> None:
    """Add a piece to a message."""
    piece = choice.get("delta") or choice.get("message") or {}
    for name in _TEXTS:
        if isinstance(piece.get(name), str):
            message[name] = (message.get(name) or "") + piece[name]
    for call in piece.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", []), call)


def _add_call(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    number = piece.get("index") if isinstance(piece.get("index"), int) else max(len(calls) - 1, 0)
    while len(calls) <= (number or 0):
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[number or 0], piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
