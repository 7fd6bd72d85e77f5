"""The one door for model calls: every request of LlamaIndex and ragas to a model goes through here.

The official OpenAI clients get an httpx transport (`dream.transport`) that hands
each request to a `Gateway`. On a Ray cluster that is one named actor, so that the whole cluster shares
one meter and one set of keys; without Ray it lives in the process. Model keys are known to the gateway alone.

    client (any loop, any worker) --transport--> door --> Gateway --HTTP--> model endpoint
"""

import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import httpx

from dream.errors import ConfigurationError
from dream.loop import background_loop, run_async
from dream.settings import OFFLINE, OPENAI, Endpoint, Settings

ACTOR_NAME = "dream-gateway"
CHECK_STAGE = "check"
MAX_CONCURRENT_CALLS = 256
CLIENTS = 8
MAX_ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
# An endpoint that asks for a longer wait (a spent daily quota) is not waited for.
LONGEST_RETRY_AFTER_SECONDS = 120.0
RETRIED_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class ModelRequest:
    """One HTTP request to a model. `path` is below the endpoint's base URL, e.g. "/chat/completions"."""

    endpoint: str
    method: str
    path: str
    body: bytes
    stage: str = ""
    trial: str = ""
    timeout_seconds: float = 120.0


@dataclass(frozen=True)
class ModelResponse:
    """What came back. `status` 0 means that no answer came; `body` then says why, in plain text."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass
class Usage:
    """Model calls of one (endpoint, model, stage, trial): tokens as the endpoint reported them."""

    endpoint: str
    model: str
    stage: str
    trial: str
    calls: int = 0
    retried: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass
class Gateway:
    """Forwards model calls to their endpoints, retries passing faults, counts everything.

    An ordinary class: its async methods must be called on one event loop (`LocalDoor` and the Ray actor see to it).
    """

    _endpoints: dict[str, Endpoint] = field(default_factory=dict)
    _usage: dict[tuple[str, str, str, str], Usage] = field(default_factory=dict)
    _first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    _clients: list[httpx.AsyncClient] = field(default_factory=list)
    _sent: int = 0
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_CALLS))
    _offline_server: Any = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def configure(self, endpoints: Sequence[Endpoint], first_backoff_seconds: float = FIRST_BACKOFF_SECONDS) -> None:
        """Take the endpoints and their keys; one without a key gets this process's own, if it has one."""
        self._first_backoff_seconds = first_backoff_seconds
        own = {endpoint.name: endpoint for endpoint in Settings.from_environment().endpoints}
        for endpoint in endpoints:
            twin = own.get(endpoint.name)
            known = twin if twin and not endpoint.api_key and twin.base_url == endpoint.base_url else endpoint
            self._endpoints[endpoint.name] = known

    async def send(self, request: ModelRequest) -> ModelResponse:
        """Send one request, again after a passing fault (at most 6 times), and count it."""
        endpoint = await self._endpoint(request.endpoint)
        usage = self._usage_of(request)
        started = time.monotonic()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            async with self._room:
                usage.calls += 1
                response, retry_after = await self._send_once(endpoint, request)
            if attempt == MAX_ATTEMPTS or not _worth_retrying(request, response, retry_after):
                break
            usage.retried += 1
            await asyncio.sleep(_pause(attempt, retry_after, self._first_backoff_seconds))
        usage.seconds += time.monotonic() - started
        _count_answer(usage, response)
        return response

    async def usage(self, trial: str | None = None) -> list[dict[str, Any]]:
        """The meter: one row for each endpoint, model, stage and trial; `trial` keeps that trial's rows."""
        return [asdict(row) for row in self._usage.values() if trial is None or row.trial == trial]

    async def base_url(self, endpoint: str) -> str:
        """Where an endpoint really is; starts the offline server if `endpoint` is that."""
        return (await self._endpoint(endpoint)).base_url

    def context_window(self, endpoint: str) -> int | None:
        """The context window in tokens that was configured for an endpoint, if any."""
        known = self._endpoints.get(endpoint)
        return known.context_window if known else None

    async def close(self) -> None:
        """Close connections and stop the offline server, if this gateway started one."""
        for client in self._clients:
            await client.aclose()
        self._clients = []
        if self._offline_server is not None:
            await asyncio.to_thread(self._offline_server.stop)
            self._offline_server = None
            self._endpoints.pop(OFFLINE, None)

    async def _endpoint(self, name: str) -> Endpoint:
        async with self._lock:
            if name == OFFLINE and name not in self._endpoints:
                self._endpoints[OFFLINE] = Endpoint(OFFLINE, await self._start_offline_server())
        if name not in self._endpoints:
            known = ", ".join(sorted(self._endpoints)) or "none"
            remedy = "OPENAI_API_KEY" if name == OPENAI else f"DREAM_ENDPOINT_{name.upper()}_BASE_URL"
            raise ConfigurationError(f"no model endpoint {name!r} is configured; there are: {known}. Set {remedy}")
        return self._endpoints[name]

    async def _start_offline_server(self) -> str:
        from dream.offline.process import OfflineServer

        self._offline_server = await asyncio.to_thread(OfflineServer.start)
        return self._offline_server.base_url

    async def _send_once(self, endpoint: Endpoint, request: ModelRequest) -> tuple[ModelResponse, float | None]:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        try:
            answer = await self._http().request(
                request.method,
                endpoint.base_url + request.path,
                content=request.body or None,
                headers=headers,
                timeout=httpx.Timeout(request.timeout_seconds, connect=10.0, pool=None),
            )
        except httpx.HTTPError as error:
            # LocalProtocolError quotes the header that cannot be sent, which is the one with the key
            local = isinstance(error, httpx.LocalProtocolError)
            text = "a header cannot be sent: look for line breaks in the key" if local else error
            reason = f"{type(error).__name__} at {endpoint.base_url}: {text}"
            return ModelResponse(0, reason.encode(), "text/plain"), None
        content_type = answer.headers.get("content-type", "application/json")
        return ModelResponse(answer.status_code, answer.content, content_type), _retry_after(answer)

    def _http(self) -> httpx.AsyncClient:
        """One of several clients in turn: the work of an httpx pool grows with the square of the calls in flight."""
        if not self._clients:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=MAX_CONCURRENT_CALLS // CLIENTS)
            tls = httpx.create_ssl_context()
            self._clients = [httpx.AsyncClient(limits=limits, verify=tls) for _ in range(CLIENTS)]
        self._sent += 1
        return self._clients[self._sent % CLIENTS]

    def _usage_of(self, request: ModelRequest) -> Usage:
        try:
            model = json.loads(request.body)["model"] if request.body else ""
        except (ValueError, KeyError, TypeError):
            model = ""
        key = (request.endpoint, model, request.stage, request.trial)
        return self._usage.setdefault(key, Usage(*key))


