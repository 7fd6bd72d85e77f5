"""`Paid`: what a request to an endpoint brought, as answers that are kept in the cache.

Answers that earlier versions kept are read again, and are left out where they are no answers.
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
    """The result of a request: the response, and the good answers in it by their keys (none where it failed).

    `cached`: nothing was sent; `bought`: the keys of answers that were paid for now; `vectors`: of an embeddings
    request, before each has its own entry.
    """

    response: ModelResponse
    entries: Mapping[str, Entry]
    cached: bool = False
    bought: frozenset[str] = frozenset()
    vectors: Sequence[bytes] = ()


def entry_of(response: ModelResponse, tokens: Tokens) -> Entry:
    return Entry(response.body, response.seconds, tokens.prompt, tokens.completion, tokens.estimated, is_read=True)


def read_again(body: Mapping[str, Any], entry: Entry) -> Entry | None:
    """A cached answer in OpenAI's format; None for what an earlier version kept although it is no answer."""
    answer = read_chat(body, body_of(entry.content))
    if isinstance(answer, NoAnswer):
        return None
    tokens = chat_tokens(body, answer)
    content = json.dumps(with_usage(answer, tokens)).encode()
    return Entry(content, entry.seconds, tokens.prompt, tokens.completion, tokens.estimated)


def ranking_again(body: Mapping[str, Any], entry: Entry) -> Entry | None:
    """A cached ranking; None for what is none."""
    answer = read_ranking(body, entry.content, "application/json")
    return None if isinstance(answer, NoAnswer) else entry


def read_vector(entry: Entry) -> Entry | None:
    is_whole = entry.content and len(entry.content) % 4 == 0
    return entry if is_whole and problem_of([entry.content], [""]) is None else None


def alike(cached: dict[str, Entry], texts: Mapping[str, Any], known: KnownVectors) -> dict[str, Entry]:
    """The cached vectors that fit what is known of the model's vectors and each other."""
    good = {key: entry for key, entry in cached.items() if known.length in (0, len(entry.content) // 4)}
    if good and problem_of([entry.content for entry in good.values()], [texts[key] for key in good]):
        return {}
    return good


def uneven(entries: Iterable[Entry]) -> NoAnswer | None:
    """The failure of vectors of different lengths, some of which were cached; None where all have one."""
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
    """The tokens that a response cost which is no answer: those it reports, else those of what was written."""
    answer = body_of(content)
    if isinstance(answer, NoAnswer) or not (answer.get("choices") or answer.get("data") or answer.get("usage")):
        return Tokens()
    return text_tokens(texts_of(body), answer) if request.path == EMBEDDINGS_PATH else chat_tokens(body, answer)


def error_response(client: EndpointClient, failure: NoAnswer, seconds: float) -> ModelResponse:
    return ModelResponse(failure.status, client.error_body(failure), seconds=seconds)
