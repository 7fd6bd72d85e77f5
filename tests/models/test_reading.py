"""Answers in JSON over HTTP: read for every client alike, asked for again once, given up where most are bad."""

import itertools
import json

import pytest
from model_servers import Reply, chat_reply, forget_answers
from pydantic import BaseModel

from dream.errors import DataError, EndpointError
from dream.models.openai_wire import ModelRequest, ModelResponse
from dream.models.pickers import judge_llm_picker, model_calls
from dream.models.reading import LEAST_ANSWERS, Readability, read
from dream.runtime.event_loop import run_async


class Verdict(BaseModel):
    verdict: int
    reason: str


GOOD = {"verdict": 1, "reason": "so"}


def ask(llm, prompt: str):
    return run_async(llm.agenerate(prompt, Verdict))


def test_a_good_second_answer_is_kept_for_the_request_and_both_are_paid(gateway, relay):
    forget_answers(gateway)
    relay.first(chat_reply({"verdict": 7, "reason": "very"}), chat_reply(GOOD))
    judge = judge_llm_picker("judge@relay")
    assert [ask(judge, "a").verdict, ask(judge, "a").verdict] == [1, 1]
    first, second = (seen.body["messages"] for seen in relay.requests)
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]
    assert json.loads(second[-2]["content"]) == {"verdict": 7, "reason": "very"}
    assert "`verdict` is 7, but must be a whole number from 0 to 1" in second[-1]["content"]
    (row,) = gateway.usage()
    assert (row.calls, row.sent, row.retried, row.cached, row.failed) == (2, 2, 1, 1, 0)
    assert (row.paid_prompt_tokens, row.paid_completion_tokens) == (14, 6)


def test_an_unreadable_answer_is_counted_and_never_kept(gateway, relay):
    forget_answers(gateway)
    relay.script = lambda seen: chat_reply("no")
    judge = judge_llm_picker("judge@relay")
    for sent in (2, 4):
        with pytest.raises(DataError, match="contains no JSON; it says: 'no'"):
            ask(judge, "a")
        (row,) = gateway.usage()
        assert (row.sent, row.paid_prompt_tokens, row.failed) == (sent, 7 * sent, sent / 2)


def test_a_fault_of_the_server_at_the_second_attempt_is_a_fault_of_the_server(gateway, relay):
    import openai

    forget_answers(gateway)
    relay.first(chat_reply("no"), Reply(404, {"error": {"message": "gone"}}))
    with pytest.raises(openai.NotFoundError):
        ask(judge_llm_picker("judge@relay"), "a")


@pytest.mark.parametrize("unreadable", [1, 6, 10])
def test_a_model_of_which_most_answers_cannot_be_read_is_not_asked_any_more(unreadable, gateway, relay):
    forget_answers(gateway)
    numbers = itertools.count()
    bad = {f"prompt {number}" for number in range(unreadable)}
    relay.script = lambda seen: chat_reply("no" if bad & {m["content"] for m in seen.body["messages"]} else GOOD)
    judge, others = judge_llm_picker("judge@relay"), judge_llm_picker("judge@relay", stage="generate")
    for _ in range(LEAST_ANSWERS):
        number = next(numbers)
        if number < unreadable:
            with pytest.raises(DataError):
                ask(judge, f"prompt {number}")
        else:
            assert ask(judge, f"prompt {number}").verdict == 1
    sent = len(relay.requests)
    if unreadable > LEAST_ANSWERS / 2:
        for number in range(2):
            with pytest.raises(EndpointError, match=f"{unreadable} of the first 10 answers of the model 'judge'.*'no'"):
                ask(judge, f"a further prompt {number}")
        assert len(relay.requests) == sent
    else:
        assert ask(judge, "a further prompt").verdict == 1
    assert ask(others, "a prompt of another stage").verdict == 1


def test_answers_that_are_alike_share_an_attempt(gateway, relay):
    forget_answers(gateway)
    relay.first(chat_reply("no"), chat_reply(GOOD))
    judge = judge_llm_picker("judge@relay")

    async def twice():
        import asyncio

        return await asyncio.gather(*(judge.agenerate("a", Verdict) for _ in range(2)))

    assert [found.verdict for found in run_async(twice())] == [1, 1]
    assert len(relay.requests) == 2


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "count", "parameters": SCHEMA}}
NATIVE = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
CALL = {"id": "c", "type": "function", "function": {"name": "count", "arguments": "{'n': '3'}"}}


@pytest.mark.parametrize("message", [{"content": "```{'n': '3'}```"}, {"content": None, "tool_calls": [CALL]}])
@pytest.mark.parametrize("asked", [{"response_format": NATIVE}, {"tools": [TOOL], "tool_choice": "required"}])
def test_any_client_finds_the_json_where_it_looks_for_it(asked, message, gateway, relay):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "tool_calls"}
    relay.script = lambda seen: Reply(200, {**chat_reply("").body, "choices": [choice]})
    body = {"model": "m", "messages": [{"role": "user", "content": "how many?"}], **asked}
    answer = run_async(model_calls("m@relay").post("/chat/completions", body))
    got = answer["choices"][0]["message"]
    as_call = "tools" in asked and "tool_calls" in message
    text = got["tool_calls"][0]["function"]["arguments"] if as_call else got["content"]
    assert json.loads(text) == {"n": 3}
    assert ("tool_calls" in got) == as_call


def test_an_answer_that_is_right_stays_byte_for_byte():
    answer = chat_reply({"n": 3}).body
    response = ModelResponse(200, b"as it came")
    request = ModelRequest("e", "POST", "/chat/completions", b"")
    found = read(request, {"messages": [], "response_format": NATIVE}, response, answer)
    assert found.response is response
    assert found.is_read
    assert not read(request, {"messages": []}, response, answer).is_read


def test_few_answers_judge_no_model():
    counts = Readability()
    counts.count("e", "m", "judge", None)
    for _ in range(LEAST_ANSWERS - 2):
        counts.count("e", "m", "judge", "it is empty")
    assert counts.refusal("e", "m", "judge") is None
    for _ in range(5):
        counts.count("e", "m", "judge", "it is empty")
    assert "9 of the first 10" in str(counts.refusal("e", "m", "judge"))  # and not other numbers each time
    assert counts.refusal("e", "m", "generate") is None
