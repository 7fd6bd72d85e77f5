"""Requests and responses of the gateway in the format of OpenAI's API, and the cache keys of requests."""

import base64
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dream.records import digest

CHAT_PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"
NO_LIMIT = float("inf")


@dataclass(frozen=True)
class ModelRequest:
    """One HTTP request to a model. `path` is below the endpoint's base URL, e.g. "/chat/completions".

    `repeat` distinguishes intentionally identical requests, such as repeated judgements. `timeout_seconds` is the
    caller's own limit, which counts where it is shorter than the endpoint's.
    """

    endpoint: str
    method: str
    path: str
    body: bytes
    stage: str = ""
    trial: str = ""
    repeat: int = 0
    timeout_seconds: float = NO_LIMIT


@dataclass(frozen=True)
class ModelResponse:
    """The response to a request. `status` is 0 without an HTTP response; `body` is then the reason in plain text.

    `seconds` is the endpoint's response time, for a cached answer that of the original request. `cached` is true for
    an answer from the cache.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    seconds: float = 0.0
    cached: bool = False


def parsed(content: bytes) -> dict[str, Any] | None:
    """The JSON object in a request or response body; None if it is not a JSON object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):  # RecursionError: JSON that is nested too deeply
        return None
    return value if isinstance(value, dict) else None


def request_key(address: str, request: ModelRequest, body: Mapping[str, Any]) -> str:
    """The cache key of a request: a digest of the endpoint's address, path, body and repeat number."""
    return digest([address, request.path, body, request.repeat])


def text_keys(address: str, request: ModelRequest, body: Mapping[str, Any]) -> list[str]:
    """The cache key of each text of an embeddings request, independent of `encoding_format`."""
    rest = {name: value for name, value in body.items() if name not in ("input", "encoding_format")}
    return [digest([address, request.path, rest, text, request.repeat]) for text in texts_of(body)]


def texts_of(body: Mapping[str, Any]) -> list[Any]:
    """The inputs of an embeddings request, each a text or a list of tokens.

    Example:
        >>> texts_of({"input": "one"}), texts_of({"input": [1, 2]}), texts_of({"input": ["a", "b"]})
        (['one'], [[1, 2]], ['a', 'b'])
    """
    given = body.get("input", [])
    single = isinstance(given, str) or (bool(given) and all(isinstance(item, int) for item in given))
    return [given] if single else list(given)


def vectors_of(answer: Mapping[str, Any], n_texts: int) -> list[bytes] | None:
    """The vectors of an embeddings answer as float32 bytes, in the order of the texts; None if one is missing."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(n_texts)):
            return None
        return [_float32(row["embedding"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        return None


def _float32(vector: str | Sequence[float]) -> bytes:
    packed = base64.b64decode(vector, validate=True) if isinstance(vector, str) else array("f", vector).tobytes()
    if not packed or len(packed) % 4:
        raise ValueError("a vector is cut off")
    return packed


def embeddings_answer(
    model: str, vectors: Sequence[bytes], encoding: str | None, prompt_tokens: int | None
) -> dict[str, Any]:
    """An embeddings answer in OpenAI's format.

    Args:
        vectors: float32 bytes.
        encoding: the request's `encoding_format`; "base64", anything else for numbers.
        prompt_tokens: None leaves out `usage`.
    """
    encoded = [
        base64.b64encode(vector).decode() if encoding == "base64" else array("f", vector).tolist() for vector in vectors
    ]
    rows = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(encoded)]
    answer: dict[str, Any] = {"object": "list", "data": rows, "model": model}
    if prompt_tokens is not None:
        answer["usage"] = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return answer


def chat_problem(body: Mapping[str, Any], answer: Mapping[str, Any] | None) -> str | None:
    """The reason why a chat answer is unusable, such as JSON that does not match the schema; None if it is usable."""
    try:
        choice = (answer or {})["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError):
        return "it is not a chat completion"
    schema = _asked_schema(body)
    if schema is None:
        return None
    if choice.get("finish_reason") == "length":
        return None  # a retry would be cut off again; the client reports it
    try:
        value = json.loads(json_text(message))
    except (ValueError, RecursionError):
        return "it is not the requested JSON"
    return None if _validator(schema).is_valid(value) else "its JSON does not match the schema"


def _asked_schema(body: Mapping[str, Any]) -> str | None:
    """The JSON schema that the answer must match, as text; "{}" for any JSON, None if no JSON is requested."""
    asked = body.get("response_format") or {}
    if body.get("tools") and body.get("tool_choice"):
        return json.dumps(body["tools"][0]["function"].get("parameters") or {}) if len(body["tools"]) == 1 else "{}"
    if asked.get("type") == "json_schema":
        return json.dumps(asked["json_schema"].get("schema") or {})
    if asked.get("type") != "json_object":
        return None
    text = next((m["content"] for m in body.get("messages", ()) if "json_schema:" in str(m.get("content"))), "")
    return _schema_in(text) if isinstance(text, str) else "{}"


@lru_cache(maxsize=256)
def _schema_in(prompt: str) -> str:
    """The schema that the library instructor writes into a prompt after "json_schema:"."""
    start = prompt.find("{", prompt.find("json_schema:"))
    try:
        return json.dumps(json.JSONDecoder().raw_decode(prompt, start)[0]) if start >= 0 else "{}"
    except ValueError:
        return "{}"


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    from jsonschema_rs import Draft202012Validator

    try:
        return Draft202012Validator(json.loads(schema))
    except ValueError:
        return Draft202012Validator({})  # an invalid schema: accept any JSON


def json_text(message: Mapping[str, Any]) -> str:
    """The JSON in a chat answer's message, without the Markdown around it.

    Example:
        >>> json_text({"role": "assistant", "content": 'Here it is: ```json {"a": 1} ```'})
        '{"a": 1}'
    """
    calls = message.get("tool_calls") or []
    text: str = (calls[0]["function"]["arguments"] if calls else message.get("content")) or ""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
