"""Whatever the habits of a server: an answer is read as it is meant, and what is none is named and told."""

import json
from typing import Any

import openai
import pytest
from model_servers import Reply, chat_reply

from dream.errors import explain
from dream.models.answer_reading import LENGTH, THINKING, TOOL_CALLS, body_of, is_cut, read_chat, wants_json
from dream.models.no_answer import NoAnswer
from dream.models.pickers import llm_picker
from dream.records import FailureKind

ASKED = {"model": "m", "messages": [{"role": "user", "content": "How high?"}], "max_tokens": 100}
JSON_ASKED = {**ASKED, "response_format": {"type": "json_object"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def completion(content: Any = "42 m", finish: Any = "stop", usage: Any = USAGE, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in completion().items() if name not in names}


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def part(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, kind: text}


# --- read as they are meant: the response, its text and its thinking

READ = {
    "as it should be": (completion(), "42 m", ""),
    "no id, created and object": (without("id", "created", "object", "model"), "42 m", ""),
    "no finish_reason": (completion(finish=None), "42 m", ""),
    "another finish_reason": (completion(finish="end_turn"), "42 m", ""),
    "usage null": (completion(usage=None), "42 m", ""),
    "error null": ({**completion(), "error": None}, "42 m", ""),
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps(completion()).encode(), "42 m", ""),
    "keep-alive lines before": (b"\n\n\n" + json.dumps(completion()).encode(), "42 m", ""),
    "keep-alive comments before": (b": PROCESSING\n\n" + json.dumps(completion()).encode(), "42 m", ""),
    "in a list of one": ([completion()], "42 m", ""),
    "in a piece of a stream": ({**completion(), "choices": [{"delta": {"content": "42 m"}}]}, "42 m", ""),
    "a text in place of a message": ({**completion(), "choices": [{"text": "42 m"}]}, "42 m", ""),
    "one part": (completion([part("text", "42 m")]), "42 m", ""),
    "several parts": (completion([part("text", "42"), part("output_text", " "), " m"]), "42 m", ""),
    "a part with its kind of text": (completion([{"type": "output_text", "text": "42 m"}]), "42 m", ""),
    "one part without a list": (completion({"type": "text", "text": "42 m"}), "42 m", ""),
    "thinking in tags": (completion("<think>\n{so}\n</think>\n\n42 m"), "42 m", "{so}"),
    "thinking without its first tag": (completion("so</think>42 m"), "42 m", "so"),
    "thinking beside": (completion(reasoning_content="so"), "42 m", "so"),
    "thinking beside, by another name": (completion(reasoning="so"), "42 m", "so"),
    "thinking twice": (completion(reasoning="so", reasoning_details=[part("reasoning.text", "so")]), "42 m", "so"),
    "thinking in a part": (completion([part("thinking", "so"), part("text", "42 m")]), "42 m", "so"),
    "thinking in parts of a part": (
        completion([{"type": "thinking", "thinking": [part("text", "so")]}, part("text", "42 m")]),
        "42 m",
        "so",
    ),
    "hidden thinking": (completion([{"type": "redacted_thinking", "data": "x"}, part("text", "42 m")]), "42 m", ""),
    "a stream": (chunk(role="assistant", content="42") + chunk("stop", content=" m") + b"data: [DONE]\n\n", "42 m", ""),
    "a stream without an end mark": (chunk(content="42") + chunk("stop", content=" m"), "42 m", ""),
    "a stream with thinking": (chunk(reasoning_content="so") + chunk("stop", content="42 m"), "42 m", "so"),
    "a stream with lines of its own": (b"event: message\r\n" + chunk("stop", content="42 m"), "42 m", ""),
}


def content_of(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize("habit", READ)
def test_an_answer_is_read_whatever_the_servers_habits(habit: str):
    body, text, thinking = READ[habit]
    read = read_chat(ASKED, body_of(content_of(body)))
    assert not isinstance(read, NoAnswer)
    message = read["choices"][0]["message"]
    assert (message["content"], message.get(THINKING, ""), message["role"]) == (text, thinking, "assistant")
    assert read["choices"][0]["finish_reason"] == "stop"
    assert read["object"] == "chat.completion"
    assert read_chat(ASKED, read) == read, "what was read is in the format already"


@pytest.mark.parametrize("habit", READ)
def test_clients_see_the_format_of_openai_only(habit: str, gateway, relay):
    body, text, _ = READ[habit]
    relay.script = lambda seen: Reply(200, raw=content_of(body), headers={"content-type": "text/plain"})
    assert llm_picker("m@relay").complete("How high?").text == text
    assert len(relay.requests) == 1


def test_an_answer_in_the_format_is_left_as_it_is():
    assert read_chat(ASKED, completion()) == completion()


# --- no answers: the response, the kind of failure, words that are told, and how often it is asked for

REFUSED, EMPTY, SERVICE = FailureKind.REFUSED, FailureKind.EMPTY_ANSWER, FailureKind.SERVICE
ROUTED = {"message": "Provider returned error", "code": 502, "metadata": {"raw": "upstream overloaded"}}
NO_ANSWERS = {
    "an error": ({"error": ROUTED}, SERVICE, "Provider returned error (code: 502, metadata: ", 6),
    "an error as a text": ({"error": "model not loaded"}, SERVICE, "model not loaded", 6),
    "an error with choices null": (
        {"choices": None, "error": {"message": "too long", "code": 422}},
        REFUSED,
        "long",
        1,
    ),
    "an error of content": ({"error": {"message": "flagged", "code": "content_filter"}}, REFUSED, "flagged", 1),
    "an error in a choice": (
        {**completion(""), "choices": [{"message": {"content": ""}, "error": {"message": "lost", "code": 500}}]},
        SERVICE,
        "lost",
        6,
    ),
    "an error of another form": ({"object": "error", "message": "no such adapter"}, SERVICE, "no such adapter", 6),
    "an error in a stream": (b'data: {"error": {"message": "overloaded"}}\n\n', SERVICE, "overloaded", 6),
    "another thing": ({"status": "ok"}, SERVICE, 'is no chat completion: {"status": "ok"}', 1),
    "no choices": ({**completion(), "choices": []}, SERVICE, "no chat completion", 1),
    "a choice without a message": ({**completion(), "choices": [{}]}, SERVICE, "no chat completion", 1),
    "a page": (b"<!doctype html><title>Sign in</title><p>Please log in", SERVICE, "'Sign in: Please log in'", 1),
    "cut JSON": (b'{"choices": [{"message"', SERVICE, "invalid or truncated JSON", 4),
    "nothing": (b"", SERVICE, "an empty body", 4),
    "a stream that ends early": (chunk(content="42"), SERVICE, "event stream that ended early", 4),
    "content null": (completion(None), EMPTY, "gave an empty answer", 2),
    "content empty": (completion(" \n"), EMPTY, "gave an empty answer", 2),
    "no parts": (completion([]), EMPTY, "gave an empty answer", 2),
    "thinking alone, beside": (completion(None, reasoning_content="so it is"), EMPTY, "only thinking", 2),
    "thinking alone, in tags": (completion("<think>so it is"), EMPTY, "so it is", 2),
    "thinking alone, in parts": (completion([part("thinking", "so it is")]), EMPTY, "only thinking", 2),
    "cut before any text": (
        completion(None, "length"),
        EMPTY,
        "no answer within the token limit (3 were spent)",
        1,
    ),
    "cut while thinking": (completion("<think>so", "max_tokens"), EMPTY, "within the token limit", 1),
    "a refusal": (completion(None, refusal="I cannot help"), REFUSED, "refused to answer: 'I cannot help'", 1),
    "filtered": (completion(None, "content_filter"), REFUSED, "content filter", 1),
    "filtered in the middle": (completion("42", "SAFETY"), REFUSED, "'SAFETY'", 1),
    "broken off": (completion("42", "error"), SERVICE, "broke off", 6),
}


@pytest.mark.parametrize("habit", NO_ANSWERS)
def test_what_is_no_answer_is_named(habit: str):
    body, kind, words, _ = NO_ANSWERS[habit]
    read = read_chat(ASKED, body_of(content_of(body), "text/html" if habit == "a page" else "application/json"))
    assert isinstance(read, NoAnswer)
    assert words in read.reason
    assert read.kind == kind


@pytest.mark.parametrize("habit", NO_ANSWERS)
def test_a_client_is_told_the_providers_words_and_a_retry_is_sent_only_where_it_can_help(habit: str, gateway, relay):
    body, kind, words, attempts = NO_ANSWERS[habit]
    relay.script = lambda seen: Reply(200, raw=content_of(body))
    with pytest.raises(openai.APIStatusError) as caught:
        llm_picker("m@relay").complete("How high?")
    assert words in explain(caught.value)
    assert explain(caught.value).startswith("the endpoint 'relay' at http://127.0.0.1:")
    assert (caught.value.code, caught.value.status_code < 500) == (kind, kind != SERVICE)
    assert len(relay.requests) == attempts
    relay.script = lambda seen: chat_reply("42 m")
    assert llm_picker("m@relay").complete("How high?").text == "42 m", "the failure is not kept"


@pytest.mark.parametrize(
    ("error", "words", "attempts"),
    [
        ({"message": "invalid key", "code": 401}, "check DREAM_ENDPOINT_RELAY_API_KEY", 2),  # in two headers
        ({"message": "insufficient_quota", "code": 429}, "has no credit or quota left", 1),
    ],
)
def test_an_error_in_a_200_counts_as_its_code(error: dict, words: str, attempts: int, gateway, relay):
    relay.script = lambda seen: Reply(200, {"error": error})
    with pytest.raises(openai.APIConnectionError) as caught:
        llm_picker("m@relay").complete("How high?")
    assert words in explain(caught.value)
    assert len(relay.requests) == attempts


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_its_target_and_the_setting(status: int, gateway, relay):
    location = "https://user:secret@elsewhere.example/v1/chat/completions?token=secret"
    relay.script = lambda seen: Reply(status, {}, {"location": location})
    with pytest.raises(openai.APIStatusError) as caught:
        llm_picker("m@relay").complete("How high?")
    assert "set DREAM_ENDPOINT_RELAY_BASE_URL=https://elsewhere.example/v1" in explain(caught.value)
    assert "secret" not in explain(caught.value)
    assert len(relay.requests) == 1


# --- finish_reason


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_an_answer_that_was_cut_is_an_answer_and_says_so(finish: str):
    read = read_chat(ASKED, completion("42", finish))
    assert not isinstance(read, NoAnswer)
    assert is_cut(read)


def test_an_answer_of_as_many_tokens_as_allowed_was_cut_whatever_the_server_says():
    used = {"prompt_tokens": 7, "completion_tokens": 100, "total_tokens": 107}
    read = read_chat(ASKED, completion("42", "stop", used))
    assert not isinstance(read, NoAnswer)
    assert read["choices"][0]["finish_reason"] == LENGTH


@pytest.mark.parametrize("finish", [None, "stop", "tool_use", "function_call"])
def test_calls_of_tools_are_answers_without_a_text(finish: str | None):
    read = read_chat(ASKED, completion(None, finish, tool_calls=[CALL]))
    assert not isinstance(read, NoAnswer)
    assert read["choices"][0]["finish_reason"] == TOOL_CALLS
    assert read["choices"][0]["message"]["tool_calls"] == [CALL]


def test_an_empty_list_of_calls_is_none():
    read = read_chat(ASKED, completion("42 m", tool_calls=[]))
    assert not isinstance(read, NoAnswer)
    assert "tool_calls" not in read["choices"][0]["message"]


def test_json_may_come_read_already_and_after_thinking():
    for content in ({"verdict": 1}, '<think>{"no"}</think>{"verdict": 1}'):
        read = read_chat(JSON_ASKED, completion(content))
        assert not isinstance(read, NoAnswer)
        assert json.loads(read["choices"][0]["message"]["content"]) == {"verdict": 1}


def test_json_is_asked_for_by_a_format_or_a_tool():
    assert wants_json(JSON_ASKED)
    assert wants_json({**ASKED, "tools": [CALL]})
    assert not wants_json(ASKED)
    assert not wants_json({**ASKED, "response_format": {"type": "text"}})
