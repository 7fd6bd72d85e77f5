"""Every endpoint, every refusal, through HTTP."""

import base64
import json
import struct

import httpx
import openai
import pytest

from dream.offline.process import OfflineServer

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello?"}]
TOO_LONG = [{"role": "user", "content": "word " * 20_000}]
JSON_OBJECT = {"type": "json_object"}


def refused(response: httpx.Response, status: int, code: str) -> str:
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"]


def test_models_are_listed_and_described(models):
    assert [model.id for model in models.client.models.list()] == [
        "llm-small", "llm-large", "judge", "embed-small", "embed-large", "rerank",
    ]  # fmt: skip
    assert models.client.models.retrieve("embed-large").model_dump()["dimensions"] == 1024
    with pytest.raises(openai.NotFoundError, match="valid: llm-small"):
        models.client.models.retrieve("gpt-4o")


def test_chat_without_context_says_so(models):
    completion = models.ask("llm-large", "What is the capital of France?", n=2)
    assert [choice.message.content for choice in completion.choices] == [
        "I was given no context, so I cannot answer this question."
    ] * 2
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


def test_streaming_sends_the_same_words(models):
    whole = models.ask("llm-large", "Hello?").choices[0].message.content
    events = list(models.ask("llm-large", "Hello?", stream=True, stream_options={"include_usage": True}))
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == whole
    assert events[-1].usage.total_tokens > 0


def test_max_tokens_cuts_and_says_so(models):
    choice = models.ask("llm-large", "Hello?", max_tokens=4).choices[0]
    assert choice.finish_reason == "length"
    assert "I was given no context".startswith(choice.message.content)


def test_embeddings_in_both_encodings(models):
    texts = ["Six wind turbines.", "Two old pumps."]
    floats = models.post("/v1/embeddings", model="embed-small", input=texts, encoding_format="float").json()
    coded = models.post("/v1/embeddings", model="embed-small", input=texts, encoding_format="base64").json()
    for plain, packed in zip(floats["data"], coded["data"], strict=True):
        unpacked = struct.unpack("<256f", base64.b64decode(packed["embedding"]))
        assert unpacked == pytest.approx(plain["embedding"], abs=1e-6)
        assert sum(value**2 for value in unpacked) == pytest.approx(1, abs=1e-5)
    one = models.client.embeddings.create(model="embed-small", input=texts[0])
    assert one.data[0].embedding == pytest.approx(floats["data"][0]["embedding"], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (CHAT, {"model": "gpt-4o", "messages": HELLO}, 404, "model_not_found"),
        (CHAT, {"model": "embed-small", "messages": HELLO}, 404, "model_not_found"),
        (CHAT, {"messages": HELLO}, 400, "missing_required_parameter"),
        (CHAT, {"model": "judge"}, 400, "missing_required_parameter"),
        (CHAT, {"model": "judge", "messages": []}, 400, "invalid_type"),
        (CHAT, {"model": "judge", "messages": HELLO, "n": 0}, 400, "invalid_value"),
        (CHAT, {"model": "llm-small", "messages": TOO_LONG}, 400, "context_length_exceeded"),
        (CHAT, {"model": "judge", "messages": HELLO, "response_format": JSON_OBJECT}, 400, "unsupported_schema"),
        ("/v1/embeddings", {"model": "judge", "input": "a"}, 404, "model_not_found"),
        ("/v1/embeddings", {"model": "embed-small"}, 400, "missing_required_parameter"),
        ("/v1/embeddings", {"model": "embed-small", "input": [[1, 2, 3]]}, 400, "invalid_type"),
        ("/v1/embeddings", {"model": "embed-small", "input": [1, 2, 3]}, 400, "invalid_type"),
        ("/v1/embeddings", {"model": "embed-small", "input": ["a", ""]}, 400, "invalid_value"),
        ("/v1/embeddings", {"model": "embed-small", "input": "word " * 9000}, 400, "context_length_exceeded"),
        ("/v1/embeddings", {"model": "embed-small", "input": "a", "dimensions": 512}, 400, "invalid_dimensions"),
        ("/v1/embeddings", {"model": "embed-small", "input": "a", "encoding_format": "int8"}, 400, "invalid_value"),
        ("/v1/completions", {"model": "judge", "prompt": "Hello?"}, 404, "unknown_url"),
        ("/faults", {"speed": 9, "error_share": 2}, 400, "invalid_switch"),
    ],
)  # fmt: skip
def test_refusals(models, path, body, status, code):
    assert refused(models.post(path, **body), status, code)


