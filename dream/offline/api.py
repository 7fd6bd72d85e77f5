"""Responses to requests in OpenAI's format, as pure functions: no HTTP, and independent of time and chance."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from dream.offline.answering import answer, relevance
from dream.offline.embeddings import EMBEDDING_MODELS, INPUT_LIMIT_TOKENS, embed
from dream.offline.generator import STRING_TASKS, TESTSET_SCHEMAS
from dream.offline.judge import METRIC_SCHEMAS
from dream.offline.prompts import message_text
from dream.offline.schemas import Task, read_task
from dream.offline.words import count_tokens

CONTEXT_WINDOWS = {"llm-small": 16_384, "llm-large": 131_072, "judge": 131_072}
SCHEMAS = (*METRIC_SCHEMAS, *TESTSET_SCHEMAS, "StringIO (title or summary)")
_HANDLERS = {**METRIC_SCHEMAS, **TESTSET_SCHEMAS}
RERANK_MODEL = "rerank"
MODELS = (*CONTEXT_WINDOWS, *EMBEDDING_MODELS, RERANK_MODEL)
_MOST_INPUTS = 2048
_MOST_CHOICES = 16


class ApiError(Exception):
    """An error response in OpenAI's format."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None):
        super().__init__(message)
        self.status = status
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
        self.type = "server_error" if status >= 500 else kind
        self.code = code
        self.param = param

    def as_dict(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Reply:
    """A response body and its tokens. `texts` is the number of embedded texts."""

    body: dict[str, Any]
    model: str
    tokens_in: int
    tokens_out: int = 0
    texts: int = 0


def list_models() -> dict[str, Any]:
    """GET /v1/models."""
    return {"object": "list", "data": [describe_model(name) for name in MODELS]}


def describe_model(name: str) -> dict[str, Any]:
    """GET /v1/models/{id}, with the additional fields `context_window` and `dimensions`."""
    _check_model(name, MODELS)
    described: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "dream-offline"}
    if name in EMBEDDING_MODELS:
        return described | {"dimensions": EMBEDDING_MODELS[name].dimensions, "context_window": INPUT_LIMIT_TOKENS}
    if name == RERANK_MODEL:
        return described
    return described | {"context_window": CONTEXT_WINDOWS[name]}


def chat_completion(body: dict[str, Any], fault: str | None = None) -> Reply:
    """POST /v1/chat/completions. `fault` is "malformed", "wrong_schema", "truncated" or None."""
    model = _check_model(body.get("model"), tuple(CONTEXT_WINDOWS))
    messages = _check_messages(body.get("messages"))
    choices = _check_count(body.get("n"))
    tokens_in = _check_length(model, messages)
    task = read_task(body)
    content = _structured(model, task) if task else answer(model, messages)
    content, finish = _spoil(content, fault, structured=task is not None)
    content, finish = _cut(content, body.get("max_completion_tokens") or body.get("max_tokens"), finish)
    tokens_out = count_tokens(content) * choices
    message = _message(content, task)
    finish = "tool_calls" if task and task.tool and finish == "stop" else finish
    completion = {
        "id": "chatcmpl-" + blake2b((model + content).encode(), digest_size=12).hexdigest(),
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": i, "message": message, "logprobs": None, "finish_reason": finish} for i in range(choices)
        ],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out},
    }
    return Reply(completion, model, tokens_in, tokens_out)


