"""Identifiers become models; what cannot work is said before anything is spent, all at once."""

import pytest
from model_servers import chat_reply, endpoint_settings

from dream.models import gateway_client
from dream.models.cache_format import slug
from dream.models.pickers import (
    CONTEXT_WINDOW_WHEN_UNKNOWN,
    JUDGE_MAX_TOKENS,
    check_identifiers,
    embed_model_picker,
    endpoint_urls,
    judge_embed_model_picker,
    judge_llm_picker,
    llm_picker,
    split_identifier,
)
from dream.settings import Settings


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("meta-llama/Llama-3.1-8B-Instruct@vllm", ("vllm", "meta-llama/Llama-3.1-8B-Instruct")),
        ("model@My_Lab", ("my_lab", "model")),
        ("model@2024-08-06@azure", ("azure", "model@2024-08-06")),
        ("@cf/meta/llama-3.1-8b@cloudflare", ("cloudflare", "@cf/meta/llama-3.1-8b")),
        ("@cf/meta/llama-3.1-8b", ("openai", "@cf/meta/llama-3.1-8b")),
        ("hf.co/x/y:Q4_K_M@ollama", ("ollama", "hf.co/x/y:Q4_K_M")),
        ("models/gemini-1.5 pro@gemini", ("gemini", "models/gemini-1.5 pro")),
        ("model@2024-08-06", ("openai", "model@2024-08-06")),
        ("offline/judge", ("offline", "judge")),
        ("offline", ("openai", "offline")),
    ],
)
def test_identifiers_name_an_endpoint_and_a_model(identifier, parts):
    assert split_identifier(identifier) == parts


def test_any_model_name_is_taken_and_known_windows_are_used(model_server, relay, no_environment):
    settings = endpoint_settings(model_server, relay, DREAM_ENDPOINT_RELAY_CONTEXT_WINDOW="4321")
    with gateway_client.opened(settings):
        windows = {
            identifier: llm_picker(identifier).metadata.context_window
            for identifier in ("gpt-4o", "my-own-model", "my-own-model@relay", "gpt-4o@relay", "offline/llm-large")
        }
        assert embed_model_picker("my-own-embedder").model_name == "my-own-embedder"
    assert windows == {
        "gpt-4o": 128_000,
        "my-own-model": CONTEXT_WINDOW_WHEN_UNKNOWN,
        "my-own-model@relay": 4321,
        "gpt-4o@relay": 4321,
        "offline/llm-large": CONTEXT_WINDOW_WHEN_UNKNOWN,
    }


ODD_NAMES = ("@cf/meta/llama-3.1-8b", "hf.co/x/y:Q4_K_M", "models/gemini 1.5 pro", "model@2024-08-06")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_models_own_name_reaches_the_endpoint_and_the_meter_unchanged(name, gateway, relay):
    relay.script = lambda seen: chat_reply("ready")
    assert llm_picker(f"{name}@relay").complete("hello").text == "ready"
    assert [seen.body["model"] for seen in relay.requests] == [name]
    assert [row.model for row in gateway.usage()] == [name]
    assert not {*"/: \\"} & {*slug(f"{relay.base_url} {name}")}
    assert check_identifiers([f"{name}@relay"], endpoint_settings(relay.models, relay)) == []


def test_an_unknown_endpoint_may_be_a_part_of_the_models_name(model_server, relay):
    (problem,) = check_identifiers(["model@v2"], endpoint_settings(model_server, relay))
    assert "DREAM_ENDPOINT_V2_BASE_URL, or write model@v2@openai" in problem


def test_requests_carry_the_model_and_no_randomness(gateway, relay):
    llm_picker("llm-large@relay").complete("hello")
    embed_model_picker("embed-small@relay").get_text_embedding("hello")
    chat, embedding = (seen.body for seen in relay.requests)
    assert (chat["model"], chat["temperature"]) == ("llm-large", 0.0)
    assert (embedding["model"], embedding["input"]) == ("embed-small", ["hello"])


async def test_the_judge_may_write_long_answers(gateway, relay):
    from pydantic import BaseModel

    class StatementGeneratorOutput(BaseModel):
        statements: list[str]

    relay.first(chat_reply({"statements": ["Rime is ice."]}))
    found = await judge_llm_picker("judge@relay").agenerate("Find the statements.", StatementGeneratorOutput)
    assert found.statements == ["Rime is ice."]
    assert relay.requests[0].body["max_tokens"] == JUDGE_MAX_TOKENS
    assert len(await judge_embed_model_picker("embed-small").aembed_text("hello")) == 256


def test_mistakes_in_identifiers_are_found_without_a_call(model_server, relay):
    settings = endpoint_settings(model_server, relay)
    assert check_identifiers(["llm-large", "any@relay", "offline/judge"], settings) == []
    without_default = Settings.from_environment({"DREAM_ENDPOINT_LAB_BASE_URL": "http://lab/v1"})
    problems = check_identifiers(["gpt-4o", "m@lab", "m@elsewhere", "@lab", "gpt-4o"], without_default)
    assert len(problems) == 3
    assert "OPENAI_API_KEY" in problems[0]
    assert "known: lab, offline. Set DREAM_ENDPOINT_ELSEWHERE_BASE_URL" in problems[1]
    assert "names no model" in problems[2]
    assert model_server.counters()["calls"] == 0


def test_records_say_where_the_models_were(gateway, model_server, relay):
    assert endpoint_urls(["llm-large", "x@relay"]) == {"llm-large": model_server.base_url, "x@relay": relay.base_url}
