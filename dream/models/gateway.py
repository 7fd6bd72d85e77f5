"""`Gateway`: every request of LlamaIndex and ragas to a model goes through it.

The official OpenAI clients get an httpx transport (`dream.models.http_transport`) that hands each request to a
`Gateway`. On a Ray cluster that is one named actor on the head node, so that the whole cluster shares one cache, one
pace, one budget and one meter; without Ray it lives in the process. Model keys are known to the gateway alone.

    client (any loop, any worker) --transport--> GatewayClient --> Gateway --HTTP--> model endpoint

A request whose answer was paid for before is answered from the cache; a request that is under way is not sent again.

Clients see answers in OpenAI's format only, whatever the server's habits (`dream.models.answer_reading`,
`dream.models.vector_reading`); a response that is no answer reaches them as an error with the provider's words, and is
not kept. Cached answers are read in the same way, so that bad ones of earlier versions are asked for again.
"""

import asyncio
import json
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dream.defaults import MAX_ANSWER_TOKENS
from dream.errors import ConfigurationError
from dream.models.answer_cache import AnswerCache, Entry
from dream.models.answer_reading import is_cut
from dream.models.call_log import HIT, JOINED, CallLog, Target, keys_paid_for
from dream.models.endpoint_client import PATIENCE_SECONDS, EndpointClient
from dream.models.gateway_metrics import Metric, Progress, exposition, families
from dream.models.openai_wire import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    RERANK_PATH,
    ModelRequest,
    ModelResponse,
    embeddings_answer,
    parsed,
    request_key,
    text_keys,
    texts_of,
)
from dream.models.outcomes import failure_kind
from dream.models.paid_answers import (
    Paid,
    alike,
    error_response,
    ranking_again,
    read_again,
    read_vector,
    uneven,
    vector_entries,
)
from dream.models.payments import Payments, address_of, model_of, offline_version
from dream.models.reading import read
from dream.models.retry_policy import FIRST_BACKOFF_SECONDS
from dream.models.usage import CHECK_STAGE, Meter, Price, Usage, UsageRow
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
    max_answer_tokens: int = MAX_ANSWER_TOKENS
    call_log: Target | None = None


