"""`Gateway`: every request of LlamaIndex and ragas to a model goes through it.

The official OpenAI clients get an httpx transport (`dream.models.http_transport`) that hands each request to a
`Gateway`. On a Ray cluster that is one named actor on the head node, so that the whole cluster shares one cache, one
pace, one budget and one meter; without Ray it lives in the process. Model keys are known to the gateway alone.

    client (any loop, any worker) --transport--> GatewayClient --> Gateway --HTTP--> model endpoint

A request whose answer was paid for before is answered from the cache; a request that is under way is not sent again.
"""

import asyncio
import json
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from dream.errors import ConfigurationError
from dream.models.answer_cache import AnswerCache, Entry
from dream.models.call_log import HIT, JOINED, CallLog, Target, keys_paid_for
from dream.models.endpoint_client import PATIENCE_SECONDS, EndpointClient
from dream.models.openai_wire import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    ModelRequest,
    ModelResponse,
    embeddings_answer,
    parsed,
    request_key,
    text_keys,
    texts_of,
    vectors_of,
)
from dream.models.retry_policy import FIRST_BACKOFF_SECONDS
from dream.models.usage import CHECK_STAGE, Meter, Price, Usage, UsageRow, price_of
from dream.settings import OFFLINE, OPENAI, Budget, Endpoint, Settings
from dream.storage import Storage

# the time that answers have to enter the cache when a gateway is closed
LAST_ANSWERS_SECONDS = 0.2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayOptions:
    """Settings of a gateway. `cache` None keeps answers in memory alone; `spent_before` (calls, tokens, usd) counts
    against the budget already. Shorter `first_backoff_seconds` and `patience_seconds` make tests fast."""

    endpoints: Sequence[Endpoint] = ()
    cache: Storage | None = None
    budget: Budget = field(default_factory=Budget)
    spent_before: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    call_log: Target | None = None


