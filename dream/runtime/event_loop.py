"""DREAM's single event loop per process, as clients with open connections must stay on one loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None
_loop_thread: threading.Thread | None = None
_loop_lock = threading.Lock()


class Waits:
    """The waits of some threads for DREAM's loop, which another thread can cancel together."""

    def __init__(self) -> None:
        self.cancelled = False
        self._futures: set[Future[Any]] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Register all waits of this thread within the block."""
        token = _waits.set(self)
        try:
            yield
        finally:
            _waits.reset(token)

    def cancel(self) -> None:
        """Cancel the coroutines that these threads wait for, now and later."""
        self.cancelled = True
        for future in list(self._futures):
            future.cancel()

    def result(self, future: "Future[T]") -> T:
        """Wait for a future.

        Raises:
            CancelledError: when `cancel` was called.
        """
        self._futures.add(future)
        try:
            if self.cancelled:
                raise CancelledError
            return future.result()
        finally:
            self._futures.discard(future)


_waits: ContextVar[Waits | None] = ContextVar("waits", default=None)


def background_loop() -> asyncio.AbstractEventLoop:
    """DREAM's event loop for this process, in a separate thread; the first call starts it."""
    global _loop, _loop_thread
    with _loop_lock:
        if _loop is None or _loop_thread is None or not _loop_thread.is_alive():
            _loop = asyncio.new_event_loop()
            _loop_thread = threading.Thread(target=_loop.run_forever, name="dream-loop", daemon=True)
            _loop_thread.start()
    return _loop


def use_running_loop() -> None:
    """Use the running event loop as DREAM's loop for this process, instead of one in a separate thread."""
    global _loop, _loop_thread
    with _loop_lock:
        _loop, _loop_thread = asyncio.get_running_loop(), threading.current_thread()


def start_async(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start a coroutine on DREAM's loop, from any thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, background_loop())


def wait_for(future: "Future[T]") -> T:
    """Wait for a future of DREAM's loop. Interrupting the wait (Ctrl-C, a notebook's stop button) cancels it.

    Raises:
        RuntimeError: if called from that loop itself, which waiting would block forever.
    """
    if threading.current_thread() is _loop_thread and not future.done():
        future.cancel()
        raise RuntimeError("DREAM's own event loop would wait for itself: await the coroutine instead")
    waits = _waits.get()
    try:
        return future.result() if waits is None else waits.result(future)
    finally:
        future.cancel()


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on DREAM's loop and wait: works in scripts, notebooks and Ray workers alike (see `wait_for`)."""
    return wait_for(start_async(coroutine))
