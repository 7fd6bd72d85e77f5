"""Servers that refuse parameters, over HTTP: the form that they take is found once and remembered."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy
import openai
import pytest
from model_servers import Relay, Reply, Seen, chat_reply, endpoint_settings, forget_answers
from pydantic import BaseModel

from dream.models import gateway_client
from dream.models.pickers import embed_model_picker, judge_llm_picker, llm_picker
from dream.runtime.event_loop import run_async


class Verdict(BaseModel):
    verdict: int
    reason: str


GOOD = {"verdict": 1, "reason": "so"}
Body = dict[str, Any]


def refusing(relay: Relay, rule: Callable[[Body], str | Reply | None]) -> None:
    """Let the relay refuse requests for which the rule gives a text."""

    def script(seen: Seen) -> Reply | None:
        refused = rule(seen.body)
        if isinstance(refused, str):
            return Reply(400, {"error": {"message": refused}})
        if refused is not None:
            return refused
        return chat_reply(GOOD) if seen.body.get("messages") else None

    relay.script = script


def in_format(body: Body) -> str | None:
    return (body.get("response_format") or {}).get("type")


def when(condition: Callable[[Body], Any], text: str) -> Callable[[Body], str | None]:
    """A rule that refuses, with this text, what a condition holds for."""
    return lambda body: text if condition(body) else None


def having(*names: str) -> Callable[[Body], bool]:
    return lambda body: all(name in body for name in names)


def first_unknown(body: Body) -> str | None:
    """Refuses three parameters, one after the other."""
    unknown = next((name for name in ("temperature", "top_p", "response_format") if name in body), None)
    return f"unknown parameter: {unknown}" if unknown else None


NO_OBJECT = when(lambda body: in_format(body) == "json_object", "response_format.type must be json_schema or text")
RENAMED = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
AT_MOST = when(lambda body: body.get("max_tokens", 0) > 2048, "max_tokens is too large, at most 2048 tokens")
ALL_OF_THEM = {"omitted": ["temperature", "top_p"], "response_format": "text"}


@pytest.mark.parametrize(
    ("rule", "form", "refused"),
    [
        (NO_OBJECT, {"response_format": "json_schema"}, 1),
        (when(in_format, "response_format is not supported"), {"response_format": "text"}, 2),
        (when(having("temperature", "top_p"), "temperature and top_p cannot both be set"), {"omitted": ["top_p"]}, 1),
        (when(having("max_tokens"), RENAMED), {"token_limit": "max_completion_tokens"}, 1),
        (AT_MOST, {"max_tokens": 2048}, 1),
        (first_unknown, ALL_OF_THEM, 4),
    ],
)
def test_the_form_that_a_server_takes_is_found_once(rule, form, refused, gateway, relay):
    forget_answers(gateway)
    refusing(relay, rule)
    judge = judge_llm_picker("judge@relay")
    for prompt in ("one", "two", "one"):
        assert run_async(judge.agenerate(prompt, Verdict)).verdict == 1
    assert gateway.form("relay", "judge") == form
    assert len(relay.requests) == refused + 2  # and the third answer is the first's, from the cache
    (row,) = gateway.usage()
    assert (row.calls, row.sent, row.retried, row.cached, row.failed) == (3, refused + 2, refused, 1, 0)


def test_the_schema_is_sent_with_the_form(gateway, relay):
    forget_answers(gateway)
    refusing(relay, NO_OBJECT)
    run_async(judge_llm_picker("judge@relay").agenerate("one", Verdict))
    sent = relay.requests[-1].body["response_format"]["json_schema"]
    assert (sent["name"], sorted(sent["schema"]["properties"])) == ("Verdict", ["reason", "verdict"])


def test_requests_under_way_find_the_form_too(gateway, relay):
    forget_answers(gateway)
    refusing(relay, lambda body: "Unsupported parameter: 'temperature'" if "temperature" in body else None)
    llm = llm_picker("llm-small@relay")

    async def many():
        return await asyncio.gather(*(llm.acomplete(f"question {number}") for number in range(12)))

    assert len(run_async(many())) == 12
    assert all(llm.complete(f"more {number}").text for number in range(3))
    assert sum("temperature" not in seen.body for seen in relay.requests) == 15


def test_a_form_is_of_a_model_and_an_endpoint(gateway, relay):
    refusing(
        relay, lambda b: "Unsupported parameter: 'temperature'" if "temperature" in b and b["model"] == "a" else None
    )
    for model in ("a", "b"):
        llm_picker(f"{model}@relay").complete("hello")
    assert [gateway.form("relay", model) for model in ("a", "b")] == [{"omitted": ["temperature"]}, {}]


def test_what_cannot_be_adapted_is_the_servers_own_error(gateway, relay):
    refusing(relay, lambda body: "The prompt is against the rules")
    with pytest.raises(openai.BadRequestError, match="against the rules"):
        llm_picker("judge@relay").complete("hello")
    refusing(relay, lambda body: "Unsupported parameter: 'temperature'")  # whatever is sent
    relay.requests.clear()
    with pytest.raises(openai.BadRequestError, match="Unsupported parameter"):
        llm_picker("judge@relay").complete("hello")
    assert len(relay.requests) == 2
    assert gateway.form("relay", "judge") == {}


def test_a_form_that_is_set_is_sent_at_once(model_server, relay, no_environment):
    refusing(relay, lambda body: None)
    settings = endpoint_settings(
        model_server,
        relay,
        DREAM_ENDPOINT_RELAY_RESPONSE_FORMAT="json_schema",
        DREAM_ENDPOINT_RELAY_MAX_TOKENS_PARAMETER="max_completion_tokens",
        DREAM_ENDPOINT_RELAY_OMIT="temperature, top_p",
    )
    with gateway_client.opened(settings):
        run_async(judge_llm_picker("judge@relay").agenerate("one", Verdict))
    (seen,) = relay.requests
    assert sorted(seen.body) == ["max_completion_tokens", "messages", "model", "response_format"]
    assert in_format(seen.body) == "json_schema"


# --- embeddings

TEXTS = [f"text number {number} about rime" for number in range(10)]


def vectors(relay: Relay, texts: list[str]) -> list[list[float]]:
    return embed_model_picker("embed-small@relay").get_text_embedding_batch(texts)


@pytest.fixture
def right(gateway, relay) -> list[list[float]]:
    """The vectors of a server that refuses nothing."""
    found = vectors(relay, TEXTS)
    forget_answers(gateway)
    relay.requests.clear()
    return found


def too_many(most: int, text: str, status: int = 413) -> Callable[[Body], Reply | None]:
    body = {"message": text, "type": "Validation"}
    return lambda sent: Reply(status, body) if len(sent["input"]) > most else None


PACKED = when(lambda body: body.get("encoding_format") == "base64", "base64 encoding is not currently supported")
UNKNOWN = when(having("encoding_format"), "extra inputs: encoding_format")
UNASKED = {"omitted": ["encoding_format"], "encoding_format": "float"}


@pytest.mark.parametrize(
    ("rule", "form", "requests"),
    [
        (too_many(4, "batch size 10 > maximum allowed batch size 4"), {"batch_size": 4}, 1 + 3),
        (too_many(4, "Request Entity Too Large"), {"batch_size": 2}, 1 + 1 + 3 + 3),
        (too_many(1, "only one input at once", 422), {"batch_size": 1}, None),
        (PACKED, {"encoding_format": "float"}, 2),
        (UNKNOWN, UNASKED, 3),
    ],
)
def test_embeddings_are_asked_for_as_the_server_wants(rule, form, requests, right, gateway, relay):
    refusing(relay, rule)
    assert numpy.allclose(vectors(relay, TEXTS), right, atol=1e-6)
    assert gateway.form("relay", "embed-small") == form
    assert requests is None or len(relay.requests) == requests
    relay.requests.clear()
    vectors(relay, [f"{text} again" for text in TEXTS])
    assert all(rule(seen.body) is None for seen in relay.requests)


def test_a_text_that_is_too_long_is_named_with_the_limit_and_the_remedy(gateway, relay):
    said = "Input validation error: `inputs` must have less than 512 tokens. Given: 700"
    refusing(relay, lambda body: Reply(413, {"message": said}) if max(map(len, body["input"])) > 100 else None)
    with pytest.raises(openai.APIStatusError) as caught:
        vectors(relay, ["short", "a long one " * 20])
    for part in (
        "a text of 61 tokens",
        "embed-small",
        said,
        "a long one a long",
        "smaller chunk_size",
        "DREAM_ENDPOINT_RELAY_MAX_INPUT_TOKENS",
    ):
        assert part in str(caught.value), part
    assert len(relay.requests) == 1


def test_texts_are_cut_only_where_a_user_said_so(model_server, relay, no_environment):
    settings = endpoint_settings(model_server, relay, DREAM_ENDPOINT_RELAY_MAX_INPUT_TOKENS="3")
    with gateway_client.opened(settings):
        vectors(relay, ["one", "one two three four five"])
    assert relay.requests[0].body["input"] == ["one", "one two three"]


def test_batches_of_a_set_size(model_server, relay, no_environment):
    settings = endpoint_settings(model_server, relay, DREAM_ENDPOINT_RELAY_EMBED_BATCH_SIZE="4")
    with gateway_client.opened(settings) as gateway:
        vectors(relay, TEXTS)
        (row,) = gateway.usage()
    assert sorted(len(seen.body["input"]) for seen in relay.requests) == [2, 4, 4]
    assert (row.calls, row.sent) == (1, 3)
    assert row.paid_prompt_tokens > 0
    assert json.dumps(relay.requests[0].body["encoding_format"]) == '"base64"'