@dataclass
class Gateway:
    """Answers model calls from the cache or their endpoint, each paid once, and counts everything.

    Its async methods must be called on one event loop (`LocalService` and the Ray actor see to it).
    """

    _clients: dict[str, EndpointClient] = field(default_factory=dict)
    _payments: Payments = field(default_factory=Payments)
    _cache: AnswerCache = field(default_factory=lambda: AnswerCache(None))
    _pace: tuple[float, float] = (FIRST_BACKOFF_SECONDS, PATIENCE_SECONDS)
    _under_way: dict[str, "asyncio.Task[Paid]"] = field(default_factory=dict)
    _max_answer_tokens: int = MAX_ANSWER_TOKENS
    _offline_server: Any = None
    _progress: Progress | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def configure(self, options: GatewayOptions) -> None:
        """Replace the endpoints and their keys, the cache, the budget and the meter.

        An endpoint without a key gets the one that this process's environment has for the same URL, if any.
        """
        self._beginning()
        self._pace = (options.first_backoff_seconds, options.patience_seconds)
        self._cache = AnswerCache(options.cache)
        self._progress = None
        meter = Meter(options.budget, dict(options.spent_before))
        self._payments = Payments(meter, dict(options.prices), CallLog(options.call_log))
        self._max_answer_tokens = options.max_answer_tokens
        keys_missing = any(not endpoint.api_key for endpoint in options.endpoints)
        known = Settings.from_environment().endpoints if keys_missing else ()
        configured = {endpoint.name: endpoint for endpoint in known}
        for client in self._clients.values():
            client.requests.clear()
            client.waited.clear()
        for endpoint in options.endpoints:
            twin = configured.get(endpoint.name)
            key = twin.api_key if twin and not endpoint.api_key and twin.base_url == endpoint.base_url else None
            self._clients[endpoint.name] = EndpointClient(
                replace(endpoint, api_key=key or endpoint.api_key), *self._pace, calls=self._payments.calls
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
        usage = self._payments.meter.row(
            request.endpoint, str((body or {}).get("model", "")), request.stage, request.trial
        )
        usage.calls += 1
        try:
            if request.path == EMBEDDINGS_PATH and body is not None and request.stage != CHECK_STAGE:
                response = await self._embed(client, request, body, usage)
            else:
                response = await self._ask(client, request, body, usage)
        except BaseException as error:
            usage.failed += 1
            self._payments.meter.count_failure(usage, failure_kind(error))
            raise
        if response.status != 200:
            self._payments.meter.count_failure(usage, failure_kind(response.status))
        return response

    async def _ask(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any] | None, usage: Usage
    ) -> ModelResponse:
        is_kept = request.path in (CHAT_PATH, RERANK_PATH) and body is not None and not body.get("stream")
        if not is_kept or body is None or request.stage == CHECK_STAGE:
            paid = await self._payments.send(client, request, body, usage)
            if body is not None and paid.vectors:
                tokens = round(sum(entry.prompt_tokens for entry in paid.entries.values()))
                model, encoding = str(body.get("model", "")), body.get("encoding_format")
                content = json.dumps(embeddings_answer(model, paid.vectors, encoding, tokens)).encode()
                paid = replace(paid, response=replace(paid.response, body=content, content_type="application/json"))
            self._payments.count(usage, client, paid.entries.values(), paid=True)
            usage.failed += not paid.entries
            return paid.response
        key = request_key(address_of(client), request, body)
        mine = key not in self._under_way
        if mine:
            self._start({key}, self._cached_or_paid(client, request, body, usage, key))
        paid = await asyncio.shield(self._under_way[key])
        cached = paid.cached or not mine
        if cached:
            self._payments.note(
                request, usage, [key], HIT if paid.cached else JOINED, paid.response, paid.entries.values()
            )
        usage.cached += cached
        usage.failed += not paid.entries
        self._payments.count(usage, client, paid.entries.values(), paid=not cached)
        return replace(paid.response, cached=cached)

    async def _cached_or_paid(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any], usage: Usage, key: str
    ) -> Paid:
        keys_paid_for.set([key])
        model = model_of(client, body)
        if (entry := await self._cached(client, request, body, key)) is not None:
            response = ModelResponse(200, entry.content, seconds=entry.seconds)
            kept = read(request, body, response, parsed(entry.content))
            if kept.problem is None:
                return Paid(kept.response, {key: entry}, cached=True)
        paid = await self._payments.send(client, request, body, usage)
        for entry in paid.entries.values():
            await self._cache.put(model, key, entry)
        return paid

    async def _cached(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any], key: str
    ) -> Entry | None:
        """The cached answer to a request, or to the same request without a limit of tokens, as earlier versions sent
        it, if it ended by itself within the limit."""
        model = model_of(client, body)
        if request.path == RERANK_PATH:
            return await self._cache.get(model, key, lambda entry: ranking_again(body, entry))
        entry = await self._cache.get(model, key, lambda entry: read_again(body, entry))
        limit = body.get("max_tokens")
        is_ours = limit == self.answer_limit(client.endpoint.name)
        if entry is not None or limit is None or not is_ours or not await self._cache.has_earlier(model):
            return entry
        unlimited = {name: value for name, value in body.items() if name != "max_tokens"}
        older = request_key(address_of(client), request, unlimited)
        entry = await self._cache.get(model, older, lambda entry: read_again(unlimited, entry))
        if entry is None or entry.completion_tokens > limit or is_cut(parsed(entry.content) or {}):
            return None
        return entry

    async def _embed(
        self, client: EndpointClient, request: ModelRequest, body: dict[str, Any], usage: Usage
    ) -> ModelResponse:
        """Vectors are kept and looked up a text at a time, whatever texts they were asked for together with."""
        keys = text_keys(address_of(client), request, body)
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
        if failure := uneven(entries.values()):
            usage.failed += 1
            return error_response(client, failure, seconds)
        bought &= set(mine)
        usage.cached += not bought
        if not bought:
            outcome = HIT if mine else JOINED
            response = ModelResponse(200, b"", seconds=seconds)
            self._payments.note(request, usage, keys, outcome, response, [entries[key] for key in keys])
        self._payments.count(usage, client, (entries[key] for key in keys if key in bought), paid=True)
        self._payments.count(usage, client, (entries[key] for key in keys if key not in bought), paid=False)
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
    ) -> Paid:
        model = model_of(client, body)
        cached = await self._cache.get_vectors(model, list(texts), read_vector)
        cached = alike(cached, texts, self._payments.known_vectors(client, body))
        missing = {key: text for key, text in texts.items() if key not in cached}
        if not missing:
            seconds = max(entry.seconds for entry in cached.values())
            return Paid(ModelResponse(200, b"", seconds=seconds), cached, cached=True)
        paid = await self._pay_vectors(client, request, body, usage, missing)
        length = self._payments.known_vectors(client, body).length
        stale = {key: texts[key] for key, entry in cached.items() if len(entry.content) // 4 != length}
        if paid.entries and stale:  # another model had this name, or the server gave wrong vectors
            again = await self._pay_vectors(client, request, body, usage, stale)
            bought = {**paid.entries, **again.entries}
            paid = replace(again, entries=bought if again.entries else {}, bought=frozenset(bought))
        return replace(paid, entries={**cached, **paid.entries}) if paid.entries else paid

    async def _pay_vectors(
        self,
        client: EndpointClient,
        request: ModelRequest,
        body: dict[str, Any],
        usage: Usage,
        texts: Mapping[str, Any],
    ) -> Paid:
        """The vectors of these texts from the endpoint, each kept by its key."""
        keys_paid_for.set(list(texts))
        asked = {**body, "input": list(texts.values())}
        paid = await self._payments.send(client, replace(request, body=json.dumps(asked).encode()), asked, usage)
        if not paid.entries:
            return paid
        entries = vector_entries(paid, texts)
        await self._cache.put_vectors(model_of(client, body), entries)
        return Paid(paid.response, entries, bought=frozenset(entries))

    def _start(self, keys: set[str], payment: "Coroutine[Any, Any, Paid]") -> None:
        """Start a task that other callers with the same request wait for, and that outlives the first caller."""
        task = asyncio.create_task(payment)
        self._under_way.update(dict.fromkeys(keys, task))

        def over(done: "asyncio.Task[Paid]") -> None:
            for key in keys:
                self._under_way.pop(key, None)
            if not done.cancelled():
                done.exception()  # retrieved, or asyncio complains where no caller waits for it

        task.add_done_callback(over)

    async def usage(self, trial: str | None = None) -> list[UsageRow]:
        """The meter's rows, one for each endpoint, model, stage and trial; with `trial`, those of that trial."""
        return self._payments.meter.rows(trial)

    def note_progress(self, progress: Progress) -> None:
        """Take in how far the experiment is, for the metrics."""
        self._progress = progress

    async def metrics(self) -> bytes:
        """The metrics in Prometheus' text format (`dream.models.gateway_metrics`)."""
        return exposition(self.metric_families())

    def metric_families(self, *, is_closed: bool = False) -> list[Metric]:
        """The metrics as they are now; `is_closed` says that nothing more is sent."""
        return families(self._payments.meter, self._clients.values(), self._progress, is_closed=is_closed)

    async def base_url(self, endpoint: str) -> str:
        """The URL of an endpoint; starts the offline server if `endpoint` is that."""
        return (await self._client(endpoint)).endpoint.base_url

    async def has_answers(self, endpoint: str, model: str) -> bool:
        """True if the cache has any answer of a model at an endpoint; starts no offline server."""
        client = self._clients.get(endpoint)
        address = offline_version() if endpoint == OFFLINE else client.endpoint.base_url if client else ""
        return await self._cache.has_any(f"{address} {model}")

    async def form(self, endpoint: str, model: str) -> dict[str, Any]:
        """The form of requests to a model, where it differs from what clients write (`RequestForm`)."""
        client = await self._client(endpoint)
        return {**self._payments.forms.form(client, model).described(), **client.access.described()}

    async def form_explained(self, endpoint: str, model: str) -> list[str]:
        """`form` in words."""
        client = await self._client(endpoint)
        return [
            *client.access.explained(client.endpoint.base_url),
            *self._payments.forms.form(client, model).explained(),
        ]

    def context_window(self, endpoint: str) -> int | None:
        """The context window in tokens that was configured for an endpoint, if any."""
        client = self._clients.get(endpoint)
        return client.endpoint.context_window if client else None

    def answer_limit(self, endpoint: str) -> int | None:
        """The most tokens of an answer from an endpoint, thinking included; None for the offline models, which never
        write much."""
        if endpoint == OFFLINE:
            return None
        client = self._clients.get(endpoint)
        own = client.endpoint.max_answer_tokens if client else None
        return own or self._max_answer_tokens

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
        await self._payments.calls.flush()
        for client in self._clients.values():
            await client.close()
        if self._offline_server is not None:
            await asyncio.to_thread(self._offline_server.stop)
            self._offline_server = None
            self._clients.pop(OFFLINE, None)
        self._ended()

    def _beginning(self) -> None:
        """Called before everything is counted anew."""

    def _ended(self) -> None:
        """Called when nothing more is counted."""

    async def _client(self, name: str) -> EndpointClient:
        async with self._lock:
            if name == OFFLINE and name not in self._clients:
                url = await self._start_offline_server()
                self._clients[OFFLINE] = EndpointClient(Endpoint(OFFLINE, url), *self._pace, calls=self._payments.calls)
        if name not in self._clients:
            configured = ", ".join(sorted(self._clients)) or "none"
            remedy = "OPENAI_API_KEY" if name == OPENAI else f"DREAM_ENDPOINT_{name.upper()}_BASE_URL"
            raise ConfigurationError(f"no model endpoint {name!r} is configured; there are: {configured}. Set {remedy}")
        return self._clients[name]

    async def _start_offline_server(self) -> str:
        from dream.offline.process import OfflineServer

        self._offline_server = await asyncio.to_thread(OfflineServer.start)
        return self._offline_server.base_url
