"""`GatewayClient`: how each process reaches the gateway, which is an object of this process or of one on Ray."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from dream.models.call_log import target_of
from dream.models.gateway import Gateway, GatewayOptions
from dream.models.gateway_actor import BatchGateway, Sender
from dream.models.gateway_metrics import Progress
from dream.models.openai_wire import ModelRequest, ModelResponse
from dream.models.usage import read_prices
from dream.records import UsageRow
from dream.services import AsyncService, InProcess, OnRay, RayService, Service, ServiceKind, host, session
from dream.settings import Settings
from dream.storage import open_storage

GATEWAY = ServiceKind[Gateway]("model gateway", "dream-gateway")


class GatewayClient(ABC):
    """The gateway as the rest of DREAM sees it. All methods are safe from any thread, `send` from any event loop."""

    def __init__(self, service: Service[Gateway]) -> None:
        self._service = service

    @abstractmethod
    async def send(self, request: ModelRequest) -> ModelResponse:
        """Answer one request; errors are those of `Gateway.send`."""

    def send_and_wait(self, request: ModelRequest) -> ModelResponse:
        """`send` for callers without an event loop."""
        return self._service.call(Gateway.send, request)

    def configure(self, options: GatewayOptions) -> None:
        """Replace the endpoints, the cache, the budget and the meter."""
        self._service.call(Gateway.configure, options)

    def usage(self, trial: str | None = None) -> list[UsageRow]:
        """The meter's rows, all or those of one trial."""
        return self._service.call(Gateway.usage, trial)

    def metrics(self) -> bytes:
        """The metrics in Prometheus' text format (`dream.models.gateway_metrics`)."""
        return self._service.call(Gateway.metrics)

    def note_progress(self, progress: Progress) -> None:
        """Tell the gateway how far the experiment is, for its metrics."""
        self._service.call(Gateway.note_progress, progress)

    def base_url(self, endpoint: str) -> str:
        """The URL of an endpoint; starts the offline server if `endpoint` is that."""
        return self._service.call(Gateway.base_url, endpoint)

    def form(self, endpoint: str, model: str) -> dict[str, Any]:
        """The form of requests to a model, where it differs from what clients write (`RequestForm`)."""
        return self._service.call(Gateway.form, endpoint, model)

    def form_explained(self, endpoint: str, model: str) -> list[str]:
        """`form` in words."""
        return self._service.call(Gateway.form_explained, endpoint, model)

    def context_window(self, endpoint: str) -> int | None:
        """The context window in tokens that the settings give for an endpoint; None where they give none."""
        return self._service.call(Gateway.context_window, endpoint)

    def answer_limit(self, endpoint: str) -> int | None:
        """The most tokens of an answer from an endpoint; None for no limit."""
        return self._service.call(Gateway.answer_limit, endpoint)

    def has_answers(self, endpoint: str, model: str) -> bool:
        """True if the cache has any answer of a model at an endpoint."""
        return self._service.call(Gateway.has_answers, endpoint, model)

    def close(self) -> None:
        """Write what is not in the cache's storage yet, close connections, stop the offline server."""
        self._service.call(Gateway.close)


class LocalGateway(GatewayClient):
    """A gateway in this process, on DREAM's own event loop, or in the parent of this process."""

    def __init__(self, service: AsyncService[Gateway]) -> None:
        super().__init__(service)
        self._near = service

    async def send(self, request: ModelRequest) -> ModelResponse:
        return await self._near.call_async(Gateway.send, request)


class RayGateway(GatewayClient):
    """The gateway in the services' process on Ray, shared by all workers of this job. Requests travel in batches."""

    def __init__(self, service: RayService[Gateway]) -> None:
        super().__init__(service)
        self._remote = service
        self._senders: WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = WeakKeyDictionary()

    async def send(self, request: ModelRequest) -> ModelResponse:
        loop = asyncio.get_running_loop()
        if loop not in self._senders:
            self._senders[loop] = Sender(self._remote.send)
        with self._remote.errors():
            return await self._senders[loop].send(request)


def current_gateway() -> GatewayClient:
    """The gateway that is open, else the job's on Ray, else a new one from the settings of the environment."""

    def find_or_start() -> GatewayClient:
        service = host().find(GATEWAY)
        if isinstance(service, RayService):
            return RayGateway(service)
        return LocalGateway(service) if isinstance(service, AsyncService) else _start(Settings.from_environment())

    return session().get_or_open(GatewayClient, find_or_start)


def open_gateway(settings: Settings, spent_before: Mapping[str, float] | None = None) -> GatewayClient:
    """Start a gateway with these settings in place of the one that is open; on the Ray cluster if there is one.

    Args:
        spent_before: counts against the budget already (`usage.spent_of`).
    """
    close_gateway()
    return session().get_or_open(GatewayClient, lambda: _start(settings, spent_before))


def close_gateway() -> None:
    """Stop the gateway that is open, if any. Its meter is lost; the next `current_gateway()` starts another."""
    if (gateway := session().take_out(GatewayClient)) is not None:
        gateway.close()


@contextmanager
def opened(settings: Settings, spent_before: Mapping[str, float] | None = None) -> Iterator[GatewayClient]:
    """`open_gateway` for the length of a `with` block; the offline server stops with it."""
    try:
        yield open_gateway(settings, spent_before)
    finally:
        close_gateway()


def _start(settings: Settings, spent_before: Mapping[str, float] | None = None) -> GatewayClient:
    prices = read_prices(settings.prices)
    cache = open_storage(settings.cache_uri, settings)
    cache.ensure()
    here = host()
    if isinstance(here, OnRay):
        gateway = RayGateway(here.start(GATEWAY, BatchGateway))
    else:
        gateway = LocalGateway(InProcess().start(GATEWAY, Gateway()))
    options = GatewayOptions(settings.endpoints, cache, settings.budget, spent_before or {}, prices)
    log, limit = target_of(settings), settings.max_answer_tokens
    gateway.configure(replace(options, call_log=log, max_answer_tokens=limit))
    return gateway
