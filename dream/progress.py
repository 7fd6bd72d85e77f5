"""Progress of long-running functions: bars in a terminal and in a notebook, plain lines elsewhere.

A long-running function has a parameter `show: Show` and calls `reporter_for(show)`:

    with reporter_for(show).task("reading documents", total=len(names), unit="files") as task:
        for name in names:
            ...
            task.advance(answer_correctness=0.71, usd=0.12)

`show` is `print` (bars in a terminal or a notebook, lines in a pipe or a job's log), any other function (which receives
lines), None (silent), or a `Reporter`. Reporters are thread-safe.
"""

import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Any, Self

from dream.live_table import MakeTable, table_html, table_text

Fact = float | str | None
LINE_COLUMNS = 79
NO_BREAK = "\N{NO-BREAK SPACE}"
LINE_SECONDS = 30.0


class Task:
    """Work of a number of steps, `total`, which is None if unknown; the end of a `with` block finishes it.

    `facts` are shown beside the count, with their latest values: `usd` as an amount of money, other numbers with three
    decimals, texts unchanged, None as "unknown". `total` may be changed before an `advance`. A `table` is shown instead
    of the facts where there are bars; it is made anew after each `advance`.
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
            table: makes a table of the task, with at most so many rows.
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
                self.line(_text(task, _time_passed(task), _time_left(task.seconds_left)))
            if task.done == task.total:
                self._complete.add(task)

    def finish(self, task: Task) -> None:
        due_at = self._due_at.pop(task, None)
        self._complete.discard(task)
        if due_at is not None and (task.final_line or task.seconds >= self._every):
            self.line(_text(task, _time_passed(task)))


class TerminalBars(Reporter):
    """Bars at the bottom of a terminal, with counts and times, and the facts below; lines scroll above them."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._lock = threading.RLock()
        self._progress: Any = None
        self._bars: dict[Task, Any] = {}

    def line(self, text: str) -> None:
        self._console.print(text)

    def begin(self, task: Task) -> None:
        with self._lock:
            if self._progress is None:
                from dream.rich_bars import rich_progress

                self._progress = rich_progress(self._console)
                self._progress.start()
            self._bars[task] = self._progress.add_task(
                task.name, total=task.total, completed=task.done, count=task.count, time="", facts="", of=task
            )

    def update(self, task: Task) -> None:
        with self._lock:
            if task in self._bars:
                self._show(task, _time_left(task.seconds_left) or _time_passed(task), task.total)

    def finish(self, task: Task) -> None:
        with self._lock:
            if task in self._bars:
                self._show(task, _time_passed(task), task.done if task.total is None else task.total)
                self._progress.stop_task(self._bars.pop(task))
            if self._progress is not None and not self._bars:
                self._progress.stop()
                self._progress = None

    def _show(self, task: Task, time: str, total: int | None) -> None:
        facts = "" if task.table else ", ".join(_facts(task))
        fields = {"count": task.count, "time": time, "facts": facts}
        self._progress.update(self._bars[task], completed=task.done, total=total, **fields)


class NotebookBars(Reporter):
    """A bar per task in the output of a notebook cell, without widgets, so that exports show it too.

    The final state contains no times, so that the output is the same when the notebook runs again.
    """

    REFRESH_SECONDS = 0.2

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._handles: dict[Task, Any] = {}
        self._shown_at: dict[Task, float] = {}

    def line(self, text: str) -> None:
        print(text, flush=True)

    def begin(self, task: Task) -> None:
        from IPython.display import display

        with self._lock:
            self._shown_at[task] = self.clock()
            self._handles[task] = display(_bundle(task, None), raw=True, display_id=True)

    def update(self, task: Task) -> None:
        with self._lock:
            now = self.clock()
            if task in self._handles and now - self._shown_at[task] >= self.REFRESH_SECONDS:
                self._shown_at[task] = now
                self._handles[task].update(_bundle(task, task.seconds_left), raw=True)

    def finish(self, task: Task) -> None:
        with self._lock:
            if task in self._handles:
                self._handles.pop(task).update(_bundle(task, None, finished=True), raw=True)
                del self._shown_at[task]


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
            self._reporter.line(f"  still working, {_time(now - self._silent_since)}")

    def _heard(self) -> None:
        self._silent_since = self._due_after = self.clock()