def embeddings(body: dict[str, Any]) -> Reply:
    """POST /v1/embeddings."""
    model = _check_model(body.get("model"), tuple(EMBEDDING_MODELS))
    texts = _check_inputs(body.get("input"))
    dimensions = EMBEDDING_MODELS[model].dimensions
    if body.get("dimensions") not in (None, dimensions):
        message = (
            f"{model} has {dimensions} dimensions and no others; leave `dimensions` out or set it to {dimensions}."
        )
        raise ApiError(400, message, "invalid_dimensions", "dimensions")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise ApiError(
            400, f"encoding_format {encoding!r} is not known; valid: float, base64.", "invalid_value", "encoding_format"
        )
    counts = [count_tokens(text) for text in texts]
    if max(counts) > INPUT_LIMIT_TOKENS:
        longest = counts.index(max(counts))
        message = f"Input {longest} has {max(counts)} tokens; {model} takes at most {INPUT_LIMIT_TOKENS}. Split it."
        raise ApiError(400, message, "context_length_exceeded", "input")
    vectors = embed(model, texts)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)}
        for index, vector in enumerate(vectors)
    ]
    total = sum(counts)
    reply = {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": total, "total_tokens": total}}
    return Reply(reply, model, total, texts=len(texts))


def rerank(body: dict[str, Any]) -> Reply:
    """POST /v1/rerank, in the form of Cohere, Jina and vLLM: the most relevant document first."""
    model = _check_model(body.get("model"), (RERANK_MODEL,))
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not query.strip():
        raise ApiError(400, "`query` must be a text.", "invalid_type", "query")
    if not isinstance(documents, list) or not documents or not all(isinstance(text, str) for text in documents):
        raise ApiError(400, "`documents` must be a list of at least one text.", "invalid_type", "documents")
    scores = [round(relevance(query, text), 6) for text in documents]
    order = sorted(range(len(documents)), key=lambda index: -scores[index])[: body.get("top_n") or len(documents)]
    total = count_tokens(query) * len(documents) + sum(map(count_tokens, documents))
    results = [{"index": index, "relevance_score": scores[index]} for index in order]
    reply = {"model": model, "results": results, "usage": {"total_tokens": total}}
    return Reply(reply, model, total, texts=len(documents))


def _encoded(vector: Any, encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.round(7).astype(float).round(7).tolist()


def _structured(model: str, task: Task) -> str:
    handler = _handler(task)
    if handler is None:
        what = f"The schema {task.schema!r} is not supported" if task.schema else "No named JSON schema was found"
        message = f"{what}. The offline models never invent an answer; they know: {', '.join(SCHEMAS)}."
        raise ApiError(400, message, "unsupported_schema", "response_format")
    if not isinstance(task.data, dict):
        message = (
            f"No JSON input for {task.schema} was found; expected 'input: {{...}}' at the end, as ragas writes it."
        )
        raise ApiError(400, message, "unsupported_schema", "messages")
    try:
        return json.dumps(handler(task.data, model != "llm-small"), ensure_ascii=False)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"The input for {task.schema} lacks or misuses a field ({error!r}); it has: {', '.join(task.data)}."
        raise ApiError(400, message, "unsupported_schema", "messages") from error


def _handler(task: Task) -> Callable[[dict, bool], dict] | None:
    if task.schema == "StringIO":
        asked = task.instruction.lower()
        return next((handler for word, handler in STRING_TASKS.items() if word in asked), None)
    return _HANDLERS.get(task.schema or "")


def _spoil(content: str, fault: str | None, structured: bool) -> tuple[str, str]:
    if fault == "truncated":
        return content[: max(len(content) // 2, 1)], "length"
    if fault == "malformed" and structured:
        return content[: max(len(content) * 2 // 3, 1)] + '", {', "stop"
    if fault == "wrong_schema" and structured:
        return json.dumps({"unexpected": "This object does not follow the schema."}), "stop"
    return content, "stop"


def _cut(content: str, most_tokens: int | None, finish: str) -> tuple[str, str]:
    """Truncate the text to `max_tokens`."""
    if not most_tokens or count_tokens(content) <= most_tokens:
        return content, finish
    low, high = 0, len(content)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(content[:middle]) <= most_tokens else (low, middle - 1)
    return content[:low], "length"


def _message(content: str, task: Task | None) -> dict[str, Any]:
    if not task or not task.tool:
        return {"role": "assistant", "content": content, "refusal": None}
    call_id = "call_" + blake2b(content.encode(), digest_size=12).hexdigest()
    call = {"id": call_id, "type": "function", "function": {"name": task.tool, "arguments": content}}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def _check_model(name: Any, valid: tuple[str, ...]) -> str:
    if name is None:
        raise ApiError(400, "`model` is missing.", "missing_required_parameter", "model")
    if name not in valid:
        raise ApiError(
            404, f"The model {name!r} does not exist here; valid: {', '.join(valid)}.", "model_not_found", "model"
        )
    return name


def _check_messages(messages: Any) -> list[dict]:
    if messages is None:
        raise ApiError(400, "`messages` is missing.", "missing_required_parameter", "messages")
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(m, dict) and m.get("role") for m in messages)
    ):
        message = "`messages` must be a list of at least one object with `role` and `content`."
        raise ApiError(400, message, "invalid_type", "messages")
    return messages


def _check_count(count: Any) -> int:
    count = 1 if count is None else count
    if not isinstance(count, int) or not 1 <= count <= _MOST_CHOICES:
        raise ApiError(400, f"`n` is {count!r}; give a whole number from 1 to {_MOST_CHOICES}.", "invalid_value", "n")
    return count


def _check_length(model: str, messages: list[dict]) -> int:
    count = sum(count_tokens(message_text(message)) + 4 for message in messages)
    if count > CONTEXT_WINDOWS[model]:
        message = (
            f"{model} reads at most {CONTEXT_WINDOWS[model]} tokens; the messages have {count}. Shorten the messages."
        )
        raise ApiError(400, message, "context_length_exceeded", "messages")
    return count


def _check_inputs(inputs: Any) -> list[str]:
    if inputs is None:
        raise ApiError(400, "`input` is missing.", "missing_required_parameter", "input")
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        message = (
            "`input` must be a text or a list of texts; lists of token numbers are not supported: send the text itself."
        )
        raise ApiError(400, message, "invalid_type", "input")
    if len(texts) > _MOST_INPUTS:
        raise ApiError(
            400, f"`input` has {len(texts)} texts; at most {_MOST_INPUTS} a request.", "invalid_value", "input"
        )
    if empty := [index for index, text in enumerate(texts) if not text]:
        raise ApiError(
            400, f"`input` {empty[0]} is an empty text; send at least one character.", "invalid_value", "input"
        )
    return texts
