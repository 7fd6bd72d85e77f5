"""Requests travel to the gateway's actor, and answers back, as many in one Ray call as there are at the moment.

A Ray call for each costs both sides half a millisecond of CPU, which is more than the gateway's own work for it.
"""

import asyncio
import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dream.libraries import prepare_libraries
from dream.models.gateway import Gateway
from dream.models.openai_wire import ModelRequest, ModelResponse

# what comes within this time travels together
MOMENT_SECONDS = 0.003

Outcome = ModelResponse | BaseException


@dataclass
class _Outbox:
    """Answers that one sender has not fetched yet."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class GatewayActor:
    """A gateway that takes requests in bundles. Each process and event loop that sends has a name of its own.

    It holds a `Gateway` and is none: Ray wraps each method of an actor's class, which would slow every step.
    """

    def __init__(self) -> None:
        prepare_libraries()
        self._gateway = Gateway()
        self._outboxes: dict[str, _Outbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What another method of the gateway gives."""
        result = getattr(self._gateway, method)(*arguments, **options)
        return await result if asyncio.iscoroutine(result) else result

    async def take(self, sender: str, requests: Mapping[int, ModelRequest]) -> None:
        """Begin with these requests, by the sender's numbers."""
        outbox = self._outboxes.setdefault(sender, _Outbox())
        for number, request in requests.items():
            task = asyncio.create_task(self._answer(outbox, number, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def outcomes(self, sender: str) -> dict[int, Outcome]:
        """What has come of a sender's requests since it asked last; waits until there is something."""
        outbox = self._outboxes.setdefault(sender, _Outbox())
        await outbox.filled.wait()
        await asyncio.sleep(MOMENT_SECONDS)
        outbox.filled.clear()
        fetched, outbox.outcomes = outbox.outcomes, {}
        return fetched

    async def _answer(self, outbox: _Outbox, number: int, request: ModelRequest) -> None:
        try:
            outbox.outcomes[number] = await self._gateway.send(request)
        except Exception as error:  # noqa: BLE001 - raised where the request came from
            outbox.outcomes[number] = error
        outbox.filled.set()


class Sender:
    """The other side, on one event loop. `actor` is the handle of a `GatewayActor`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
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
            loop.call_later(MOMENT_SECONDS, self._hand_over)
        self._unsent[number] = request
        if self._collector is None or self._collector.done():
            self._collector = loop.create_task(self._collect())
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def _hand_over(self) -> None:
        unsent, self._unsent = self._unsent, {}
        self._actor.take.remote(self._name, unsent)

    async def _collect(self) -> None:
        """Fetch outcomes for as long as somebody waits for one."""
        try:
            while self._waiting:
                for number, outcome in (await self._actor.outcomes.remote(self._name)).items():
                    self._settle(number, outcome)
        except BaseException as error:  # those who wait must not wait for ever
            for number in list(self._waiting):
                self._settle(number, error)
            if not isinstance(error, Exception):
                raise

    def _settle(self, number: int, outcome: Outcome) -> None:
        future = self._waiting.pop(number, None)
        if future is None or future.done():  # whoever asked has given up
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