Show = Reporter | Callable[[str], None] | None


def reporter_for(show: Show) -> Reporter:
    """The reporter for a `show` argument: bars or lines for `print`, lines for a function, a silent one for None."""
    if show is None:
        return Reporter()
    if show is print:
        return _reporter_of_this_process()
    return Lines(show) if callable(show) else show


@contextmanager
def never_silent(every_seconds: float = 4.0) -> Iterator[Reporter]:
    """The reporter for `print`, which shows something at least every `every_seconds` in the `with` block."""
    heartbeat, stop = Heartbeat(_reporter_of_this_process(every_seconds), every_seconds), threading.Event()

    def beat() -> None:
        while not stop.wait(every_seconds / 10):
            heartbeat.beat()

    thread = threading.Thread(target=beat, name="dream-heartbeat", daemon=True)
    thread.start()
    try:
        yield heartbeat
    finally:
        stop.set()
        thread.join()


def _reporter_of_this_process(every_seconds: float = LINE_SECONDS) -> Reporter:
    if _is_notebook():
        return _notebook_bars()
    if sys.stdout is not None and sys.stdout.isatty():
        return _terminal_bars()
    return Lines(_print_at_once, every_seconds)


# A single instance per process: two sets of bars would overwrite each other.
@cache
def _terminal_bars() -> TerminalBars:
    return TerminalBars()


@cache
def _notebook_bars() -> NotebookBars:
    return NotebookBars()


def _print_at_once(text: str) -> None:
    print(text, flush=True)


def _is_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def _text(task: Task, passed: str = "", left: str = "") -> str:
    """The state of a task in lines of at most `LINE_COLUMNS` characters, wrapped between facts."""
    parts = [f"{task.name}: {task.count} {passed}".strip(), left, *_facts(task)]
    text = ", ".join(part.replace(" ", NO_BREAK) for part in parts if part)
    lines = textwrap.fill(text, LINE_COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines.replace(NO_BREAK, " ")


def _facts(task: Task) -> list[str]:
    return [_fact(name, value) for name, value in task.facts.items()]


def _fact(name: str, value: Fact) -> str:
    label = "USD" if name == "usd" else name
    if value is None or isinstance(value, str):
        return f"{label} {value or 'unknown'}"
    return f"{value:,.2f} USD" if name == "usd" else f"{name} {value:.3f}"


def _time_passed(task: Task) -> str:
    return f"in {_time(task.seconds)}"


def _time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"{_time(seconds)} left"


def _time(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    Example:
        >>> _time(3700)
        '1 h 2 min'
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bundle(task: Task, seconds_left: float | None, finished: bool = False) -> dict[str, str]:
    """The state of a task by MIME type: HTML, and text for viewers without HTML."""
    from html import escape

    left = _time_left(seconds_left)
    facts = [] if task.table else _facts(task)
    details = " · ".join(escape(part) for part in (task.count, left, *facts) if part)
    total = task.done if finished and task.total is None else task.total
    # Without a value, the element shows work of unknown length.
    value = "" if total is None else f' value="{task.done}" max="{max(total, 1)}"'
    bar = f'<progress style="width: 12em; vertical-align: middle"{value}></progress>'
    html = f'<div style="font-family: monospace">{escape(task.name)} {bar} {details}</div>'
    text = _text(task, left=left)
    if task.table:
        html, text = f"{table_html(task.table)}{html}", f"{table_text(task.table)}\n{text}"
    return {"text/html": html, "text/plain": text}
