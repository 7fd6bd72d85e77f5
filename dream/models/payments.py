"""`Payments`: sends requests to endpoints within the budget, and records their costs."""

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from dream.errors import DataError, EndpointError
from dream.models.answer_cache import Entry
from dream.models.call_log import CallLog
from dream.models.endpoint_client import EndpointClient
from dream.models.form_finder import FormFinder, Result
from dream.models.no_answer import NoAnswer
from dream.models.openai_wire import CHAT_PATH, EMBEDDINGS_PATH, RERANK_PATH, ModelRequest, ModelResponse, texts_of
from dream.models.paid_answers import Paid, entry_of, error_response, useless_tokens
from dream.models.reading import Readability, read_or_ask_again
from dream.models.token_usage import Tokens, chat_tokens, reported, text_tokens, with_usage
from dream.models.usage import CHECK_STAGE, Meter, Price, Usage, price_of
from dream.models.vector_reading import VECTORS, KnownVectors
from dream.settings import OFFLINE


@dataclass
class Payments:
    """Sends requests in the form that their server accepts, counts their costs, and refuses requests beyond the budget
    or to a judge with unreadable answers."""

    meter: Meter = field(default_factory=Meter)
    prices: Mapping[str, Price] = field(default_factory=dict)
    calls: CallLog = field(default_factory=CallLog)
    forms: FormFinder = field(default_factory=FormFinder)
    _readability: Readability = field(default_factory=Readability)
    _known_vectors: dict[str, KnownVectors] = field(default_factory=dict)

    async def send(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any] | None, usage: Usage
    ) -> Paid:
        """Send a request to its endpoint, within the budget."""
        model = (client.endpoint.name, str((body or {}).get("model", "")))
        is_check = request.stage == CHECK_STAGE
        attempts = 0

        def before_attempt(attempt: int) -> None:
            if not is_check:
                self.meter.check_budget()
                if reason := self._readability.refusal(*model, request.stage):
                    raise EndpointError(reason)
            nonlocal attempts
            attempts += 1
            usage.sent += 1
            usage.retried += attempts > 1

        def on_useless(content: bytes) -> None:
            tokens = useless_tokens(request, body or {}, content)
            usage.count_answer(self._price(usage, client), tokens, paid=True)

        def send_once(request: ModelRequest, body: Mapping[str, Any] | None) -> Awaitable[Result]:
            return client.send(request, body, before_attempt, on_useless)

        def send(request: ModelRequest, body: dict[str, Any] | None) -> Awaitable[Result]:
            return self.forms.send(client, request, body, send_once)

        problem = None
        if request.path == CHAT_PATH and body is not None and not body.get("stream"):
            reading = await read_or_ask_again(send, request, body)
            response, answer, problem = reading.response, reading.answer, reading.problem
            if (problem or reading.is_read) and not is_check:
                self._readability.count(*model, request.stage, problem)
        else:
            response, answer = await send(request, body)
        usage.seconds += response.seconds
        if answer is None:
            if not is_check and (reason := client.refused(model[1])):
                raise EndpointError(reason)
            return Paid(response, {})
        if request.path == EMBEDDINGS_PATH and body is not None:
            return await self._vectors(client, body, usage, response, answer)
        if request.path == RERANK_PATH and body is not None:
            tokens = await asyncio.to_thread(text_tokens, [body.get("query", ""), *body["documents"]], answer)
            content = json.dumps(with_usage(answer, tokens)).encode()
            response = replace(response, body=content)
            return Paid(response, {"": entry_of(response, tokens)})
        if request.path != CHAT_PATH or body is None or body.get("stream"):
            return Paid(response, {"": Entry(response.body, response.seconds)})
        is_reported = all(reported(answer))
        tokens = chat_tokens(body, answer) if is_reported else await asyncio.to_thread(chat_tokens, body, answer)
        counted = with_usage(answer, tokens)
        if counted != answer:
            response = replace(response, body=json.dumps(counted).encode())
        entry = entry_of(response, tokens)
        if problem is not None:
            self.count(usage, client, [entry], paid=True)
            raise DataError(f"the answer of {model[1]!r} is not in the requested form: {problem}")
        return Paid(response, {"": entry})

    async def _vectors(
        self,
        client: EndpointClient,
        body: dict[str, Any],
        usage: Usage,
        response: ModelResponse,
        answer: dict[str, Any],
    ) -> Paid:
        """Newly billed vectors, unless they contradict the known properties of the model's vectors."""
        texts, vectors = texts_of(body), answer[VECTORS]
        is_reported = bool(reported(answer)[0])
        tokens = text_tokens(texts, answer) if is_reported else await asyncio.to_thread(text_tokens, texts, answer)
        if problem := self.known_vectors(client, body).problem(vectors, texts):
            usage.count_answer(self._price(usage, client), tokens, paid=True)
            return Paid(error_response(client, NoAnswer(problem), response.seconds), {})
        return Paid(response, {"": entry_of(response, tokens)}, vectors=vectors)

    def known_vectors(self, client: EndpointClient, body: Mapping[str, Any]) -> KnownVectors:
        """The properties of a model's vectors, known from earlier answers."""
        model = f"{model_of(client, body)} {body.get('dimensions', '')}"
        return self._known_vectors.setdefault(model, KnownVectors())

    def note(
        self,
        request: ModelRequest,
        usage: Usage,
        keys: Sequence[str],
        outcome: str,
        response: ModelResponse,
        entries: Iterable[Entry],
    ) -> None:
        """Log a request that was not sent."""
        entries = list(entries)
        tokens = {
            "prompt_tokens": round(sum(entry.prompt_tokens for entry in entries)),
            "completion_tokens": round(sum(entry.completion_tokens for entry in entries)),
        }
        seconds = round(response.seconds, 3)
        self.calls.add(outcome, request, usage.model, keys, status=response.status, seconds=seconds, **tokens)

    def count(self, usage: Usage, client: EndpointClient, entries: Iterable[Entry], *, paid: bool) -> None:
        """Add answers to the tokens and the price of a usage row."""
        price = self._price(usage, client)
        for entry in entries:
            tokens = Tokens(entry.prompt_tokens, entry.completion_tokens, entry.estimated)
            usage.count_answer(price, tokens, paid=paid)

    def _price(self, usage: Usage, client: EndpointClient) -> Price | None:
        return price_of(client.endpoint.name, usage.model, client.endpoint.base_url, self.prices)


def address_of(client: EndpointClient) -> str:
    """The endpoint's address as part of cache keys."""
    return offline_version() if client.endpoint.name == OFFLINE else client.endpoint.base_url


def model_of(client: EndpointClient, body: Mapping[str, Any]) -> str:
    """The model's name as part of cache keys."""
    return f"{address_of(client)} {body.get('model', '')}"


@cache
def offline_version() -> str:
    """The offline models' address in cache keys: a digest of their source, as their port differs with each start."""
    files = sorted((Path(__file__).parents[1] / "offline").glob("*.py"))
    return f"{OFFLINE}-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
