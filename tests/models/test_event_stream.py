"""Event streams that nobody asked for: joined to an answer, or none."""

import json

import pytest

from dream.models.event_stream import is_stream, read_stream


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def piece(finish: str | None = None, **delta: object) -> bytes:
    return event(id="1", choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b"data: {}\n\n", "application/json", True),
        (b"\xef\xbb\xbf: hello\n\n", "text/plain", True),
        (b"event: message\n", "", True),
        (b"id: 7\ndata: {}", "text/event-stream; charset=utf-8", True),
        (b'{"choices": []}', "text/event-stream", False),
        (b'{"data": []}', "application/json", False),
        (b"", "application/json", False),
    ],
)
def test_a_stream_is_told_by_its_type_or_first_characters(content: bytes, content_type: str, expected: bool):
    assert is_stream(content, content_type) == expected


def test_pieces_are_joined_with_usage_and_reason_from_wherever_they_come():
    answer = read_stream(
        piece(role="assistant", content="4")
        + piece(content="2")
        + piece("length")
        + event(choices=[], usage={"prompt_tokens": 5})
        + b"data: [DONE]\n\n"
    )
    assert answer is not None
    assert answer["choices"][0]["message"]["content"] == "42"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 5}


def test_calls_of_tools_are_joined_by_their_number():
    def call(number: int, **function: str) -> dict:
        return {"index": number, "id": f"c{number}", "function": function}

    answer = read_stream(
        piece(tool_calls=[call(0, name="f", arguments='{"a"')])
        + piece(tool_calls=[call(0, arguments=": 1}"), call(1, name="g", arguments="{}")])
        + piece("tool_calls")
    )
    assert answer is not None
    functions = [each["function"] for each in answer["choices"][0]["message"]["tool_calls"]]
    assert functions == [{"name": "f", "arguments": '{"a": 1}'}, {"name": "g", "arguments": "{}"}]


@pytest.mark.parametrize(
    "content", [piece(content="42"), b"data: nonsense\n\n", b": only a comment\n\n", b"data: [DONE]"]
)
def test_a_stream_that_is_cut_or_empty_is_no_answer(content: bytes):
    assert read_stream(content) is None


def test_an_error_in_a_stream_is_given_as_it_is():
    assert read_stream(piece(content="4") + event(error={"message": "lost"})) == {"error": {"message": "lost"}}
