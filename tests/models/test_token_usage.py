"""Tokens that a server does not report are estimated and marked; those that it reports are taken."""

from typing import Any

import pytest
from model_servers import Reply, chat_reply

from dream.models import gateway_client
from dream.models.gateway import GatewayOptions
from dream.models.pickers import embed_model_picker, llm_picker
from dream.models.token_usage import ESTIMATED, Tokens, chat_tokens, reported, text_tokens, with_usage
from dream.models.usage import spent_of
from dream.settings import Budget
from dream.tokens import count_tokens

PROMPT, TEXT = "How high is the mast of Nordhaven?", "It is 42 m high."
REQUEST = {"messages": [{"role": "user", "content": PROMPT}]}
N_PROMPT, N_TEXT = count_tokens(PROMPT) + 4, count_tokens(TEXT)
MISSING: list[Any] = [
    None,
    {},
    "none",
    {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": -1, "completion_tokens": float("nan")},
    {"prompt_tokens": "7", "completion_tokens": True},
]


def answer(usage: Any, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": TEXT, **message}}], "usage": usage}


@pytest.mark.parametrize("usage", MISSING)
def test_missing_tokens_are_estimated_from_the_texts(usage: Any):
    tokens = chat_tokens(REQUEST, answer(usage))
    assert tokens == Tokens(N_PROMPT, N_TEXT, N_PROMPT + N_TEXT)
    assert text_tokens([PROMPT, TEXT], {"usage": usage}).estimated == count_tokens(PROMPT) + N_TEXT


def test_one_number_may_be_missing():
    assert chat_tokens(REQUEST, answer({"prompt_tokens": 7})) == Tokens(7, N_TEXT, N_TEXT)
    assert chat_tokens(REQUEST, answer({"completion_tokens": 3})) == Tokens(N_PROMPT, 3, N_PROMPT)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, (7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 40}, (7, 33)),
        ({"prompt_tokens": 7, "total_tokens": 10}, (7, 3)),
        ({"completion_tokens": 3, "total_tokens": 10}, (7, 3)),
        ({"input_tokens": 7, "output_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7.0, "completion_tokens": 3.0}, (7, 3)),
    ],
)
def test_reported_tokens_are_taken_with_the_thinking_that_only_the_total_has(usage: dict, expected: tuple):
    assert reported({"usage": usage}) == expected
    assert chat_tokens(REQUEST, answer(usage)) == Tokens(*expected)


def test_thinking_is_part_of_an_estimate():
    thinking = "Let me look at the mast first. " * 20
    tokens = chat_tokens(REQUEST, answer(None, reasoning_content=thinking))
    assert tokens.completion == N_TEXT + count_tokens(thinking)


def test_an_estimate_stays_marked_in_an_answer():
    tokens = Tokens(10, 5, 5)
    kept = with_usage(answer({"prompt_tokens": 10, "details": {"cached": 1}}), tokens)
    assert kept["usage"] == {
        "prompt_tokens": 10, "details": {"cached": 1}, "completion_tokens": 5, "total_tokens": 15, ESTIMATED: 5
    }  # fmt: skip
    assert chat_tokens(REQUEST, kept) == tokens


def unmetered(seen: Any) -> Reply:
    if "input" in seen.body:
        return Reply(200, {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": None})
    reply = chat_reply(TEXT)
    return Reply(200, {**reply.body, "usage": None})


def test_no_call_counts_as_free_and_a_budget_holds(gateway, relay):
    relay.script = unmetered
    gateway.configure(GatewayOptions((), budget=Budget(tokens=20), first_backoff_seconds=0.0002))
    embed_model_picker("embed-small@relay").get_text_embedding(TEXT)
    answered = llm_picker("m@relay").complete(PROMPT)
    assert answered.raw.usage.completion_tokens == N_TEXT
    rows = gateway.usage()
    assert [row.estimated_tokens for row in rows] == [N_TEXT, N_PROMPT + N_TEXT]
    assert all(row.estimated_tokens == row.tokens for row in rows)
    assert spent_of(rows)["tokens"] >= 20
    with pytest.raises(Exception, match="Connection error") as caught:
        llm_picker("m@relay").complete("Another question")
    assert "stopped at budget" in str(caught.value.__cause__)
    assert gateway_client.current_gateway() is gateway


def test_a_useless_answer_costs_its_tokens(gateway, relay):
    spent = {"prompt_tokens": 50, "completion_tokens": 4096, "total_tokens": 4146}
    reply = {**chat_reply("").body, "usage": spent}
    reply["choices"][0]["finish_reason"] = "length"
    relay.script = lambda seen: Reply(200, reply)
    with pytest.raises(Exception, match="no answer within the token limit"):
        llm_picker("m@relay").complete(PROMPT)
    (row,) = gateway.usage()
    assert (row.paid_prompt_tokens, row.paid_completion_tokens, row.failed) == (50, 4096, 1)
