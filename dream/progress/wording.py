"""The state of a task in words: counts, durations and facts."""

import textwrap

from dream.progress.task import Fact, Task

LINE_COLUMNS = 79
NO_BREAK = "\N{NO-BREAK SPACE}"


def state_text(task: Task, passed: str = "", left: str = "") -> str:
    """The state of a task in lines of at most `LINE_COLUMNS` characters, wrapped between facts."""
    parts = [f"{task.name}: {task.count} {passed}".strip(), left, *facts_of(task)]
    text = ", ".join(part.replace(" ", NO_BREAK) for part in parts if part)
    lines = textwrap.fill(text, LINE_COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines.replace(NO_BREAK, " ")


def facts_of(task: Task) -> list[str]:
    return [_fact(name, value) for name, value in task.facts.items()]


def _fact(name: str, value: Fact) -> str:
    label = "USD" if name == "usd" else name
    if value is None or isinstance(value, str):
        return f"{label} {value or 'unknown'}"
    return f"{value:,.2f} USD" if name == "usd" else f"{name} {value:.3f}"


def time_passed(task: Task) -> str:
    return f"in {duration(task.seconds)}"


def time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    Example:
        >>> duration(3700)
        '1 h 2 min'
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
