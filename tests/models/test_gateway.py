"""The gateway in this process: every request arrives once, faults are retried and counted, keys stay behind it.

Covers `gateway_client` and `http_transport` too, which only carry requests to it, and `endpoint_client` behind it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy
import openai
import pytest
from model_servers import KEY, Reply, chat_reply, endpoint_settings, free_port, offline_models

from dream.errors import ConfigurationError, EndpointError, explain
from dream.models import gateway_client
from dream.models.gateway import GatewayOptions
from dream.models.gateway_client import GatewayClient
from dream.models.http_transport import AsyncGatewayTransport, GatewayTransport
from dream.models.pickers import embed_model_picker, llm_picker
from dream.models.retry_policy import MAX_ATTEMPTS
from dream.models.usage import CHECK_STAGE
from dream.records import UsageRow
from dream.runtime.event_loop import run_async
from dream.settings import Endpoint, Settings

EMBEDDINGS, CHAT = "/v1/embeddings", "/v1/chat/completions"
PASSING_FAULTS = {
    "500": Reply(500, {}),
    "503": Reply(503, {}),
    "429 with milliseconds": Reply(429, {}, {"retry-after-ms": "3", "retry-after": "60"}),
    "429 with seconds": Reply(429, {}, {"retry-after": "0"}),
    "429 with a date": Reply(429, {}, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "cut connection": Reply(200, {"half": "an answer"}, cut=True),
}


def usage(gateway: GatewayClient, **wanted: str) -> UsageRow:
    """The one row of the meter that has these values."""
    rows = [row for row in gateway.usage() if all(getattr(row, name) == value for name, value in wanted.items())]
    assert len(rows) == 1, rows
    return rows[0]


def test_a_client_used_under_two_event_loops_sends_each_request_once(gateway, model_server):
    llm, embed_model = llm_picker("llm-large"), embed_model_picker("embed-small")

    async def ask_five():
        return await asyncio.gather(
            *(llm.acomplete(f"Question {number}") for number in range(5)),
            *(embed_model.aget_text_embedding(f"text {number}") for number in range(5)),
        )

    assert len([*asyncio.run(ask_five()), *asyncio.run(ask_five())]) == 20
    assert model_server.counters()["by_path"] == {CHAT: 5, EMBEDDINGS: 5}
    row = usage(gateway, stage="answer")
    assert (row.calls, row.cached, row.retried, row.failed) == (10, 5, 0, 0)


def test_threads_share_the_gateway(gateway, model_server):
    llm = llm_picker("llm-large")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: llm.complete(f"Question {number}").text, range(24)))
    assert all(answers)
    assert model_server.chat_calls() == 24
    assert usage(gateway, stage="answer").calls == 24


async def test_sync_and_async_clients_and_streams_give_the_same_text(gateway):
    llm = llm_picker("llm-large")
    waited = (await llm.acomplete("Who are you?")).text
    assert llm.complete("Who are you?").text == waited
    assert "".join(part.delta or "" for part in llm.stream_complete("Who are you?")) == waited


def test_embeddings_are_the_same_as_base64_and_as_numbers(gateway, relay):
    client = openai.OpenAI(
        base_url="http://relay", api_key="unused", http_client=httpx.Client(transport=GatewayTransport())
    )
    packed = client.embeddings.create(model="embed-small", input="rime on the blades")
    plain = client.embeddings.create(model="embed-small", input="rime on the blades", encoding_format="float")
    assert [seen.body["encoding_format"] for seen in relay.requests] == ["base64"]
    assert numpy.allclose(packed.data[0].embedding, plain.data[0].embedding, atol=1e-6)


def test_the_key_is_added_behind_the_gateway_and_labels_stay_before_it(gateway, relay):
    llm = llm_picker("llm-large@relay", stage="answer", trial="t1")
    llm.complete("hello")
    (seen,) = relay.requests
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in seen.headers if name.startswith("x-dream") or name.startswith("x-stainless")]
    assert KEY not in f"{llm!r} {llm.model_dump()} {vars(llm)}"


@pytest.mark.parametrize("name", PASSING_FAULTS)
def test_a_passing_fault_is_retried_and_counted(name, gateway, relay):
    relay.first(PASSING_FAULTS[name], PASSING_FAULTS[name])
    assert llm_picker("llm-large@relay").complete("hello").text
    row = usage(gateway, endpoint="relay")
    assert (len(relay.requests), row.calls, row.retried, row.failed) == (3, 1, 2, 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (404, openai.NotFoundError)],
)
def test_a_refusal_is_not_retried(status, error, gateway, relay):
    relay.first(Reply(status, {"error": {"message": "no"}}))
    with pytest.raises(error):
        llm_picker("llm-large@relay").complete("hello")
    row = usage(gateway, endpoint="relay")
    assert (len(relay.requests), row.calls, row.retried, row.failed) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), "DREAM_ENDPOINT_RELAY_API_KEY"),
        (Reply(402, {"error": {"message": "Insufficient Balance"}}), "HTTP 402: 'Insufficient Balance'"),
        (Reply(402, {"detail": f"top up the account of {KEY}"}), "'top up the account of ***'"),
        (
            Reply(429, {"error": {"message": "see billing", "code": "insufficient_quota"}}),
            "has no credit or quota left",
        ),
        (
            Reply(429, {"error": {"message": "requests per day"}}, {"retry-after": "3600"}),
            "requests a wait of 60 minutes",
        ),
    ],
)
def test_an_endpoint_that_refuses_all_work_is_asked_once_and_told_in_one_message(reply, words, gateway, relay):
    relay.script = lambda seen: reply
    llm = llm_picker("llm-large@relay")
    messages = set()
    for number in range(5):
        with pytest.raises(openai.APIConnectionError) as caught:
            llm.complete(f"hello {number}")
        assert isinstance(caught.value.__cause__, EndpointError)
        messages.add(str(caught.value.__cause__))
    keys = [(seen.headers.get("authorization"), seen.headers.get("api-key")) for seen in relay.requests]
    in_another_header = [(None, KEY)] if reply.status == 401 else []
    assert keys == [(f"Bearer {KEY}", None), *in_another_header]
    (message,) = messages
    assert words in message
    assert KEY not in message
    assert usage(gateway, endpoint="relay").failed == 5
    relay.script = lambda seen: None
    assert llm_picker("llm-small@relay").complete("another model is asked").text


def test_a_model_that_only_refuses_is_given_up_although_another_answers(gateway, relay, model_server):
    settings = endpoint_settings(model_server, relay)
    gateway.configure(GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002, patience_seconds=0.2))
    relay.script = lambda seen: Reply(429, {}) if seen.body["model"] == "llm-small" else None
    with pytest.raises(openai.APIConnectionError) as caught:
        _ask_both_for_ever(relay)
    assert isinstance(caught.value.__cause__, EndpointError)
    assert "answered only HTTP 429 for" in str(caught.value.__cause__)


def _ask_both_for_ever(relay):
    while True:
        llm_picker("llm-large@relay").complete(f"{len(relay.requests)}")
        llm_picker("llm-small@relay").complete("hello")


def test_a_page_in_html_is_told_by_its_title(gateway, relay):
    relay.script = lambda seen: Reply(503, raw=b"<html><head><title>503 Service Unavailable</title></head><hr></html>")
    with pytest.raises(openai.InternalServerError) as caught:
        llm_picker("llm-large@relay").complete("hello")
    assert "503 Service Unavailable" in str(caught.value)
    assert "<" not in str(caught.value)


def test_a_lasting_fault_is_given_up_after_six_attempts(gateway, model_server):
    model_server.faults(error_share=1)
    with pytest.raises(openai.InternalServerError):
        embed_model_picker("embed-small").get_text_embedding("text")
    assert model_server.counters()["calls"] == MAX_ATTEMPTS
    row = usage(gateway, stage="embed")
    assert (row.calls, row.retried, row.failed) == (1, MAX_ATTEMPTS - 1, 1)


@pytest.fixture
def impatient(model_server, relay, no_environment):
    """A gateway that waits for answers of the relay for one second, as configured."""
    settings = endpoint_settings(model_server, relay, DREAM_ENDPOINT_RELAY_TIMEOUT_SECONDS="1")
    with gateway_client.opened(settings) as opened:
        opened.configure(GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002))
        yield opened


@pytest.fixture
def hang(relay):
    """`hang(n)`: the relay does not answer the next n requests."""
    released, left = threading.Event(), [0]

    def script(seen):
        left[0] -= 1
        return Reply(500, {}) if left[0] >= 0 and released.wait(30) else None

    def hang(n: int) -> None:
        left[0], relay.script = n, script

    yield hang
    released.set()


def test_a_server_that_answers_nothing_in_time_is_not_asked_a_second_time(impatient, relay, hang):
    hang(9)
    with pytest.raises(openai.APIConnectionError) as caught:
        llm_picker("llm-large@relay").complete("a long prompt")
    assert isinstance(caught.value.__cause__, EndpointError)
    for part in ("within 1 s", "DREAM_ENDPOINT_RELAY_TIMEOUT_SECONDS=10", "not sent a second time", "resume"):
        assert part in str(caught.value.__cause__)
    assert len(relay.requests) == 1


def test_a_request_that_was_lost_on_the_way_to_a_quick_server_is_sent_again(impatient, relay, hang):
    llm = llm_picker("llm-large@relay")
    assert llm.complete("quick").text
    hang(1)
    assert llm.complete("lost").text
    assert [("lost" in seen.prompt) for seen in relay.requests] == [False, True, True]
    assert usage(impatient, endpoint="relay").retried == 1


def test_what_is_under_way_when_a_gateway_closes_is_kept_and_nothing_more_is_sent(
    model_server, relay, no_environment, tmp_path
):
    settings = endpoint_settings(
        model_server, relay, DREAM_HOME=str(tmp_path), DREAM_ENDPOINT_RELAY_MAX_CONCURRENCY="1"
    )
    may_answer = threading.Event()
    relay.script = lambda seen: None if may_answer.wait(30) else Reply(500, {})
    with ThreadPoolExecutor(2) as threads:
        with gateway_client.opened(settings):
            llm = llm_picker("llm-large@relay", gateway=gateway_client.current_gateway())
            asked = [threads.submit(llm.complete, f"prompt {number}") for number in range(2)]
            while not relay.requests:
                time.sleep(0.01)
            threading.Timer(0.3, may_answer.set).start()  # while the gateway waits for what is under way
        outcomes = [one.exception() for one in asked]
    assert len(relay.requests) == 1
    assert sum(outcome is None for outcome in outcomes) == 1
    with gateway_client.opened(settings) as gateway:
        assert llm_picker("llm-large@relay").complete(relay.requests[0].body["messages"][0]["content"]).text
        assert usage(gateway, endpoint="relay").sent == 0


def test_a_rate_limit_is_obeyed(gateway, model_server):
    model_server.faults(requests_per_minute=600, burst=1)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda number: llm_picker("llm-large").complete(f"Q{number}").text, range(4)))
    refused = model_server.counters()["by_status"].get("429", 0)
    row = usage(gateway, stage="answer")
    assert len(answers) == 4
    assert refused > 0
    assert (row.calls, row.retried, row.failed) == (4, refused, 0)


@pytest.mark.parametrize("stage", [CHECK_STAGE, "answer"])
def test_only_a_check_takes_silence_for_an_answer(stage, no_environment):
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    settings = Settings.from_environment({"OPENAI_BASE_URL": nobody})
    with gateway_client.opened(settings) as gateway:
        gateway.configure(GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002, patience_seconds=0.3))
        with pytest.raises(openai.APIConnectionError) as caught:
            llm_picker("any-model", stage=stage).complete("hello")
        row = usage(gateway, stage=stage)
    assert nobody in explain(caught.value)
    assert (row.calls, row.failed) == (1, 1)
    assert (row.retried == 0) == (stage == CHECK_STAGE)


def test_usage_has_a_row_for_each_model_stage_and_trial_with_the_tokens_of_the_server(gateway, model_server):
    llm_picker("llm-small", trial="t1").complete("one two three")
    llm_picker("llm-large", trial="t1").complete("four five six seven")
    llm_picker("llm-large", trial="t2").complete("four five six seven")
    llm_picker("llm-large", stage="generate", trial="t2").complete("eight")
    embed_model_picker("embed-small", trial="t2").get_text_embedding_batch(["one", "two words"])
    rows = gateway.usage()
    assert [(row.model, row.stage, row.trial, row.calls) for row in rows] == [
        ("llm-small", "answer", "t1", 1),
        ("llm-large", "answer", "t1", 1),
        ("llm-large", "answer", "t2", 1),
        ("llm-large", "generate", "t2", 1),
        ("embed-small", "embed", "t2", 1),
    ]
    assert gateway.usage("t1") == rows[:2]
    for model, counted in model_server.counters()["by_model"].items():
        ours = [row for row in rows if row.model == model]
        assert round(sum(row.paid_prompt_tokens for row in ours)) == counted["tokens_in"] > 0
        assert sum(row.paid_completion_tokens for row in ours) == counted["tokens_out"]
    again = next(row for row in rows if (row.stage, row.trial) == ("answer", "t2"))
    assert (again.cached, again.paid_prompt_tokens) == (1, 0)
    assert again.prompt_tokens == rows[1].prompt_tokens > 0


@pytest.mark.parametrize(
    ("identifier", "variable"), [("gpt-4o", "OPENAI_API_KEY"), ("m@nowhere", "DREAM_ENDPOINT_NOWHERE_BASE_URL")]
)
async def test_an_unknown_endpoint_names_the_variable_to_set(identifier, variable, no_environment):
    with gateway_client.opened(Settings.from_environment({"DREAM_OFFLINE": "1"})) as gateway:
        with pytest.raises(ConfigurationError, match=variable):
            gateway.base_url("openai" if identifier == "gpt-4o" else "nowhere")
        llm = llm_picker(identifier)
        for ask in (lambda: asyncio.to_thread(llm.complete, "hello"), lambda: llm.acomplete("hello")):
            with pytest.raises(openai.APIConnectionError) as caught:
                await ask()
            assert isinstance(caught.value.__cause__, ConfigurationError)
            assert variable in explain(caught.value)


def test_two_endpoints_are_told_apart_by_their_names_and_keys(model_server, relay, no_environment):
    with offline_models("another-key") as other:
        settings = endpoint_settings(
            model_server,
            relay,
            DREAM_ENDPOINT_MY_LAB_BASE_URL=other.base_url,
            DREAM_ENDPOINT_MY_LAB_API_KEY=other.key,
            DREAM_ENDPOINT_MIXED_BASE_URL=other.base_url,
            DREAM_ENDPOINT_MIXED_API_KEY=KEY,
        )
        with gateway_client.opened(settings):
            assert llm_picker("llm-large").complete("one").text
            assert llm_picker("llm-large@my_lab").complete("one").text
            assert llm_picker("llm-large@MY_LAB").complete("two").text
            with pytest.raises(openai.APIConnectionError) as caught:
                llm_picker("llm-large@mixed").complete("three")
            assert "DREAM_ENDPOINT_MIXED_API_KEY" in explain(caught.value)
        assert (model_server.chat_calls(), other.counters()["by_status"]) == (
            1,
            {"200": 2, "401": 2},
        )  # the refused key was tried in both headers


def test_a_key_that_http_does_not_allow_is_not_shown(model_server, no_environment):
    broken = Endpoint("lab", model_server.base_url, api_key=f"{KEY}\nrest-of-it")
    with gateway_client.opened(Settings.from_environment({"DREAM_OFFLINE": "1"})) as gateway:
        gateway.configure(GatewayOptions([broken], first_backoff_seconds=0.0002))
        with pytest.raises(openai.APIConnectionError) as caught:
            llm_picker("llm-large@lab").complete("hello")
    assert "header" in explain(caught.value)
    assert KEY not in f"{explain(caught.value)} {caught.value.__cause__!r}"


def test_closing_stops_the_offline_models(no_environment):
    with gateway_client.opened(Settings.from_environment({"DREAM_OFFLINE": "1"})) as gateway:
        base_url = gateway.base_url("offline")
        assert llm_picker("offline/llm-small").complete("hello").text
        assert gateway.base_url("offline") == base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base_url}/models")


def together(work: Callable[[], object]) -> set[object]:
    """The different results of eight threads that start at the same moment."""
    barrier = threading.Barrier(8)

    def wait_and_work(_: int) -> object:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(8) as threads:
        return set(threads.map(wait_and_work, range(8)))


def test_threads_that_come_first_together_get_one_gateway(no_environment):
    gateway_client.close_gateway()
    assert len(together(gateway_client.current_gateway)) == 1
    gateway_client.close_gateway()


def test_a_gateway_can_be_opened_on_dreams_own_loop(no_environment):
    gateway_client.close_gateway()

    async def first_caller() -> GatewayClient:
        return gateway_client.current_gateway()

    assert run_async(first_caller()) is gateway_client.current_gateway()
    gateway_client.close_gateway()


def test_the_gateway_opened_last_counts(model_server, relay, no_environment):
    settings = endpoint_settings(model_server, relay)
    llm = llm_picker("llm-large@relay")
    relay.script = lambda seen: chat_reply("scripted")
    for _ in range(2):
        with gateway_client.opened(settings) as gateway:
            assert llm.complete(f"hello {id(gateway)}").text == "scripted"
            assert usage(gateway, endpoint="relay").calls == 1


async def test_an_unreachable_gateway_is_a_connection_error(gateway, relay):
    relay.first(*[Reply(200, {"half": "an answer"}, cut=True)] * MAX_ATTEMPTS)
    client = openai.AsyncOpenAI(
        base_url="http://relay",
        api_key="unused",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=AsyncGatewayTransport()),
    )
    with pytest.raises(openai.APIConnectionError) as caught:
        await client.models.list()
    assert "ClientPayloadError" in explain(caught.value)


def test_servers_of_this_machine_are_reached_past_a_proxy(gateway, model_server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert llm_picker("llm-large").complete("past the proxy").text
    assert model_server.counters()["calls"] == 1
