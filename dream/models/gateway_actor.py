"""Requests travel to the gateway's process on Ray, and answers back, in batches.

A Ray call for each request costs both sides half a millisecond of CPU, more than the gateway's own work for it.
"""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dream.models.gateway import Gateway
from dream.models.openai_wire import ModelRequest, ModelResponse
from dream.models.ray_metrics import RayMetrics

# requests and answers that come within this time share a Ray call
BATCH_SECONDS = 0.003

Outcome = ModelResponse | BaseException


@dataclass
class _Outbox:
    """Answers that one sender has not fetched yet."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class BatchGateway(Gateway):
    """A gateway that takes requests in batches. Each sending process and event loop has a distinct name."""

    _outboxes: dict[str, _Outbox] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _publisher: RayMetrics = field(default_factory=RayMetrics)

    def _beginning(self) -> None:
        self._ended()
        self._publisher.start(self.metric_families)

    def _ended(self) -> None:
        self._publisher.stop()
        self._publisher.publish(self.metric_families(is_closed=True))

    async def take(self, sender: str, requests: Mapping[int, ModelRequest]) -> None:
        """Start these requests of a sender, which numbers them."""
        outbox = self._outboxes.setdefault(sender, _Outbox())
        for number, request in requests.items():
            task = asyncio.create_task(self._answer(outbox, number, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def outcomes(self, sender: str) -> dict[int, Outcome]:
        """Answers and errors since the sender's last call, by the numbers of its requests; waits for the first."""
        outbox = self._outboxes.setdefault(sender, _Outbox())
        await outbox.filled.wait()
        await asyncio.sleep(BATCH_SECONDS)
        outbox.filled.clear()
        fetched, outbox.outcomes = outbox.outcomes, {}
        return fetched

    async def _answer(self, outbox: _Outbox, number: int, request: ModelRequest) -> None:
        try:
            outbox.outcomes[number] = await self.send(request)
        except Exception as error:  # noqa: BLE001 - raised where the request came from
            outbox.outcomes[number] = error
        outbox.filled.set()


class Sender:
    """Sends requests to a `BatchGateway` from one event loop. `call` starts a call of one of its methods."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self._name = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._unsent: dict[int, ModelRequest] = {}
        self._waiting: dict[int, asyncio.Future[ModelResponse]] = {}
        self._collector: asyncio.Task[None] | None = None

    async def send(self, request: ModelRequest) -> ModelResponse:
        """The gateway's answer; raises what the gateway raised, or Ray's error where the actor is gone."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        future = self._waiting[number] = loop.create_future()
        if not self._unsent:
            loop.call_later(BATCH_SECONDS, self._hand_over)
        self._unsent[number] = request
        if self._collector is None or self._collector.done():
            self._collector = loop.create_task(self._collect())
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def _hand_over(self) -> None:
        unsent, self._unsent = self._unsent, {}
        self._call(BatchGateway.take, self._name, unsent)

    async def _collect(self) -> None:
        """Fetch outcomes for as long as a request waits for one."""
        try:
            while self._waiting:
                for number, outcome in (await self._call(BatchGateway.outcomes, self._name)).items():
                    self._settle(number, outcome)
        except BaseException as error:  # requests that wait must not wait for ever
            for number in list(self._waiting):
                self._settle(number, error)
            if not isinstance(error, Exception):
                raise

    def _settle(self, number: int, outcome: Outcome) -> None:
        future = self._waiting.pop(number, None)
        if future is None or future.done():  # the caller has given up
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
