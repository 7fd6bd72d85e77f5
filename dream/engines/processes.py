"""`ProcessPool`: runs tasks in child processes, which call the services of this process over a socket.

    task --pickled--> child process; its `current_gateway()` --call--> the gateway of this process

A child starts when needed, runs one task after another, and ends with its parent. Its sets of texts have a reproducible
order (PYTHONHASHSEED=0), because ragas' testset generator draws from such sets.
"""

import itertools
import json
import os
import pickle
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from dream import services
from dream.errors import ServiceError, end_of_all, explain
from dream.runtime.libraries import prepare_libraries
from dream.services import AsyncService, Host, ServiceKind

S = TypeVar("S")
T = TypeVar("T")

# The child has the same import path as this process, regardless of its working folder.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from dream.engines.processes import serve; serve(int(sys.argv[2]))"
)
END_SECONDS = 5.0


@dataclass(frozen=True)
class _Task:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class _Call:
    """A child calls a service of its parent; `number` finds the answer's way back."""

    number: int
    service: str
    method: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Outcome:
    """The value or the error of a task (number -1) or of a call."""

    number: int
    value: Any = None
    error: BaseException | None = None


_OF_TASK = -1


class _Channel:
    """Messages to and from another process; sending is safe from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, message: Any) -> None:
        content = pickle.dumps(message)
        with self._lock:
            self._connection.send_bytes(content)

    def receive(self) -> Any:
        """The next message; EOFError or OSError when the other process has ended."""
        return pickle.loads(self._connection.recv_bytes())

    def send_outcome(self, number: int, value: Any, error: BaseException | None) -> None:
        """Send an outcome; a value that cannot be pickled becomes an error that says so."""
        try:
            self.send(_Outcome(number, value, None if error is None else _portable(error)))
        except (pickle.PicklingError, TypeError, AttributeError) as problem:
            reason = f"a {type(value).__name__} cannot be sent to another process: {problem}"
            self.send(_Outcome(number, error=ServiceError(reason)))


def _portable(error: BaseException) -> BaseException:
    """The error itself if it is picklable, which many of other libraries are not; else the fatal error behind it, or
    its reason."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does
        return end_of_all(error) or RuntimeError(explain(error))
    return error


class ProcessPool:
    """At most `size` child processes. `submit` may be called from any thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: queue.SimpleQueue[tuple[_Task, Future[Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._children: set[subprocess.Popen[bytes]] = set()

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Run a task in a child. The result is a `ServiceError` if the child ends before the task does."""
        future: Future[T] = Future()
        self._tasks.put((_Task(function, arguments), future))
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._run_tasks, name="dream-process", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """End the children, including those with a task."""
        for _ in self._threads:
            self._tasks.put(None)
        for child in list(self._children):
            child.kill()
        for thread in self._threads:
            thread.join(END_SECONDS)

    def _run_tasks(self) -> None:
        """The thread of one child: it hands tasks on, and answers the child's calls."""
        child: _Child | None = None
        while (job := self._tasks.get()) is not None:
            task, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if child is None or child.process.poll() is not None:
                    child = _Child()
                    self._children.add(child.process)
                outcome = child.run(task)
            except Exception as error:  # noqa: BLE001 - whatever ends a task is told to who waits for it
                gone = isinstance(error, EOFError | OSError) and child is not None
                reason = child.last_words() if gone and child else explain(error)
                outcome = _Outcome(_OF_TASK, error=ServiceError(f"the process of a task ended: {reason}"))
                if child is not None:
                    child.end()
                child = None
            if outcome.error is not None:
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome.value)
        if child is not None:
            child.end()


class _Child:
    """A child process, as its parent sees it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process lives
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        self._channel = _Channel(Connection(ours.detach()))

    def run(self, task: _Task) -> _Outcome:
        """Run a task to its end, and answer the calls that it makes meanwhile."""
        self._channel.send(task)
        while True:
            message = self._channel.receive()
            if isinstance(message, _Outcome):
                return message
            self._answer(message)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait(END_SECONDS)

    def last_words(self) -> str:
        """The exit code and the end of the error output of a process that has ended."""
        code = self.process.wait(END_SECONDS)
        self._errors.seek(0)
        text = " ".join(self._errors.read()[-2000:].decode(errors="replace").split())[-500:]
        return f"exit code {code}{f', {text}' if text else ''}"

    def _answer(self, call: _Call) -> None:
        def send(done: "Future[Any]") -> None:
            with suppress(OSError):  # the child is gone, which its task's outcome tells
                error = done.exception()
                self._channel.send_outcome(call.number, None if error else done.result(), error)

        services.local_service(call.service).start(call.method, call.arguments, call.options).add_done_callback(send)


class _Parent(Host):
    """The parent process, as a child sees it: the host of its services."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}

    def find(self, kind: ServiceKind[S]) -> "_ParentService[S]":
        return _ParentService(kind, self)

    def call(
        self, service: str, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "Future[Any]":
        """Send a call; the future has its outcome."""
        call = _Call(next(self._numbers), service, method, arguments, options)
        future = self._waiting[call.number] = Future()
        self._channel.send(call)
        return future

    def serve(self) -> None:
        """Run the parent's tasks, each in a thread, until it ends; take the outcomes of calls."""
        with suppress(EOFError, OSError):
            while True:
                message = self._channel.receive()
                if isinstance(message, _Task):
                    threading.Thread(target=self._run, args=(message,), name="dream-task", daemon=True).start()
                    continue
                future = self._waiting.pop(message.number)
                if message.error is not None:
                    future.set_exception(message.error)
                else:
                    future.set_result(message.value)

    def _run(self, task: _Task) -> None:
        try:
            value, problem = task.function(*task.arguments), None
        except Exception as error:  # noqa: BLE001 - raised where the task came from
            value, problem = None, error
        self._channel.send_outcome(_OF_TASK, value, problem)


class _ParentService(AsyncService[S]):
    """A service of the parent process."""

    def __init__(self, kind: ServiceKind[S], parent: _Parent) -> None:
        self._name, self._parent = kind.name, parent

    def start(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "Future[Any]":
        return self._parent.call(self._name, method, arguments, options)


def serve(file_number: int) -> None:
    """The program of a child process: run the tasks that come over a socket, until the parent closes it."""
    prepare_libraries()
    parent = _Parent(_Channel(Connection(file_number)))
    services.session().host = parent
    parent.serve()
    os._exit(0)  # the result of a running task is no longer needed
