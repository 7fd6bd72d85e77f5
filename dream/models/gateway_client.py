"""How each process reaches the gateway, wherever that runs: in this process, or as one actor of the Ray cluster."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from dream import ray_cluster
from dream.errors import ServiceError
from dream.event_loop import background_loop, run_async
from dream.models.gateway import Gateway
from dream.models.gateway_actor import GatewayActor, Sender
from dream.models.openai_wire import ModelRequest, ModelResponse
from dream.models.usage import read_prices
from dream.settings import Settings
from dream.storage.objects import open_storage

ACTOR_NAME = "dream-gateway"


class Door(Protocol):
    """How the rest of DREAM reaches the gateway, wherever it runs. `call` is safe from any thread and loop."""

    async def send(self, request: ModelRequest) -> ModelResponse: ...

    def call(self, method: str, *arguments: Any, **options: Any) -> Any: ...


class LocalDoor:
    """A gateway in this process, on DREAM's own event loop."""

    def __init__(self) -> None:
        self._gateway = Gateway()

    async def send(self, request: ModelRequest) -> ModelResponse:
        sent = asyncio.run_coroutine_threadsafe(self._gateway.send(request), background_loop())
        return await asyncio.wrap_future(sent)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        result = getattr(self._gateway, method)(*arguments, **options)
        return run_async(result) if asyncio.iscoroutine(result) else result


class RayDoor:
    """The gateway as a named Ray actor, shared by all workers of this job."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._senders: WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = WeakKeyDictionary()

    async def send(self, request: ModelRequest) -> ModelResponse:
        loop = asyncio.get_running_loop()
        if loop not in self._senders:
            self._senders[loop] = Sender(self._actor)
        with _explained():
            return await self._senders[loop].send(request)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        import ray

        with _explained():
            return ray.get(self._actor.call.remote(method, *arguments, **options))


@contextmanager
def _explained() -> Iterator[None]:
    """Raise what the actor raised; where the actor is gone, say so."""
    from ray.exceptions import RayActorError

    try:
        with ray_cluster.unwrapped():
            yield
    except RayActorError as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "look at the head node's logs, then go on where it stopped: dream run --resume NAME"
        raise ServiceError(f"the model gateway is gone (Actor died: {reason}): {remedy}") from None


_door: Door | None = None
_door_lock = threading.Lock()


def open_door(settings: Settings, spent_before: Mapping[str, float] | None = None) -> Door:
    """Start the gateway (on the Ray cluster if this process is connected to one) and give it the settings.

    `spent_before` is what counts against the budget already.
    """
    global _door
    close_door()
    with _door_lock:
        _door = _new_door(settings, spent_before)
    return _door


def door() -> Door:
    """The gateway of this process: the one opened before, else the cluster's, else a new one from the environment."""
    global _door
    with _door_lock:
        if _door is None:
            actor = ray_cluster.find_actor(ACTOR_NAME)
            _door = RayDoor(actor) if actor else _new_door(Settings.from_environment())
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
def opened(settings: Settings, spent_before: Mapping[str, float] | None = None) -> Iterator[Door]:
    """The gateway for the length of a `with` block; the offline server stops with it."""
    try:
        yield open_door(settings, spent_before)
    finally:
        close_door()


def _new_door(settings: Settings, spent_before: Mapping[str, float] | None = None) -> Door:
    prices = read_prices(settings.prices)
    cache = open_storage(settings.cache_uri, settings)
    cache.ensure()
    new = _start_actor() if ray_cluster.on_ray() else LocalDoor()
    new.call(
        "configure",
        settings.endpoints,
        cache=cache,
        budget=settings.budget,
        spent_before=spent_before,
        prices=prices,
    )
    return new


def _start_actor() -> RayDoor:
    import ray

    options = {"name": ACTOR_NAME, "get_if_exists": True, "max_concurrency": 10_000, **ray_cluster.ON_HEAD}
    return RayDoor(ray.remote(GatewayActor).options(**options).remote())
