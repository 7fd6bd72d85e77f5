"""The gateway over HTTP, asked by OpenAI's own client and by plain requests."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from model_servers import ModelServer, Relay, Reply, endpoint_settings
from servers import HTTP

from dream.errors import ConfigurationError
from dream.models import gateway_client
from dream.models.gateway_client import GatewayClient
from dream.models.gateway_server import base_url, new_token, served

TOKEN = "a-token-of-the-tests-93ab"
QUESTION: Any = [{"role": "user", "content": "How high is the dam of Kell?"}]


@pytest.fixture
def url(gateway: GatewayClient) -> Iterator[str]:
    with served(gateway, TOKEN, models=["llm-small", "embed-small@relay"]) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/trial/ours/v1", api_key=TOKEN, max_retries=0) as opened:
        yield opened


def test_an_answer_is_paid_once_whoever_asks_and_counted_under_the_label(
    url: str, client: openai.OpenAI, gateway: GatewayClient, model_server: ModelServer
):
    first = client.chat.completions.create(model="llm-small", messages=QUESTION)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as unlabelled:
        second = unlabelled.chat.completions.with_raw_response.create(model="llm-small", messages=QUESTION)
    assert first.choices[0].message.content
    assert second.parse().choices[0].message == first.choices[0].message
    assert second.headers["x-dream-cached"] == "1"
    assert model_server.chat_calls() == 1
    counted = {(row.trial, row.stage): (row.calls, row.cached) for row in gateway.usage()}
    assert counted == {("ours", "answer"): (1, 0), ("", "answer"): (1, 1)}
    rows = HTTP.get(f"{url}/usage", headers={"api-key": TOKEN}).json()
    assert {row["trial"] for row in rows} == {"ours", ""}


def test_a_stream_tells_the_same_and_comes_from_the_same_cache(client: openai.OpenAI, model_server: ModelServer):
    whole = client.chat.completions.create(model="llm-small", messages=QUESTION)
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="llm-small", messages=QUESTION, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert "".join(texts) == whole.choices[0].message.content
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert model_server.chat_calls() == 1


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_those_of_the_endpoint(client: openai.OpenAI, model_server: ModelServer, encoding: str):
    answer = client.embeddings.create(model="embed-large", input=["one", "two"], encoding_format=encoding)
    again = client.embeddings.create(model="embed-large", input="two")
    (true, other) = model_server.vectors("one", "two")
    found = [row.embedding for row in answer.data]
    if encoding == "float":
        assert found == [pytest.approx(list(true), abs=1e-6), pytest.approx(list(other), abs=1e-6)]
    assert again.data[0].embedding == pytest.approx(list(other), abs=1e-6)
    assert model_server.counters()["texts_embedded"] == 4  # two of them were asked for by `vectors`


def test_models_of_other_endpoints_are_named_by_identifier(client: openai.OpenAI, relay: Relay):
    client.chat.completions.create(model="llm-large@relay", messages=QUESTION)
    assert json.loads(relay.requests[-1].text)["model"] == "llm-large"
    assert TOKEN not in str(relay.requests[-1].headers)
    assert [model.id for model in client.models.list()] == ["llm-small", "embed-small@relay"]


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer another"}, {"api-key": ""}, {"api-key": "ü"}])
@pytest.mark.parametrize("path", ["/v1/models", "/usage", "/trial/x/v1/models"])
def test_nothing_is_told_without_the_token(url: str, path: str, header: dict[str, str]):
    encoded = {name: value.encode() for name, value in header.items()}
    refused = HTTP.get(f"{url}{path}", headers=encoded)
    assert refused.status_code == 401
    assert "token" in refused.json()["error"]["message"]
    assert TOKEN not in refused.text
    assert HTTP.get(f"{url}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no json", 400, "not a JSON object"),
        (b"[1]", 400, "not a JSON object"),
        (b'{"messages": []}', 400, "model=None"),
        (b'{"model": 7, "messages": []}', 400, "model=7"),
        (b'{"model": "x@nowhere", "messages": []}', 404, "no model endpoint 'nowhere' is configured; there are: "),
        (b'{"model": "gpt-9", "messages": [{"role": "user", "content": "?"}]}', 424, "gpt-9"),
    ],
)
def test_a_wrong_request_is_told_in_openais_format(url: str, body: bytes, status: int, message: str):
    headers = {"authorization": f"Bearer {TOKEN}"}
    refused = HTTP.post(f"{url}/v1/chat/completions", content=body, headers=headers)
    assert refused.status_code == status
    assert message in refused.json()["error"]["message"]


def test_another_path_names_those_that_are_served(url: str):
    refused = HTTP.post(f"{url}/v1/images", headers={"api-key": TOKEN})
    assert refused.status_code == 404
    assert "POST /v1/chat/completions" in refused.json()["error"]["message"]


def test_a_spent_budget_is_told_and_not_tried_again(model_server: ModelServer, relay: Relay, no_environment: None):
    settings = endpoint_settings(model_server, relay, DREAM_BUDGET_CALLS="1")
    with (
        gateway_client.opened(settings) as opened,
        served(opened, TOKEN) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN) as client,
    ):
        client.chat.completions.create(model="llm-small", messages=QUESTION)
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="llm-small", messages=[{"role": "user", "content": "Another?"}])
        assert caught.value.status_code == 402
        assert "budget" in str(caught.value)
        client.chat.completions.create(model="llm-small", messages=QUESTION)  # from the cache
    assert model_server.chat_calls() == 1


def test_an_endpoint_that_refuses_the_key_is_told_without_the_key(
    model_server: ModelServer, relay: Relay, client: openai.OpenAI
):
    relay.script = lambda seen: Reply(401, {"error": {"message": "Incorrect API key provided"}})
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="llm-small@relay", messages=QUESTION)
    assert caught.value.status_code in (401, 424)
    assert model_server.key not in str(caught.value)


def test_a_short_token_and_a_taken_port_are_refused(gateway: GatewayClient):
    with pytest.raises(ConfigurationError, match="5 characters: give at least 16"), served(gateway, "short"):
        pass
    with served(gateway, TOKEN) as url:
        port = int(url.rsplit(":", 1)[1])
        with (
            pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"),
            served(gateway, TOKEN, port=port),
        ):
            pass


def test_a_token_is_long_and_new_each_time():
    assert len(new_token()) > 40
    assert new_token() != new_token()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1")],
)
def test_the_address_that_is_told_can_be_reached(host: str, expected: str):
    assert base_url(host, 1) == expected
