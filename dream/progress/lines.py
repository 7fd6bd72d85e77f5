"""Progress as lines of text: `Lines`, and `Heartbeat`, which adds lines while nothing else is shown."""

import threading
import time
from collections.abc import Callable

from dream.progress.task import Reporter, Task
from dream.progress.wording import duration, state_text, time_left, time_passed

LINE_SECONDS = 30.0


class Lines(Reporter):
    """Passes lines of text to a function: for each task a line every `every_seconds`, and one at its end.

    A task shorter than `every_seconds` has no lines, except the last one with `final_line`.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        every_seconds: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.clock = clock
        self._show, self._every = show, every_seconds
        self._lock = threading.Lock()
        self._due_at: dict[Task, float] = {}
        self._complete: set[Task] = set()

    def line(self, text: str) -> None:
        with self._lock:
            self._show(text)

    def begin(self, task: Task) -> None:
        self._due_at[task] = self.clock() + self._every

    def update(self, task: Task) -> None:
        now = self.clock()
        if task in self._due_at and now >= self._due_at[task]:
            self._due_at[task] = now + self._every
            # No line for the step that completes a task: `finish` usually follows at once and shows the final state.
            if task.done != task.total or task in self._complete:
                self.line(state_text(task, time_passed(task), time_left(task.seconds_left)))
            if task.done == task.total:
                self._complete.add(task)

    def finish(self, task: Task) -> None:
        due_at = self._due_at.pop(task, None)
        self._complete.discard(task)
        if due_at is not None and (task.final_line or task.seconds >= self._every):
            self.line(state_text(task, time_passed(task)))


class Heartbeat(Reporter):
    """Passes everything to another reporter, and shows a line after every `every_seconds` without output.

    `beat` must be called repeatedly, as in `never_silent`.
    """

    def __init__(self, reporter: Reporter, every_seconds: float) -> None:
        self.clock = reporter.clock
        self._reporter, self._every = reporter, every_seconds
        self._silent_since = self._due_after = self.clock()

    def line(self, text: str) -> None:
        self._heard()
        self._reporter.line(text)

    def begin(self, task: Task) -> None:
        self._heard()
        self._reporter.begin(task)

    def update(self, task: Task) -> None:
        self._heard()
        self._reporter.update(task)

    def finish(self, task: Task) -> None:
        self._heard()
        self._reporter.finish(task)

    def beat(self) -> None:
        """Show a line if nothing was shown for `every_seconds`."""
        now = self.clock()
        if now - self._due_after >= self._every:
            self._due_after = now
            self._reporter.line(f"  still working, {duration(now - self._silent_since)}")

    def _heard(self) -> None:
        self._silent_since = self._due_after = self.clock()
