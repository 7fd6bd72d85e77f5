"""`Task`, whose steps are counted, and `Reporter`, which shows its progress."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dream.progress.live_table import MakeTable

Fact = float | str | None


class Task:
    """Work of a number of steps, `total`, which is None if unknown; the end of a `with` block finishes it.

    `facts` are shown beside the count, with their latest values: `usd` as an amount of money, other numbers with three
    decimals, texts unchanged, None as "unknown". `total` may be changed before an `advance`. If there are bars, a
    `table` is shown instead of the facts, and refreshed after each `advance`.
    """

    def __init__(
        self,
        reporter: "Reporter",
        name: str,
        total: int | None,
        unit: str,
        done: int,
        final_line: bool,
        table: MakeTable | None = None,
    ):
        self.name, self.total, self.unit, self.done, self.facts = name, total, unit, done, dict[str, Fact]()
        self.final_line, self.table, self.version = final_line, table, 0
        self._reporter, self._done_before = reporter, done
        self.started = reporter.clock()
        self._lock = threading.Lock()

    def advance(self, steps: int = 1, **facts: Fact) -> None:
        """Count steps as done, and update the facts. `steps=0` updates only the facts."""
        with self._lock:
            self.done += steps
            self.facts.update(facts)
            self.version += 1
            self._reporter.update(self)

    def finish(self) -> None:
        """Show the final state; a task with fewer steps than `total` is shown as unfinished."""
        with self._lock:
            self._reporter.finish(self)

    @property
    def count(self) -> str:
        """The count with its unit: `3 of 12 files`, or `3 files` if the total is unknown."""
        return f"{self.done:,}{'' if self.total is None else f' of {self.total:,}'} {self.unit}"

    @property
    def seconds(self) -> float:
        """The seconds since the task began."""
        return self._reporter.clock() - self.started

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds to the end, from the mean duration of the steps so far.

        None before the first step, after the last, and for an unknown total.
        """
        new = self.done - self._done_before
        if self.total is None or new <= 0 or self.done >= self.total:
            return None
        return self.seconds / new * (self.total - self.done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class Reporter:
    """Shows lines and the progress of tasks. This base class shows nothing; subclasses override the methods."""

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def line(self, text: str) -> None:
        """Show a line of text, above any bars."""

    def task(
        self,
        name: str,
        total: int | None,
        unit: str,
        done: int = 0,
        final_line: bool = False,
        table: MakeTable | None = None,
    ) -> Task:
        """Begin a task.

        Args:
            total: the number of steps; None if unknown.
            unit: the name of the steps in the plural, such as "files".
            done: the number of steps done before, for resumed work.
            final_line: show a line at the end of a short task too, where progress is shown as lines.
            table: a function that makes a table with at most the given number of rows.
        """
        task = Task(self, name, total, unit, done, final_line, table)
        self.begin(task)
        return task

    def begin(self, task: Task) -> None:
        """Called by a new task."""

    def update(self, task: Task) -> None:
        """Called by a task that has advanced."""

    def finish(self, task: Task) -> None:
        """Called by a task at its end."""
