"""The lines of a page in reading order: rows of a table with `|` between their cells, columns one after the other."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean

from dream.documents.pdf_styles import Style

CELLS = " | "
_NUMBERING = re.compile(r"\(?\d{1,3}(?:\.\d{1,3})*[.)]?")
LEAST_ROWS, MOST_COLUMNS = 2, 2
# Two columns of running text, drawn line by line: so many lines, words a line, and lines that fill the left column.
COLUMN_LINES = 4
COLUMN_WORDS = 4
FULL_LINES = 0.6


@dataclass(frozen=True)
class Line:
    """A line in its cells; `edges` are the right edges of all cells but the last, `styles` how each is set, where it
    is known."""

    cells: tuple[str, ...]
    edges: tuple[float, ...] = ()
    styles: tuple[Style, ...] = ()


def arranged(lines: Iterable[Line]) -> str:
    """The text of a page.

    Example:
        >>> arranged([Line(("Pump", "Flow"), (80,)), Line(("A", "42"), (60,)), Line(("The end.",))])
        'Pump | Flow\\nA | 42\\nThe end.\\n'
    """
    return "".join(f"{text}\n" for text, _ in in_order(lines))


def in_order(lines: Iterable[Line]) -> list[tuple[str, Style]]:
    """The lines of a page as text, each with its style; `Style()` where that is not known, and for rows of tables. None
    for a page without text.

    Example:
        >>> lines = [Line(("Pumps",), (), (Style(14.0),)), Line(("A", "42"), (60,)), Line(("B", "17"), (60,))]
        >>> [(text, style.size) for text, style in in_order(lines)]
        [('Pumps', 14.0), ('A | 42', 0.0), ('B | 17', 0.0)]
    """
    texts = [placed for n_cells, block in groupby(lines, _is_split) for placed in _block(n_cells, list(block))]
    return [(text.rstrip(), style) for text, style in texts] if any(text.strip() for text, _ in texts) else []


def _is_split(line: Line) -> bool:
    return len(line.cells) > 1


def _block(is_split: bool, lines: Sequence[Line]) -> Iterator[tuple[str, Style]]:
    """Neighbouring lines that all have several cells, or all one."""
    if is_split and _are_columns(lines):
        yield from ((line.cells[i], line.styles[i] if line.styles else Style()) for i in (0, 1) for line in lines)
        return
    is_table = is_split and len(lines) >= LEAST_ROWS
    for line in lines:
        yield (CELLS if is_table else " ").join(line.cells), Style() if is_table else _style(line)


def _style(line: Line) -> Style:
    """The style of a line; of one in several cells the size alone, of the smallest, except after a number."""
    if len(line.styles) == 1:
        return line.styles[0]
    if line.styles and _NUMBERING.fullmatch(line.cells[0]):
        return line.styles[-1]
    return Style(min((style.size for style in line.styles), default=0.0))


def _are_columns(lines: Sequence[Line]) -> bool:
    """True for running text in two columns."""
    if len(lines) < COLUMN_LINES or any(len(line.cells) != MOST_COLUMNS for line in lines):
        return False
    if min(mean(len(line.cells[i].split()) for line in lines) for i in (0, 1)) < COLUMN_WORDS:
        return False
    right = max(line.edges[0] for line in lines)
    longest = max(len(line.cells[0]) for line in lines)
    full = [line for line in lines if len(line.cells[0]) > 0.85 * longest and line.edges[0] > 0.9 * right]
    return len(full) >= FULL_LINES * len(lines)
