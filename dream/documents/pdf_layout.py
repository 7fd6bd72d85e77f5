"""The lines of a page as text: rows of a table with `|` between their cells, two columns one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean

CELLS = " | "
LEAST_ROWS = 2
# Two columns of running text, drawn line by line: so many lines, words a line, and lines that fill the left column.
COLUMN_LINES = 4
COLUMN_WORDS = 4
FULL_LINES = 0.6


@dataclass(frozen=True)
class Line:
    """A line in its cells; `edges` are the right edges of all cells but the last."""

    cells: tuple[str, ...]
    edges: tuple[float, ...] = ()


def arranged(lines: Iterable[Line]) -> str:
    """The text of a page.

    Example:
        >>> arranged([Line(("Pump", "Flow"), (80,)), Line(("A", "42"), (60,)), Line(("The end.",))])
        'Pump | Flow\\nA | 42\\nThe end.\\n'
    """
    texts = [text for n_cells, block in groupby(lines, _is_split) for text in _block(n_cells, list(block))]
    return "".join(f"{text.rstrip()}\n" for text in texts) if any(text.strip() for text in texts) else ""


def _is_split(line: Line) -> bool:
    return len(line.cells) > 1


def _block(is_split: bool, lines: Sequence[Line]) -> Iterator[str]:
    """Neighbouring lines that all have several cells, or all one."""
    if is_split and _are_columns(lines):
        yield from (line.cells[0] for line in lines)
        yield from (line.cells[1] for line in lines)
        return
    separator = CELLS if len(lines) >= LEAST_ROWS else " "
    yield from (separator.join(line.cells) for line in lines)


def _are_columns(lines: Sequence[Line]) -> bool:
    """True for running text in two columns."""
    if len(lines) < COLUMN_LINES or any(len(line.cells) != 2 for line in lines):
        return False
    if min(mean(len(line.cells[i].split()) for line in lines) for i in (0, 1)) < COLUMN_WORDS:
        return False
    right = max(line.edges[0] for line in lines)
    longest = max(len(line.cells[0]) for line in lines)
    full = [line for line in lines if len(line.cells[0]) > 0.85 * longest and line.edges[0] > 0.9 * right]
    return len(full) >= FULL_LINES * len(lines)
