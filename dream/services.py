"""Services that all trials share, such as the model gateway: objects of this process, or of one process on Ray's head.

A client holds a `Service` and names its methods themselves, so that editors and type checkers follow each call:

    service.call(Gateway.usage, trial)

`host()` is the only place that decides between this process and Ray. The clients that are open belong to a `Session`;
each process has one (`session()`).
"""

import asyncio
import inspect
import pickle
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from dream import ray_cluster
from dream.errors import ServiceError
from dream.runtime.event_loop import background_loop, start_async, use_running_loop, wait_for
from dream.runtime.libraries import prepare_libraries

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

ACTOR_NAME = "dream-services"
# It must outlive every worker node. So many calls wait in it at the same time.
_ACTOR_OPTIONS = {"name": ACTOR_NAME, "get_if_exists": True, "max_concurrency": 10_000, **ray_cluster.ON_HEAD}


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
        self.service = service

    def start(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "Future[Any]":
        try:
            result = method(self.service, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - the outcome of the call
            return _done(error=error)
        return start_async(result) if asyncio.iscoroutine(result) else _done(result)

    async def call_async(
        self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if asyncio.get_running_loop() is background_loop():
            return await method(self.service, *args, **kwargs)
        return await super().call_async(method, *args, **kwargs)


def _done(value: Any = None, error: Exception | None = None) -> "Future[Any]":
    future: Future[Any] = Future()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
    return future


@dataclass(frozen=True)
class ServiceKind(Generic[S]):
    """One of DREAM's services. `title` is its name in messages, `name` that by which processes find it."""

    title: str
    name: str


class ServicesProcess:
    """The Ray actor that holds the services of a job, in one process; they run on its event loop.

    Their classes are none of Ray's: Ray wraps each method of an actor's class, which would slow every step.
    """

    def __init__(self) -> None:
        prepare_libraries()
        session().host = _ServicesOfThisProcess()
        self._starting = asyncio.Lock()

    async def start(self, name: str, pickled_make: bytes) -> None:
        """Start a service that has not started yet. It is imported and made in a thread: others go on meanwhile."""
        use_running_loop()
        async with self._starting:
            if name not in _local_services:
                made = await asyncio.to_thread(lambda: pickle.loads(pickled_make)())
                _local_services.setdefault(name, LocalService(made))

    async def has(self, name: str) -> bool:
        """True if a service has started and not ended."""
        return name in _local_services

    async def end(self, name: str) -> None:
        """Forget a service, so that its name is free."""
        _local_services.pop(name, None)

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run a function in a thread of this process."""
        return await asyncio.to_thread(function, *arguments)

    async def call(self, name: str, method: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        """Run a method of a service.

        Raises:
            ServiceError: when the service has ended; else what the method raised.
        """
        if name not in _local_services:
            raise ServiceError(f"the service {name} has ended: nothing more can be asked of it")
        result = method(_local_services[name].service, *arguments, **options)
        return await result if inspect.isawaitable(result) else result


class RayService(Service[S]):
    """A service in the job's `ServicesProcess`, whose handle is `actor`. It may be sent to other processes."""

    def __init__(self, kind: ServiceKind[S], actor: Any) -> None:
        self._kind, self._actor = kind, actor

    def send(self, method: Callable[Concatenate[S, P], Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Start a call and return Ray's reference to its outcome, which raises Ray's own errors (see `errors`)."""
        return self._actor.call.remote(self._kind.name, method, *args, **kwargs)

    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        import ray

        with self.errors():
            return ray.get(self.send(method, *arguments, **options))

    def errors(self) -> AbstractContextManager[None]:
        """Raise what the service raised, and a ServiceError where its process is gone."""
        return _errors(self._kind.title)

    def start(self, make: Callable[[], S]) -> None:
        """Start the service, unless it has started already; `make` runs in its process."""
        import ray
        from ray import cloudpickle

        with self.errors():
            pickled = cloudpickle.dumps(make)  # pyright: ignore[reportPrivateImportUsage]
            ray.get(self._actor.start.remote(self._kind.name, pickled))

    def has_started(self) -> bool:
        """True if the service has started and not ended."""
        import ray

        with self.errors():
            return ray.get(self._actor.has.remote(self._kind.name))

    def end(self) -> None:
        """Free the name of the service, whose process lives on. What it still does is for its own methods to end."""
        import ray

        with suppress(ServiceError), self.errors():
            ray.get(self._actor.end.remote(self._kind.name))


@contextmanager
def _errors(title: str) -> Iterator[None]:
    from ray.exceptions import RayActorError

    try:
        with ray_cluster.unwrapped():
            yield
    except RayActorError as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "look at the head node's logs, then go on where it stopped: dream run --resume NAME"
        raise ServiceError(f"the {title} is gone (Actor died: {reason}): {remedy}") from None


class RayCall(Generic[T]):
    """A function that runs in a thread of the job's `ServicesProcess`; `title` is its name in messages."""

    def __init__(self, title: str, reference: Any) -> None:
        self._title, self._reference = title, reference

    def result(self) -> T:
        """Wait for the function's result, or raise what it raised.

        Raises:
            ServiceError: when its process is gone.
        """
        import ray

        with _errors(self._title):
            return ray.get(self._reference)


class Host(ABC):
    """The place of services: this process, or one on Ray."""

    @abstractmethod
    def find(self, kind: ServiceKind[S]) -> Service[S] | None:
        """The service that another process of this job has started; None where there is none."""


class InProcess(Host):
    """Services are objects of this process, which its `Session` holds."""

    def find(self, kind: ServiceKind[S]) -> None:
        return None

    def start(self, kind: ServiceKind[S], service: S) -> LocalService[S]:
        """Make an object a service of this process, and of its child processes (`dream.engines.processes`)."""
        started = _local_services[kind.name] = LocalService(service)
        return started


class _ServicesOfThisProcess(Host):
    """Services are where the caller is: threads of a `ServicesProcess` need no Ray to reach them."""

    def find(self, kind: ServiceKind[S]) -> LocalService[S] | None:
        return _local_services.get(kind.name)


class OnRay(Host):
    """Services share one process on the head of the Ray cluster that this process is connected to."""

    def find(self, kind: ServiceKind[S]) -> RayService[S] | None:
        actor = ray_cluster.find_actor(ACTOR_NAME)
        service = RayService(kind, actor)
        return service if actor and service.has_started() else None

    def start(self, kind: ServiceKind[S], make: Callable[[], S]) -> RayService[S]:
        """Start a service, unless it has started already; the first one starts the process. `make` runs there."""
        service = RayService(kind, services_process())
        service.start(make)
        return service

    def run(self, title: str, function: Callable[..., T], *arguments: Any) -> RayCall[T]:
        """Start a function in a thread of the process of services; both must be picklable."""
        return RayCall(title, services_process().run.remote(function, *arguments))


def services_process() -> Any:
    """The handle of the job's process of services, started if there is none yet; it lives as long as any handle."""
    import ray

    return ray.remote(ServicesProcess).options(**_ACTOR_OPTIONS).remote()


_local_services: dict[str, LocalService[Any]] = {}


def local_service(name: str) -> LocalService[Any]:
    """The service of this process that was started last under the name of a kind."""
    return _local_services[name]


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
