"""A table of questions as read from a file, before its columns are interpreted."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 20
CUT = 60
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One row: its number in a spreadsheet, and its cells by the column's name as written.

    A cell is a text; from JSON it can also be a list, a dictionary or None.
    """

    number: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """The rows of a file.

    Attributes:
        columns: the names of the columns as written, in order; "" for a column without a name.
        rows: the rows that are not blank; blank ones are left out, but counted in the numbers.
        unit: what `Row.number` counts: "row" of a spreadsheet (the header is row 1), "line" or "item" of JSON.
        notes: assumptions of the reader, one line each.
        header_row: the number of the row with the names.
        problems: reasons why the table cannot be used, each with the number of its row.
        remedy: a suggestion for fixing these problems.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    header_row: int = 1
    unit: str = "row"
    notes: tuple[str, ...] = ()
    problems: tuple[tuple[int, str], ...] = ()
    remedy: str = ""


@dataclass
class Problems:
    """Problems of rows, in the order of the rows, as a bounded number of lines."""

    unit: str = "row"
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, problem: str) -> None:
        """Add a problem of the row with this number."""
        self.found.append((number, problem))

    def lines(self) -> list[str]:
        """At most `SHOWN` lines; equal problems of neighbouring rows share a line, and if these are too many, all equal
        problems do.

        Example:
            >>> problems = Problems(found=[(5, "no question"), (6, "no question"), (9, "no question")])
            >>> problems.lines()
            ['rows 5-6: no question', 'row 9: no question']
        """
        runs = _runs(self.found)
        if len(runs) > SHOWN:
            by_problem: dict[str, list[int]] = {}
            for number, problem in self.found:
                by_problem.setdefault(problem, []).append(number)
            runs = [(numbers, problem) for problem, numbers in by_problem.items()]
        return bounded([f"{numbered(self.unit, numbers)}: {problem}" for numbers, problem in runs])


def bounded(lines: Sequence[str]) -> list[str]:
    """At most `SHOWN` lines; the last one has the number of further lines."""
    if len(lines) <= SHOWN:
        return list(lines)
    return [*lines[: SHOWN - 1], f"and {len(lines) - SHOWN + 1} more"]


def numbered(unit: str, numbers: Sequence[int]) -> str:
    """Row numbers as a short text.

    Example:
        >>> numbered("row", [3, 5, 6, 7])
        'rows 3, 5-7'
        >>> numbered("line", range(1, 100, 2))
        'lines 1, 3, 5, 7, 9 and 45 more'
    """
    ranges = list(_ranges(numbers))
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:5]]
    left = sum(last - first + 1 for first, last in ranges[5:])
    more = f" and {left} more" if left else ""
    return f"{unit}{'s' * (len(numbers) > 1)} {', '.join(shown)}{more}"


def shortened(text: str, length: int = CUT) -> str:
    """A text in quotes for a message, truncated to `length` characters.

    Example:
        >>> shortened("How high is it?", 8)
        "'How high...'"
    """
    return repr(text if len(text) <= length else f"{text[:length]}...")


def names(columns: Iterable[str]) -> str:
    """Names of columns for a message, in one line."""
    shown = [column if len(column) <= CUT else f"{column[:CUT]}..." for column in columns if column]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(" ".join(name.split()) for name in shown[:SHOWN]) + more or "none"


def unfit_character(text: str) -> str:
    """The name of a character that cannot be stored or sent to a model; "" for none."""
    if "\0" in text:
        return "a NUL character (U+0000)"
    surrogate = _SURROGATE.search(text)
    return f"half of a character (U+{ord(surrogate[0]):04X})" if surrogate else ""


def _runs(found: Iterable[tuple[int, str]]) -> list[tuple[list[int], str]]:
    """Equal problems of neighbouring rows grouped, in the order of their first row."""
    runs: list[tuple[list[int], str]] = []
    open_runs: dict[str, list[int]] = {}
    for number, problem in found:
        run = open_runs.get(problem)
        if run is None or number > run[-1] + 1:
            run = open_runs[problem] = []
            runs.append((run, problem))
        run.append(number)
    return runs


def _ranges(numbers: Iterable[int]) -> Iterable[tuple[int, int]]:
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield members[0], members[-1]