@dataclass
class Gateway:
    """Answers model calls from the cache or their endpoint, each paid once, and counts everything.

    Its async methods must be called on one event loop (`LocalService` and the Ray actor see to it).
    """

    _clients: dict[str, EndpointClient] = field(default_factory=dict)
    _meter: Meter = field(default_factory=Meter)
    _cache: AnswerCache = field(default_factory=lambda: AnswerCache(None))
    _prices: Mapping[str, Price] = field(default_factory=dict)
    _pace: tuple[float, float] = (FIRST_BACKOFF_SECONDS, PATIENCE_SECONDS)
    _calls: CallLog = field(default_factory=CallLog)
    _under_way: dict[str, "asyncio.Task[_Paid]"] = field(default_factory=dict)
    _offline_server: Any = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def configure(self, options: GatewayOptions) -> None:
        """Replace the endpoints and their keys, the cache, the budget and the meter.

        An endpoint without a key gets the one that this process's environment has for the same URL, if any.
        """
        self._pace = (options.first_backoff_seconds, options.patience_seconds)
        self._cache = AnswerCache(options.cache)
        self._calls = CallLog(options.call_log)
        self._meter = Meter(options.budget, dict(options.spent_before))
        self._prices = dict(options.prices)
        keys_missing = any(not endpoint.api_key for endpoint in options.endpoints)
        known = Settings.from_environment().endpoints if keys_missing else ()
        configured = {endpoint.name: endpoint for endpoint in known}
        for endpoint in options.endpoints:
            twin = configured.get(endpoint.name)
            key = twin.api_key if twin and not endpoint.api_key and twin.base_url == endpoint.base_url else None
            self._clients[endpoint.name] = EndpointClient(
                replace(endpoint, api_key=key or endpoint.api_key), *self._pace, calls=self._calls
            )

    async def send(self, request: ModelRequest) -> ModelResponse:
        """Answer one request, and count it.

        Raises:
            ConfigurationError: when nobody configured its endpoint.
            BudgetError: when a ceiling is reached and the answer is not in the cache.
            EndpointError: when the endpoint refuses all further work, now or at an earlier call.
        """
        client = await self._client(request.endpoint)
        body = parsed(request.body) if request.body else None
        usage = self._meter.row(request.endpoint, str((body or {}).get("model", "")), request.stage, request.trial)
        usage.calls += 1
        try:
            if request.path == EMBEDDINGS_PATH and body is not None and request.stage != CHECK_STAGE:
                return await self._embed(client, request, body, usage)
            return await self._ask(client, request, body, usage)
        except BaseException:
            usage.failed += 1
            raise

    async def _ask(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any] | None, usage: Usage
    ) -> ModelResponse:
        is_kept = request.path == CHAT_PATH and body is not None and not body.get("stream")
        if not is_kept or body is None or request.stage == CHECK_STAGE:
            paid = await self._pay(client, request, body, usage)
            self._count(usage, client, paid.entries.values(), paid=True)
            usage.failed += not paid.entries
            return paid.response
        key = request_key(self._address(client), request, body)
        mine = key not in self._under_way
        if mine:
            self._start({key}, self._cached_or_paid(client, request, body, usage, key))
        paid = await asyncio.shield(self._under_way[key])
        cached = paid.cached or not mine
        if cached:
            self._note(request, usage, [key], HIT if paid.cached else JOINED, paid.response, paid.entries.values())
        usage.cached += cached
        usage.failed += not paid.entries
        self._count(usage, client, paid.entries.values(), paid=not cached)
        return replace(paid.response, cached=cached)

    async def _cached_or_paid(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any], usage: Usage, key: str
    ) -> "_Paid":
        keys_paid_for.set([key])
        model = self._model(client, body)
        if (entry := await self._cache.get(model, key)) is not None:
            return _Paid(ModelResponse(200, entry.content, seconds=entry.seconds), {key: entry}, cached=True)
        paid = await self._pay(client, request, body, usage)
        for entry in paid.entries.values():
            await self._cache.put(model, key, entry)
        return paid

    async def _embed(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any], usage: Usage
    ) -> ModelResponse:
        """Vectors are kept and looked up a text at a time, whatever texts they were asked for together with."""
        keys = text_keys(self._address(client), request, body)
        texts = dict(zip(keys, texts_of(body), strict=True))
        mine = {key: text for key, text in texts.items() if key not in self._under_way}
        if mine:
            self._start(set(mine), self._cached_or_paid_vectors(client, request, body, usage, mine))
        tasks = {key: self._under_way[key] for key in texts}
        entries: dict[str, Entry] = {}
        seconds, bought = 0.0, set()
        for task in dict.fromkeys(tasks.values()):
            paid = await asyncio.shield(task)
            if not paid.entries:
                usage.failed += 1
                return paid.response
            entries |= paid.entries
            seconds = max(seconds, paid.response.seconds)
            bought |= paid.bought
        bought &= set(mine)
        usage.cached += not bought
        if not bought:
            outcome = HIT if mine else JOINED
            response = ModelResponse(200, b"", seconds=seconds)
            self._note(request, usage, keys, outcome, response, [entries[key] for key in keys])
        self._count(usage, client, (entries[key] for key in keys if key in bought), paid=True)
        self._count(usage, client, (entries[key] for key in keys if key not in bought), paid=False)
        tokens = round(sum(entries[key].prompt_tokens for key in keys))
        vectors = [entries[key].content for key in keys]
        answer = embeddings_answer(str(body.get("model", "")), vectors, body.get("encoding_format"), tokens)
        return ModelResponse(200, json.dumps(answer).encode(), seconds=seconds, cached=not bought)

    async def _cached_or_paid_vectors(
        self,
        client: EndpointClient,
        request: ModelRequest,
        body: dict[str, Any],
        usage: Usage,
        texts: Mapping[str, Any],
    ) -> "_Paid":
        model = self._model(client, body)
        cached = await self._cache.get_vectors(model, list(texts))
        missing = {key: text for key, text in texts.items() if key not in cached}
        if not missing:
            seconds = max(entry.seconds for entry in cached.values())
            return _Paid(ModelResponse(200, b"", seconds=seconds), cached, cached=True)
        keys_paid_for.set(list(missing))
        asked = {**body, "input": list(missing.values())}
        paid = await self._pay(client, replace(request, body=json.dumps(asked).encode()), asked, usage)
        if not paid.entries or not (answer := parsed(paid.response.body)):
            return paid
        entries = _vector_entries(answer, missing, paid.response.seconds)
        await self._cache.put_vectors(model, entries)
        return _Paid(paid.response, {**cached, **entries}, bought=frozenset(entries))

    async def _pay(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any] | None, usage: Usage
    ) -> "_Paid":
        """Send a request to its endpoint, within the budget."""
        is_check = request.stage == CHECK_STAGE

        def before_attempt(attempt: int) -> None:
            if not is_check:
                self._meter.check_budget()
            usage.sent += 1
            usage.retried += attempt > 1

        response, answer = await client.send(request, body, before_attempt)
        usage.seconds += response.seconds
        if answer is None:
            return _Paid(response, {})
        tokens = answer.get("usage") or {}
        counted = (tokens.get("prompt_tokens") or 0, tokens.get("completion_tokens") or 0)
        return _Paid(response, {"": Entry(response.body, response.seconds, *counted)})

    def _start(self, keys: set[str], payment: "Coroutine[Any, Any, _Paid]") -> None:
        """Start a task that other callers with the same request wait for, and that outlives the first caller."""
        task = asyncio.create_task(payment)
        self._under_way.update(dict.fromkeys(keys, task))

        def over(done: "asyncio.Task[_Paid]") -> None:
            for key in keys:
                self._under_way.pop(key, None)
            if not done.cancelled():
                done.exception()  # retrieved, or asyncio complains where no caller waits for it

        task.add_done_callback(over)

    def _note(
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
        self._calls.add(outcome, request, usage.model, keys, status=response.status, seconds=seconds, **tokens)

    def _count(self, usage: Usage, client: EndpointClient, entries: Iterable[Entry], *, paid: bool) -> None:
        price = price_of(client.endpoint.name, usage.model, client.endpoint.base_url, self._prices)
        for entry in entries:
            usage.count_answer(price, entry.prompt_tokens, entry.completion_tokens, paid)

    async def usage(self, trial: str | None = None) -> list[UsageRow]:
        """The meter's rows, one for each endpoint, model, stage and trial; with `trial`, those of that trial."""
        return self._meter.rows(trial)

    async def base_url(self, endpoint: str) -> str:
        """The URL of an endpoint; starts the offline server if `endpoint` is that."""
        return (await self._client(endpoint)).endpoint.base_url

    async def has_answers(self, endpoint: str, model: str) -> bool:
        """True if the cache has any answer of a model at an endpoint; starts no offline server."""
        client = self._clients.get(endpoint)
        address = _offline_version() if endpoint == OFFLINE else client.endpoint.base_url if client else ""
        return await self._cache.has_any(f"{address} {model}")

    def context_window(self, endpoint: str) -> int | None:
        """The context window in tokens that was configured for an endpoint, if any."""
        client = self._clients.get(endpoint)
        return client.endpoint.context_window if client else None

    async def close(self) -> None:
        """Write what is not in the cache's storage yet, close connections, stop the offline server."""
        for client in self._clients.values():
            await client.finish()
        under_way = set(self._under_way.values())
        if under_way:
            await asyncio.wait(under_way, timeout=LAST_ANSWERS_SECONDS)  # that take in the answers that came
        for task in under_way:
            task.cancel()
        if left := await self._cache.flush():
            logger.warning("%d answers could not be written to the cache: they will be paid again", left)
        await self._calls.flush()
        for client in self._clients.values():
            await client.close()
        if self._offline_server is not None:
            await asyncio.to_thread(self._offline_server.stop)
            self._offline_server = None
            self._clients.pop(OFFLINE, None)

    async def _client(self, name: str) -> EndpointClient:
        async with self._lock:
            if name == OFFLINE and name not in self._clients:
                url = await self._start_offline_server()
                self._clients[OFFLINE] = EndpointClient(Endpoint(OFFLINE, url), *self._pace, calls=self._calls)
        if name not in self._clients:
            configured = ", ".join(sorted(self._clients)) or "none"
            remedy = "OPENAI_API_KEY" if name == OPENAI else f"DREAM_ENDPOINT_{name.upper()}_BASE_URL"
            raise ConfigurationError(f"no model endpoint {name!r} is configured; there are: {configured}. Set {remedy}")
        return self._clients[name]

    async def _start_offline_server(self) -> str:
        from dream.offline.process import OfflineServer

        self._offline_server = await asyncio.to_thread(OfflineServer.start)
        return self._offline_server.base_url

    def _address(self, client: EndpointClient) -> str:
        return _offline_version() if client.endpoint.name == OFFLINE else client.endpoint.base_url

    def _model(self, client: EndpointClient, body: Mapping[str, Any]) -> str:
        return f"{self._address(client)} {body.get('model', '')}"


@dataclass(frozen=True)
class _Paid:
    """The result of a request: the response, and the good answers in it by their keys (none where it failed).

    `cached`: nothing was sent; `bought`: the keys of answers that were paid for now.
    """

    response: ModelResponse
    entries: Mapping[str, Entry]
    cached: bool = False
    bought: frozenset[str] = frozenset()


def _vector_entries(answer: Mapping[str, Any], texts: Mapping[str, Any], seconds: float) -> dict[str, Entry]:
    """A vector for each text, with tokens in proportion to its length."""
    vectors = vectors_of(answer, len(texts)) or []
    tokens = (answer.get("usage") or {}).get("prompt_tokens") or 0
    whole = sum(len(text) for text in texts.values()) or 1
    return {
        key: Entry(vector, seconds, tokens * len(text) / whole)
        for (key, text), vector in zip(texts.items(), vectors, strict=True)
    }


@cache
def _offline_version() -> str:
    """The offline models' address in keys: a digest of their source, as their port differs from start to start."""
    files = sorted((Path(__file__).parents[1] / "offline").glob("*.py"))
    return f"{OFFLINE}-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
