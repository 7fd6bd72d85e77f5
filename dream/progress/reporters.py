"""`reporter_for`: the reporter for a `show` argument, or for this process."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from dream.progress.bars import NotebookBars, TerminalBars
from dream.progress.lines import LINE_SECONDS, Heartbeat, Lines
from dream.progress.task import Reporter

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
