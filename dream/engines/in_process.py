"""The engine without a cluster: trials share this process, its event loop and its caches.

A trial mostly waits for model servers, so one process serves many. Each has a thread for what blocks (imports, loading
its index); its questions are coroutines of DREAM's event loop.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from dream.defaults import MAX_CONCURRENT_QUESTIONS, QUESTIONS_AT_ONCE
from dream.engines.choice import IN_PROCESS, cpu_count
from dream.engines.engine import Engine, Receive, TrialRuns
from dream.engines.inbox import (
    LAST_BLOCK_SECONDS,
    BlockFinished,
    Message,
    TrialFinished,
    TrialStarted,
    TrialStopped,
)
from dream.engines.processes import ProcessPool
from dream.records import Cluster, Evaluation, Failure, Trial, TrialResult
from dream.runtime.event_loop import Waits, run_async

T = TypeVar("T")

TRIALS_AT_ONCE = 16
# Each child process needs about 400 MB.
PROCESSES_AT_MOST = 8
# The maximum time for a stopped trial to end; its thread does not keep the process alive.
END_SECONDS = 10.0


class InProcessEngine(Engine):
    """Runs trials in threads of this process."""

    name = IN_PROCESS
    cluster: Cluster | None = None

    def __init__(self) -> None:
        self._processes = ProcessPool(min(cpu_count(), PROCESSES_AT_MOST))

    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        messages = SimpleQueue[Message | None]()
        queue = _TrialQueue(runs, messages.put)

        def run_waiting() -> None:
            try:
                while queue.run_next():
                    pass
            finally:
                messages.put(None)

        n_threads = min(runs.at_once or _at_once(runs.n_questions), len(runs.trials))
        threads = [_thread(run_waiting, f"dream-trial-{i}") for i in range(n_threads)]
        try:
            running = n_threads
            while running:
                queue.stop(runs.to_stop())
                taken = _take(messages)
                running -= taken.count(None)
                receive([message for message in taken if message is not None])
        except KeyboardInterrupt:
            _end(queue, threads)
            receive([message for message in _all(messages) if isinstance(message, BlockFinished)])
            raise
        finally:
            _end(queue, threads)
        return {}

    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        return self._processes.submit(task, *arguments)

    def close(self) -> None:
        """End the processes that tasks ran in."""
        self._processes.close()


def _at_once(n_questions: int) -> int:
    """The number of trials that run at the same time: those whose questions are in progress, and one that loads its
    index meanwhile.

    Example:
        >>> _at_once(10), _at_once(100), _at_once(1000)
        (16, 5, 5)
    """
    of_one = min(n_questions, MAX_CONCURRENT_QUESTIONS)
    return min(TRIALS_AT_ONCE, -(-QUESTIONS_AT_ONCE // max(of_one, 1)) + 1)


class _TrialQueue:
    """The waiting and the running trials. Thread-safe."""

    def __init__(self, runs: TrialRuns, put: Callable[[Message], None]) -> None:
        self._runs, self._put = runs, put
        self._waiting = {trial.id: trial for trial in runs.trials}
        self._running: dict[str, Waits] = {}
        self._cancelled = False
        self._lock = threading.Lock()

    def run_next(self) -> bool:
        """Run the next trial to its end; False if none is left to run."""
        with self._lock:
            if self._cancelled or not self._waiting:
                return False
            trial = self._waiting.pop(next(iter(self._waiting)))
            waits = self._running[trial.id] = Waits()
        self._put(TrialStarted(trial.id))
        try:
            with waits.entered():
                result = self._run(trial)
            if waits.cancelled and result.failure is not None:
                run_async(asyncio.sleep(LAST_BLOCK_SECONDS))
                self._put(TrialStopped(trial.id))
            else:
                self._put(TrialFinished(result))
        finally:
            with self._lock:
                del self._running[trial.id]
        return True

    def _run(self, trial: Trial) -> TrialResult:
        finished = self._runs.finished.get(trial.id, Evaluation((), ()))
        return self._runs.function(trial.config(), finished, lambda block: self._put(BlockFinished(trial.id, block)))

    def stop(self, trial_ids: Collection[str]) -> None:
        """End these trials, unless they have ended."""
        with self._lock:
            never = [trial_id for trial_id in trial_ids if self._waiting.pop(trial_id, None)]
            running = [self._running[trial_id] for trial_id in trial_ids if trial_id in self._running]
        for trial_id in never:
            self._put(TrialStopped(trial_id))
        for waits in running:
            waits.cancel()

    def cancel(self) -> None:
        """End all trials, without a message."""
        with self._lock:
            self._cancelled = True
            running = list(self._running.values())
        for waits in running:
            waits.cancel()


def _thread(function: Callable[[], None], name: str) -> threading.Thread:
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(function,), name=name, daemon=True)
    thread.start()
    return thread


def _end(queue: _TrialQueue, threads: list[threading.Thread]) -> None:
    queue.cancel()
    until = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _all(messages: "SimpleQueue[Message | None]") -> list[Message | None]:
    """All waiting messages."""
    return [messages.get_nowait() for _ in range(messages.qsize())]


def _take(messages: "SimpleQueue[Message | None]") -> list[Message | None]:
    """All messages that wait, after waiting for up to half a second for the first."""
    taken: list[Message | None] = []
    try:
        taken.append(messages.get(timeout=0.5))
        while True:
            taken.append(messages.get_nowait())
    except Empty:
        return taken