def test_refusals_name_what_is_valid(models):
    assert "valid: llm-small, llm-large, judge" in refused(
        models.post(CHAT, model="x", messages=HELLO), 404, "model_not_found"
    )
    message = refused(models.post("/faults", speed=9, error_share=2), 400, "invalid_switch")
    assert "'speed' is not a switch" in message and "error_share=2: give a share between 0 and 1" in message
    assert models.post("/v1/embeddings", model="embed-large", input="a", dimensions=1024).status_code == 200


@pytest.mark.parametrize("body", [b"{not json", b"[1]", b""])
def test_a_body_that_is_no_json_object(models, body):
    refused(httpx.post(models.root + CHAT, content=body), 400, "invalid_json")


def test_a_wrong_key_is_refused():
    with OfflineServer.start(api_key="right") as server:
        with pytest.raises(openai.AuthenticationError, match="invalid_api_key"):
            openai.OpenAI(api_key="wrong", base_url=server.base_url).models.list()
        assert openai.OpenAI(api_key="right", base_url=server.base_url).models.list().data


def test_counters_count(models):
    models.post("/counters/reset")
    for text in ("a", "a", "b"):
        models.post("/v1/embeddings", model="embed-small", input=[text, "c d"])
    models.ask("llm-small", "Hello?")
    models.post(CHAT, model="unknown", messages=HELLO)
    counted = models.get("/counters")
    assert counted["by_path"] == {"/v1/embeddings": 3, CHAT: 2}
    assert counted["by_status"] == {"200": 4, "404": 1}
    assert counted["distinct_bodies"] == {"/v1/embeddings": 2, CHAT: 2}
    assert counted["texts_embedded"] == 6
    assert counted["by_model"]["llm-small"]["tokens_out"] == counted["tokens_out"] > 0


SCHEMA = {
    "title": "StatementGeneratorOutput",
    "type": "object",
    "properties": {"statements": {"type": "array", "items": {"type": "string"}}},
}
PROMPT = (
    "Break it down.\n\nNow perform the same with the following input\n"
    'input: {"question": "Q?", "answer": "Ants dig. Bees fly."}\nOutput: '
)
STATEMENTS = {"statements": ["Ants dig.", "Bees fly."]}


def test_structured_answer_by_json_schema(models):
    response_format = {"type": "json_schema", "json_schema": {"name": "StatementGeneratorOutput", "schema": SCHEMA}}
    assert (
        json.loads(models.ask("judge", PROMPT, response_format=response_format).choices[0].message.content)
        == STATEMENTS
    )


def test_structured_answer_by_tool_call(models):
    tool = {"type": "function", "function": {"name": "StatementGeneratorOutput", "parameters": SCHEMA}}
    choice = {"type": "function", "function": {"name": "StatementGeneratorOutput"}}
    reply = models.ask("judge", PROMPT, tools=[tool], tool_choice=choice).choices[0]
    assert reply.finish_reason == "tool_calls"
    assert json.loads(reply.message.tool_calls[0].function.arguments) == STATEMENTS


def test_structured_answer_by_prompt_alone(models):
    prompt = f"comply with the following schema as specified in JSON Schema:\n{json.dumps(SCHEMA)}Do it.\n{PROMPT}"
    assert json.loads(models.ask("judge", prompt).choices[0].message.content) == STATEMENTS


def test_an_unknown_schema_is_refused_with_the_known_ones(models):
    response_format = {"type": "json_schema", "json_schema": {"name": "Poem", "schema": {"title": "Poem"}}}
    with pytest.raises(openai.BadRequestError, match=r"'Poem' is not supported.*NLIStatementOutput"):
        models.ask("judge", PROMPT, response_format=response_format)
