"""Requests and answers of the OpenAI API: what is the same request, and what is not the answer that was asked for."""

import json
from dataclasses import replace

import pytest

from dream.models.openai_wire import (
    ModelRequest,
    embeddings_answer,
    parsed,
    request_key,
    text_keys,
)
from dream.models.vector_reading import read_vectors


def test_every_part_of_a_request_is_in_its_key_and_the_order_of_fields_is_not():
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.0, "max_tokens": 5}
    request = ModelRequest("e", "POST", "/chat/completions", b"")
    keys = {request_key("http://a/v1", request, body)}
    assert request_key("http://a/v1", request, dict(reversed(body.items()))) in keys
    assert request_key("http://a/v1", replace(request, trial="t", stage="s", timeout_seconds=1), body) in keys
    for change in ({"model": "n"}, {"temperature": 0.1}, {"max_tokens": 6}, {"messages": []}, {"seed": 1}):
        keys.add(request_key("http://a/v1", request, {**body, **change}))
    keys |= {request_key("http://b/v1", request, body), request_key("http://a/v1", replace(request, repeat=1), body)}
    keys.add(request_key("http://a/v1", replace(request, path="/completions"), body))
    assert len(keys) == 9


def test_a_text_has_one_key_however_vectors_are_encoded_and_whatever_stands_beside_it():
    request = ModelRequest("e", "POST", "/embeddings", b"")

    def keys(given, address="http://a/v1", repeat=0, **more) -> list[str]:
        return text_keys(address, replace(request, repeat=repeat), {"model": "m", "input": given, **more})

    first, second = keys(["one", "two"])
    assert keys(["two", "one"]) == [second, first]
    assert keys("one", encoding_format="base64") == keys("one", encoding_format="float") == [first]
    others = [*keys("one", dimensions=8), *keys("one", "http://b/v1"), *keys("one", repeat=1), *keys([111])]
    assert len({first, second, *others}) == 6


@pytest.mark.parametrize("encoding", ["base64", "float", None])
def test_an_embeddings_answer_gives_its_vectors_back(encoding: str | None):
    vectors = [b"\x00\x00\x80\x3f", b"\x00\x00\x80\x3e"]
    answer = json.loads(json.dumps(embeddings_answer("m", vectors, encoding, 7)))
    assert read_vectors(["one", "two"], answer) == vectors
    assert isinstance(answer["data"][0]["embedding"], str) == (encoding == "base64")
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert "usage" not in embeddings_answer("m", vectors, encoding, None)


@pytest.mark.parametrize(
    ("content", "value"), [(b'{"a": 1}', {"a": 1}), (b"[1]", None), (b"", None), (b"\xff\xfe", None), (b'{"a"', None)]
)
def test_a_body_is_a_json_object_or_none(content: bytes, value: dict | None):
    assert parsed(content) == value


def test_json_that_is_nested_too_deeply_is_unreadable():
    """Such as a model in a loop writes."""
    nested = '{"a":' + "[" * 100_000
    assert parsed(nested.encode()) is None
