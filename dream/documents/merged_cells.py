"""The merged cells of an Excel workbook, which openpyxl does not report for sheets that it reads row by row."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

Cell = tuple[int, int]  # row and column, from 1
MOST_CELLS = 200_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="([A-Z]+\d+:[A-Z]+\d+)"')


def merged_cells(sheet: bytes) -> dict[Cell, Cell]:
    """The cells of merged ranges below their first row, each with the cell that has the value, from the XML of a
    sheet."""
    return dict(_below(_MERGED.findall(sheet)))


def in_each_row(rows: Iterable[list[str]], merged: Mapping[Cell, Cell]) -> Iterator[list[str]]:
    """All rows of a sheet, with the text of a merged cell in each of its rows.

    Example:
        >>> list(in_each_row([["North", "Oslo"], ["", "Bergen"]], {(2, 1): (1, 1)}))
        [['North', 'Oslo'], ['North', 'Bergen']]
    """
    firsts = dict.fromkeys(merged.values(), "")
    for number, row in enumerate(rows, start=1):
        if merged:
            firsts |= {(number, i): cell for i, cell in enumerate(row, start=1) if (number, i) in firsts}
            row = [firsts.get(merged.get((number, i), (0, 0)), cell) for i, cell in enumerate(row, start=1)]
        yield row


def _below(ranges: list[bytes]) -> Iterator[tuple[Cell, Cell]]:
    from openpyxl.utils import range_boundaries

    n_cells = 0
    for written in ranges:
        left, top, _, bottom = cast(tuple[int, int, int, int], range_boundaries(written.decode()))
        n_cells += bottom - top
        if n_cells > MOST_CELLS:
            return
        yield from (((row, left), (top, left)) for row in range(top + 1, bottom + 1))
