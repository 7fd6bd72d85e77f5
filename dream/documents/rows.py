"""Rows of tables as lines of text, with ` | ` between their cells."""

import re
from collections.abc import Iterable, Iterator, Sequence

SEPARATOR = " | "
_SPACE = re.compile(r"[ \t\r\n\f\v\u00a0]+")


def one_line(text: str) -> str:
    """A text without line breaks and repeated spaces.

    Example:
        >>> one_line(" a\\n  b ")
        'a b'
    """
    return _SPACE.sub(" ", text).strip()


def row_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A line for each row that is not empty.

    Example:
        >>> list(row_lines([["Pump", "Flow"], ["", ""], ["A", "42"]]))
        ['Pump | Flow', 'A | 42']
    """
    for row in rows:
        cells = [one_line(cell) for cell in row]
        if any(cells):
            yield SEPARATOR.join(cells).rstrip()
