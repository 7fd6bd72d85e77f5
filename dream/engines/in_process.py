"""The engine that needs no cluster: trials share this process, its event loop and its caches.

A trial mostly waits for model servers, so one process serves many. Each has a thread for what blocks (imports, loading
its index); its questions are coroutines of DREAM's event loop.
"""

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from dream.defaults import MAX_CONCURRENT_QUESTIONS
from dream.engines.choice import IN_PROCESS, cpu_count
from dream.engines.engine import Engine, Receive, TrialRuns
from dream.engines.inbox import BlockFinished, Message, TrialFinished
from dream.engines.processes import ProcessPool
from dream.event_loop import Waits
from dream.records import Cluster, Evaluation, Failure, Trial

T = TypeVar("T")

# So many questions in progress keep an endpoint busy; more would only make the last trials of an experiment, and with
# them their place in MLflow, come together at the end.
QUESTIONS_AT_ONCE = 400
TRIALS_AT_ONCE = 16
# Each child process takes some 400 MB.
PROCESSES_AT_MOST = 8
# How long a stopped trial may take to end; its thread does not keep the process alive.
END_SECONDS = 10.0


class InProcessEngine(Engine):
    """Runs trials in threads of this process."""

    name = IN_PROCESS
    cluster: Cluster | None = None

    def __init__(self) -> None:
        self._processes = ProcessPool(min(cpu_count(), PROCESSES_AT_MOST))

    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        waiting, messages, waits = iter(runs.trials), SimpleQueue[Message | None](), Waits()
        lock = threading.Lock()

        def next_trial() -> Trial | None:
            with lock:
                return None if waits.cancelled else next(waiting, None)

        def run_waiting() -> None:
            try:
                while (trial := next_trial()) is not None:
                    _run(trial, runs, messages.put)
            finally:
                messages.put(None)

        n_threads = min(runs.at_once or _at_once(runs.n_questions), len(runs.trials))
        threads = [_thread(run_waiting, waits, f"dream-trial-{i}") for i in range(n_threads)]
        try:
            running = n_threads
            while running:
                taken = _take(messages)
                running -= taken.count(None)
                receive([message for message in taken if message is not None])
        except KeyboardInterrupt:
            _end(waits, threads)
            receive([message for message in _all(messages) if isinstance(message, BlockFinished)])
            raise
        finally:
            _end(waits, threads)
        return {}

    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        return self._processes.submit(task, *arguments)

    def close(self) -> None:
        """End the processes that tasks ran in."""
        self._processes.close()


def _at_once(n_questions: int) -> int:
    """The number of trials that run at the same time.

    Example:
        >>> _at_once(10), _at_once(100), _at_once(1000)
        (16, 7, 7)
    """
    of_one = min(n_questions, MAX_CONCURRENT_QUESTIONS)
    return min(TRIALS_AT_ONCE, -(-QUESTIONS_AT_ONCE // max(of_one, 1)))


def _thread(function: Callable[[], None], waits: Waits, name: str) -> threading.Thread:
    def enter() -> None:
        with waits.entered():
            function()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(enter,), name=name, daemon=True)
    thread.start()
    return thread


def _run(trial: Trial, runs: TrialRuns, put: Callable[[Message], None]) -> None:
    finished = runs.finished.get(trial.id, Evaluation((), ()))
    result = runs.function(trial.config(), finished, lambda block: put(BlockFinished(trial.id, block)))
    put(TrialFinished(result))


def _end(waits: Waits, threads: list[threading.Thread]) -> None:
    waits.cancel()
    until = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _all(messages: "SimpleQueue[Message | None]") -> list[Message | None]:
    """All messages that wait."""
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
