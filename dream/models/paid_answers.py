"""`Paid`: the result of a request to an endpoint, as answers for the cache.

Cached answers of earlier versions are validated, and left out if they are invalid.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dream.models.answer_cache import Entry
from dream.models.answer_reading import body_of, read_chat
from dream.models.endpoint_client import EndpointClient
from dream.models.no_answer import NoAnswer
from dream.models.openai_wire import EMBEDDINGS_PATH, ModelRequest, ModelResponse, texts_of
from dream.models.rerank_reading import read_ranking
from dream.models.token_usage import Tokens, chat_tokens, text_tokens, with_usage
from dream.models.vector_reading import KnownVectors, problem_of


@dataclass(frozen=True)
class Paid:
    """The result of a request: the response, and its valid answers by key (none if it failed).

    `cached`: nothing was sent; `bought`: the keys of newly billed answers; `vectors`: those of an embeddings request,
    before each becomes an entry.
    """

    response: ModelResponse
    entries: Mapping[str, Entry]
    cached: bool = False
    bought: frozenset[str] = frozenset()
    vectors: Sequence[bytes] = ()


def entry_of(response: ModelResponse, tokens: Tokens) -> Entry:
    return Entry(response.body, response.seconds, tokens.prompt, tokens.completion, tokens.estimated, is_read=True)


def read_again(body: Mapping[str, Any], entry: Entry) -> Entry | None:
    """A cached answer in OpenAI's format; None if an earlier version stored an invalid one."""
    answer = read_chat(body, body_of(entry.content))
    if isinstance(answer, NoAnswer):
        return None
    tokens = chat_tokens(body, answer)
    content = json.dumps(with_usage(answer, tokens)).encode()
    return Entry(content, entry.seconds, tokens.prompt, tokens.completion, tokens.estimated)


def ranking_again(body: Mapping[str, Any], entry: Entry) -> Entry | None:
    """A cached ranking; None if it is invalid."""
    answer = read_ranking(body, entry.content, "application/json")
    return None if isinstance(answer, NoAnswer) else entry


def read_vector(entry: Entry) -> Entry | None:
    is_whole = entry.content and len(entry.content) % 4 == 0
    return entry if is_whole and problem_of([entry.content], [""]) is None else None


def alike(cached: dict[str, Entry], texts: Mapping[str, Any], known: KnownVectors) -> dict[str, Entry]:
    """The cached vectors that are consistent with the known properties of the model's vectors and with each other."""
    good = {key: entry for key, entry in cached.items() if known.length in (0, len(entry.content) // 4)}
    if good and problem_of([entry.content for entry in good.values()], [texts[key] for key in good]):
        return {}
    return good


def uneven(entries: Iterable[Entry]) -> NoAnswer | None:
    """The failure if vectors, some of them cached, have different lengths; None if all lengths are equal."""
    lengths = sorted({len(entry.content) // 4 for entry in entries})
    if len(lengths) < 2:
        return None
    return NoAnswer(
        f"gave vectors of lengths {', '.join(map(str, lengths))} under one name, some of them in an earlier run. If "
        "another model has this name now, remove the earlier vectors with `dream cache --empty`"
    )


def vector_entries(paid: Paid, texts: Mapping[str, Any]) -> dict[str, Entry]:
    """A vector for each text, with tokens in proportion to its length."""
    (together,) = paid.entries.values()
    whole = sum(len(text) for text in texts.values()) or 1
    shares = {key: len(text) / whole for key, text in texts.items()}
    prompt, estimated = together.prompt_tokens, together.estimated
    return {
        key: Entry(vector, paid.response.seconds, prompt * shares[key], 0, estimated * shares[key], is_read=True)
        for key, vector in zip(texts, paid.vectors, strict=True)
    }


def useless_tokens(request: ModelRequest, body: Mapping[str, Any], content: bytes) -> Tokens:
    """The billed tokens of a useless response: those it reports, else an estimate from its text."""
    answer = body_of(content)
    if isinstance(answer, NoAnswer) or not (answer.get("choices") or answer.get("data") or answer.get("usage")):
        return Tokens()
    return text_tokens(texts_of(body), answer) if request.path == EMBEDDINGS_PATH else chat_tokens(body, answer)


def error_response(client: EndpointClient, failure: NoAnswer, seconds: float) -> ModelResponse:
    return ModelResponse(failure.status, client.error_body(failure), seconds=seconds)
