"""Base URLs as users paste them, and the header of the key: what works is found, or said."""

import openai
import pytest
from model_servers import Reply, endpoint_settings
from servers import HTTP

from dream.models import gateway_client
from dream.models.endpoint_access import Access, alternatives, key_headers, message_where_nothing_is, url_of
from dream.models.pickers import llm_picker
from dream.settings import Settings

AZURE = "https://a.example/openai/deployments/d"


@pytest.mark.parametrize(
    ("pasted", "url"),
    [
        ("http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/embeddings/", "http://h:1/v1/chat/completions"),
        (f"{AZURE}?api-version=1", f"{AZURE}/chat/completions?api-version=1"),
        (f"{AZURE}/chat/completions?api-version=1", f"{AZURE}/chat/completions?api-version=1"),
        ("http://h:1", "http://h:1/chat/completions"),
    ],
)
def test_a_base_url_may_be_pasted_in_many_forms(pasted, url):
    (endpoint,) = Settings.from_environment({"DREAM_ENDPOINT_X_BASE_URL": pasted}).endpoints
    assert url_of(endpoint.base_url, "/chat/completions") == url


def test_the_key_is_in_one_header():
    assert key_headers(Access(), "k") == {"authorization": "Bearer k"}
    assert key_headers(Access(header="api-key"), "k") == {"api-key": "k"}
    assert key_headers(Access(), None) == {}


def test_what_worked_once_is_not_looked_for_again():
    assert alternatives(Access(is_proved=True), "http://h", True, 401, "") == []
    assert alternatives(Access(), "http://h", False, 401, "") == []
    assert alternatives(Access(), "http://h/v1", True, 404, "not found") == []
    assert alternatives(Access(), "http://h", True, 404, "the model m does not exist") == []
    assert next(found.prefix for found in alternatives(Access(), "http://h", True, 404, "")) == "/v1"
    assert "http://h/chat/completions: X_BASE_URL must be" in message_where_nothing_is("http://h", "X_BASE_URL")


def opened(model_server, relay, **more: str):
    return gateway_client.opened(endpoint_settings(model_server, relay, **more))


def test_a_base_url_without_v1_is_completed_and_told(model_server, relay, no_environment):
    root = relay.base_url.removesuffix("/v1")
    relay.script = lambda seen: None if seen.path.startswith("/v1/") else Reply(404, {"detail": "Not Found"})
    with opened(model_server, relay, DREAM_ENDPOINT_RELAY_BASE_URL=root) as gateway:
        llm = llm_picker("llm-small@relay")
        assert llm.complete("one").text
        assert llm.complete("two").text
        assert gateway.form("relay", "llm-small") == {"prefix": "/v1"}
        assert gateway.form_explained("relay", "llm-small") == [
            f"its API is at {relay.base_url}: write this as its BASE_URL"
        ]
    assert [seen.path for seen in relay.requests] == ["/chat/completions", *["/v1/chat/completions"] * 2]


def test_a_key_may_be_wanted_in_the_header_api_key(model_server, relay, no_environment):
    def script(seen):
        return None if seen.headers.get("api-key") == model_server.key else Reply(401, {"error": {"message": "no key"}})

    def passed_on(seen):  # the models themselves take the key as Bearer
        reply = script(seen)
        if reply is None:
            headers = {"authorization": f"Bearer {model_server.key}"}
            answer = HTTP.post(f"{model_server.root}{seen.path}", content=seen.text, headers=headers)
            reply = Reply(answer.status_code, answer.json())
        return reply

    relay.script = passed_on
    with opened(model_server, relay) as gateway:
        llm = llm_picker("llm-small@relay")
        assert [llm.complete("one").text, llm.complete("two").text]
        assert "AUTH_HEADER=api-key" in gateway.form_explained("relay", "llm-small")[0]
    assert ["api-key" in seen.headers for seen in relay.requests] == [False, True, True]
    relay.requests.clear()
    with opened(model_server, relay, DREAM_ENDPOINT_RELAY_AUTH_HEADER="api-key"):
        assert llm_picker("llm-small@relay").complete("three").text
    assert [seen.headers.get("authorization") for seen in relay.requests] == [None]


def test_where_nothing_is_each_place_is_tried_once(model_server, relay, no_environment):
    relay.script = lambda seen: Reply(404, {"detail": "Not Found"})
    root = relay.base_url.removesuffix("/v1")
    with opened(model_server, relay, DREAM_ENDPOINT_RELAY_BASE_URL=root):
        for _ in range(2):
            with pytest.raises(openai.NotFoundError):
                llm_picker("llm-small@relay").complete("one")
    assert [seen.path.removesuffix("/chat/completions") for seen in relay.requests] == [
        "",
        "/v1",
        "/openai/v1",
        "/api/v1",
        "",
    ]
