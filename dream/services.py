"""Services that all trials share, such as the model gateway: objects of this process, or named actors on Ray.

A client holds a `Service` and names its methods themselves, so that editors and type checkers follow each call:

    service.call(Gateway.usage, trial)

`host()` is the only place that decides between this process and Ray. The clients that are open belong to a `Session`;
each process has one (`session()`).
"""

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from dream import ray_cluster
from dream.errors import ServiceError
from dream.event_loop import background_loop, start_async, wait_for

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

ACTOR_END_SECONDS = 10.0


class ServiceActor(Generic[S]):
    """The Ray actor around a service.

    It holds the service and is none: Ray wraps each method of an actor's class, which would slow every step.
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._service = make()

    async def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a method of the service on the actor's event loop."""
        result = method(self._service, *arguments, **options)
        return await result if inspect.isawaitable(result) else result


class Service(ABC, Generic[S]):
    """Calls the methods of a service of class `S`, from any thread."""

    @overload
    def call(
        self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    def call(self, method: Callable[Concatenate[S, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the service and wait for its result.

        Raises:
            ServiceError: when the actor of the service is gone; else what the method raised.
        """
        return self._call(method, args, kwargs)

    @abstractmethod
    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any: ...


class AsyncService(Service[S]):
    """A service whose calls do not block the event loop that makes them."""

    @abstractmethod
    def start(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "Future[Any]":
        """Start a call; the future has its outcome."""

    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        return wait_for(self.start(method, arguments, options))

    async def call_async(
        self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`call` for callers on an event loop."""
        return await asyncio.wrap_future(self.start(method, args, kwargs))


class LocalService(AsyncService[S]):
    """A service in this process. Its coroutines run on DREAM's own event loop."""

    def __init__(self, service: S) -> None:
        self._service = service

    def start(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "Future[Any]":
        try:
            result = method(self._service, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - the outcome of the call
            return _done(error=error)
        return start_async(result) if asyncio.iscoroutine(result) else _done(result)

    async def call_async(
        self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if asyncio.get_running_loop() is background_loop():
            return await method(self._service, *args, **kwargs)
        return await super().call_async(method, *args, **kwargs)


def _done(value: Any = None, error: Exception | None = None) -> "Future[Any]":
    future: Future[Any] = Future()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
    return future


class RayService(Service[S]):
    """A service in a named Ray actor, shared by all processes of the job."""

    def __init__(self, kind: "ServiceKind[S]", actor: Any) -> None:
        self.actor = actor
        self._kind = kind

    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        import ray

        with self.errors():
            return ray.get(self.actor.call.remote(method, *arguments, **options))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what the actor raised, and a ServiceError where the actor is gone."""
        from ray.exceptions import RayActorError

        try:
            with ray_cluster.unwrapped():
                yield
        except RayActorError as error:
            reason = " ".join(str(error).split())[:200]
            remedy = "look at the head node's logs, then go on where it stopped: dream run --resume NAME"
            raise ServiceError(f"the {self._kind.title} is gone (Actor died: {reason}): {remedy}") from None

    def end(self) -> None:
        """End the actor, and wait up to 10 s until its name is free."""
        import ray

        ray.kill(self.actor)
        until_gone = Retrying(
            retry=retry_if_result(lambda actor: actor is not None),
            stop=stop_after_delay(ACTOR_END_SECONDS),
            wait=wait_fixed(0.02),
            retry_error_callback=lambda state: None,
        )
        until_gone(ray_cluster.find_actor, self._kind.actor_name)


@dataclass(frozen=True)
class ServiceKind(Generic[S]):
    """One of DREAM's services. `title` is its name in messages."""

    title: str
    actor_name: str
    actor_class: type[ServiceActor[S]]


class Host(ABC):
    """Where services are."""

    @abstractmethod
    def find(self, kind: ServiceKind[S]) -> Service[S] | None:
        """The service that another process of this job has started; None where there is none."""


class InProcess(Host):
    """Services are objects of this process, which its `Session` holds."""

    def find(self, kind: ServiceKind[S]) -> None:
        return None

    def start(self, kind: ServiceKind[S], service: S) -> LocalService[S]:
        """Make an object a service of this process, and of its child processes (`dream.engines.processes`)."""
        started = _local_services[kind.actor_name] = LocalService(service)
        return started


class OnRay(Host):
    """Services are actors of the Ray cluster that this process is connected to."""

    def find(self, kind: ServiceKind[S]) -> RayService[S] | None:
        actor = ray_cluster.find_actor(kind.actor_name)
        return RayService(kind, actor) if actor else None

    def start(self, kind: ServiceKind[S], make: Callable[[], S], **options: Any) -> RayService[S]:
        """Start the service's actor. `make` runs in the actor; `options` are those of a Ray actor."""
        import ray

        actor = ray.remote(kind.actor_class).options(name=kind.actor_name, **options)
        return RayService(kind, actor.remote(make))


_local_services: dict[str, LocalService[Any]] = {}


def local_service(actor_name: str) -> LocalService[Any]:
    """The service of this process that was started last under the name of a kind."""
    return _local_services[actor_name]


def host() -> Host:
    """The host of services: that of the session, else the Ray cluster that this process is connected to, else this
    process."""
    return _session.host or (OnRay() if ray_cluster.on_ray() else InProcess())


class Session:
    """The clients of services that are open in this process, by their class. Safe from any thread.

    `host` is where services are; None leaves it to the connection to Ray.
    """

    def __init__(self, host: Host | None = None) -> None:
        self.host = host
        self._clients: dict[tuple[type, str], Any] = {}
        self._lock = threading.RLock()

    def get(self, client: type[T], name: str = "") -> T | None:
        """The client that is open, None where none is. `name` tells several of a class apart."""
        return cast("T | None", self._clients.get((client, name)))

    def get_or_open(self, client: type[T], open_client: Callable[[], T], name: str = "") -> T:
        """The client that is open, else a new one, opened by the first of several threads."""
        with self._lock:
            if (client, name) not in self._clients:
                self._clients[client, name] = open_client()
            return self._clients[client, name]

    def take_out(self, client: type[T], name: str = "") -> T | None:
        """Forget the client that is open, without closing it, and return it."""
        with self._lock:
            return self._clients.pop((client, name), None)


_session = Session()


def session() -> Session:
    """The session of this process."""
    return _session


@contextmanager
def in_this_process() -> Iterator[None]:
    """Services that are opened within the block are objects of this process, even beside a connection to Ray."""
    before, _session.host = _session.host, InProcess()
    try:
        yield
    finally:
        _session.host = before


def renew_session() -> None:
    """Begin a new session with the same host, for a task in a worker: services of an earlier task may have ended."""
    global _session
    _session = Session(_session.host)