def _worth_retrying(request: ModelRequest, response: ModelResponse, retry_after: float | None) -> bool:
    """Whether the fault may pass. A check wants to know at once that nobody is there."""
    if response.status == 0:
        return request.stage != CHECK_STAGE
    if b"insufficient_quota" in response.body:  # OpenAI's 429 for an empty account: no wait helps
        return False
    return response.status in RETRIED_STATUS and (retry_after or 0) <= LONGEST_RETRY_AFTER_SECONDS


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the endpoint asks to wait: exact ones where it gives them (OpenAI, Azure), else whole ones."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(answer.headers[name]) / per_second
        except (KeyError, ValueError):
            continue
    return None


def _pause(attempt: int, retry_after: float | None, first: float) -> float:
    """Seconds before the next attempt: what the endpoint asked for, else exponential; either way with jitter."""
    longest = min(LONGEST_BACKOFF_SECONDS, first * 2**attempt)
    if retry_after is not None:
        return retry_after + random.uniform(0, first)
    return random.uniform(longest / 2, longest)


def _count_answer(usage: Usage, response: ModelResponse) -> None:
    if response.status != 200:
        usage.failed += 1
        return
    try:
        reported = json.loads(response.body).get("usage") or {}
    except (ValueError, AttributeError):
        return
    usage.prompt_tokens += reported.get("prompt_tokens") or 0
    usage.completion_tokens += reported.get("completion_tokens") or 0


class Door(Protocol):
    """How the rest of DREAM reaches the gateway, wherever it runs. `call` is safe from any thread and loop."""

    async def send(self, request: ModelRequest) -> ModelResponse: ...

    def call(self, method: str, *arguments: Any) -> Any: ...


class LocalDoor:
    """A gateway in this process, on DREAM's own event loop."""

    def __init__(self) -> None:
        self._gateway = Gateway()

    async def send(self, request: ModelRequest) -> ModelResponse:
        sent = asyncio.run_coroutine_threadsafe(self._gateway.send(request), background_loop())
        return await asyncio.wrap_future(sent)

    def call(self, method: str, *arguments: Any) -> Any:
        result = getattr(self._gateway, method)(*arguments)
        return run_async(result) if asyncio.iscoroutine(result) else result


class RayDoor:
    """The gateway as a named Ray actor, shared by all workers of this job."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def send(self, request: ModelRequest) -> ModelResponse:
        with _without_wrapping():
            return await self._actor.send.remote(request)

    def call(self, method: str, *arguments: Any) -> Any:
        import ray

        with _without_wrapping():
            return ray.get(getattr(self._actor, method).remote(*arguments))


@contextmanager
def _without_wrapping() -> Iterator[None]:
    """Raise what the actor raised, without the page of text that Ray puts around it."""
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        raise error.cause from None


_door: Door | None = None
_door_lock = threading.Lock()


def open_door(settings: Settings) -> Door:
    """Start the gateway (on the Ray cluster if this process is connected to one) and give it the endpoints."""
    global _door
    close_door()
    with _door_lock:
        _door = _new_door(settings)
    return _door


def door() -> Door:
    """The gateway of this process: the one opened before, else the cluster's, else a new one from the environment."""
    global _door
    with _door_lock:
        if _door is None:
            _door = (_find_actor() if _on_ray() else None) or _new_door(Settings.from_environment())
        return _door


def forget_door() -> None:
    """Look for the gateway anew at the next call: a Ray worker that ran a task before holds the one of that time."""
    global _door
    with _door_lock:
        _door = None


def close_door() -> None:
    """Stop the gateway that this process opened. The meter is lost; the next `door()` starts anew."""
    global _door
    with _door_lock:
        closing, _door = _door, None
    if closing is not None:
        closing.call("close")


@contextmanager
def opened(settings: Settings) -> Iterator[Door]:
    """The gateway for the length of a `with` block; the offline server stops with it."""
    try:
        yield open_door(settings)
    finally:
        close_door()


def _on_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def _new_door(settings: Settings) -> Door:
    new = _start_actor() if _on_ray() else LocalDoor()
    new.call("configure", settings.endpoints)
    return new


def _find_actor() -> RayDoor | None:
    import ray

    try:
        return RayDoor(ray.get_actor(ACTOR_NAME))
    except ValueError:
        return None


def _start_actor() -> RayDoor:
    import ray

    options = {"name": ACTOR_NAME, "get_if_exists": True, "num_cpus": 0, "max_concurrency": 1000}
    return RayDoor(ray.remote(Gateway).options(**options).remote())
