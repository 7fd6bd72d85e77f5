"""Requests and responses of the gateway in the format of OpenAI's API, and the cache keys of requests."""

import base64
import json
from array import array
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dream.records import digest

CHAT_PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"
RERANK_PATH = "/rerank"
NO_LIMIT = float("inf")

# Set it in a task to have its calls made anew: the repeat number of those that have none of their own.
repeat_of_task: ContextVar[int] = ContextVar("repeat_of_task", default=0)


@dataclass(frozen=True)
class ModelRequest:
    """One HTTP request to a model. `path` is below the endpoint's base URL, e.g. "/chat/completions".

    `repeat` distinguishes intentionally identical requests, such as repeated judgements. `timeout_seconds` is the
    caller's own limit, which counts where it is shorter than the endpoint's. `schema` is a JSON schema for the answer
    that is stricter than the one in the body; it is not sent, and not part of the key.
    """

    endpoint: str
    method: str
    path: str
    body: bytes
    stage: str = ""
    trial: str = ""
    repeat: int = 0
    timeout_seconds: float = NO_LIMIT
    schema: str = ""


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
