"""Progress as bars: at the bottom of a terminal, and in the output of a notebook's cell."""

import threading
from html import escape
from typing import Any

from dream.progress.live_table import table_html, table_text
from dream.progress.task import Reporter, Task
from dream.progress.wording import facts_of, state_text, time_left, time_passed


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
                from dream.progress.rich_bars import rich_progress

                self._progress = rich_progress(self._console)
                self._progress.start()
            self._bars[task] = self._progress.add_task(
                task.name, total=task.total, completed=task.done, count=task.count, time="", facts="", of=task
            )

    def update(self, task: Task) -> None:
        with self._lock:
            if task in self._bars:
                self._show(task, time_left(task.seconds_left) or time_passed(task), task.total)

    def finish(self, task: Task) -> None:
        with self._lock:
            if task in self._bars:
                self._show(task, time_passed(task), task.done if task.total is None else task.total)
                self._progress.stop_task(self._bars.pop(task))
            if self._progress is not None and not self._bars:
                self._progress.stop()
                self._progress = None

    def _show(self, task: Task, time: str, total: int | None) -> None:
        facts = "" if task.table else ", ".join(facts_of(task))
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


def _bundle(task: Task, seconds_left: float | None, finished: bool = False) -> dict[str, str]:
    """The state of a task by MIME type: HTML, and text for viewers without HTML."""
    left = time_left(seconds_left)
    facts = [] if task.table else facts_of(task)
    details = " · ".join(escape(part) for part in (task.count, left, *facts) if part)
    total = task.done if finished and task.total is None else task.total
    # Without a value, the element shows work of unknown length.
    value = "" if total is None else f' value="{task.done}" max="{max(total, 1)}"'
    bar = f'<progress style="width: 12em; vertical-align: middle"{value}></progress>'
    html = f'<div style="font-family: monospace">{escape(task.name)} {bar} {details}</div>'
    text = state_text(task, left=left)
    if task.table:
        html, text = f"{table_html(task.table)}{html}", f"{table_text(task.table)}\n{text}"
    return {"text/html": html, "text/plain": text}
