"""Text of tables: Excel workbooks, a page for each sheet, and CSV files.

Short tables become rows; in long ones, each value has its column's name, as a passage rarely contains the header.
"""

import csv
import datetime
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from dream.documents.file_types import Reading, plain_reading
from dream.documents.merged_cells import Cell, in_each_row
from dream.documents.office_parts import transitional
from dream.documents.rows import one_line, row_lines
from dream.documents.text_encoding import decode
from dream.documents.workbook_parts import SheetParts, WorkbookParts, sheet_of

MAX_ROWS = 50_000
MAX_COLUMNS = 500
LONG_TABLE = 25
MOST_TITLES = 6
_SEPARATORS = ",;\t|"


def read_csv(content: bytes) -> Reading:
    """The rows of a CSV file, as one page."""
    decoded = decode(content)
    text = decoded.text.removeprefix("\ufeff")
    separator = _separator(text)
    if text[:4].lower() == "sep=":
        text = text.partition("\n")[2]
    csv.field_size_limit(2**31 - 1)
    rows = [row[:MAX_COLUMNS] for row in islice(csv.reader(io.StringIO(text), delimiter=separator), MAX_ROWS + 1)]
    problems = [decoded.problem, *_too_many(rows, "")]
    problem = "; ".join(filter(None, problems))
    is_certain = decoded.is_certain and len(rows) <= MAX_ROWS
    return plain_reading("\n".join(table_lines(rows[:MAX_ROWS])), problem, decoded.remedy, is_certain)


def read_xlsx(content: bytes) -> Reading:
    """The visible sheets of a workbook with the texts of shapes and charts; formulas are replaced by their stored
    values."""
    import openpyxl

    content = transitional(content)
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    parts = WorkbookParts(content)
    pages, problems, hidden = [], list(parts.formulas_without_values()), []
    for number, title in enumerate(book.sheetnames, start=1):
        sheet, sheet_parts = book[title], parts.sheets.get(title, SheetParts())
        if sheet.sheet_state != "visible":
            hidden.append(f"the hidden sheet '{title}'")
            continue
        rows = list(islice(_rows(sheet, sheet_parts.merged), MAX_ROWS + 1))
        problems += _too_many(rows, f" of sheet '{title}'")
        drawn = list(parts.drawn(title, partial(_name_at, book))) if sheet_parts.drawings else []
        blocks = [list(table_lines(rows[:MAX_ROWS])), drawn]
        if any(blocks):
            pages.append((number, "\n\n".join([f"# {title}", *("\n".join(block) for block in blocks if block)])))
    n_sheets = len(book.sheetnames)
    book.close()
    if not pages:
        return Reading(n_pages=n_sheets, problem="its sheets are empty", remedy="upload a version with text")
    remedy = "open it in a spreadsheet program and save it again" if problems else ""
    return Reading(tuple(pages), n_sheets, not problems, "; ".join(problems), remedy, tuple(hidden))


def _name_at(book: Any, reference: str) -> str:
    """The text of the first cell that a reference names; "" if there is no such cell."""
    title, cell = sheet_of(reference), re.search(r"!\$?([A-Z]{1,3})\$?(\d+)", reference)
    if title not in book.sheetnames or cell is None or not hasattr(book[title], "iter_rows"):
        return ""
    return _shown(book[title][f"{cell[1]}{cell[2]}"])


def table_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table.

    Example:
        >>> list(table_lines([["Pump", "Flow"], ["A", "42"]]))
        ['Pump | Flow', 'A | 42']
    """
    filled = [[one_line(cell) for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    if len(filled) > LONG_TABLE:  # titles above the names of columns
        is_title = [sum(map(bool, row)) == 1 for row in filled[:MOST_TITLES]]
        n_titles = is_title.index(False) if False in is_title else 0
        yield from row_lines(filled[:n_titles])
        filled = filled[n_titles:]
    header = filled[0] if filled else []
    if len(filled) <= LONG_TABLE or not _are_names(header):
        yield from row_lines(filled)
        return
    for row in filled[1:]:
        named = zip(header, row, strict=False)
        values = [f"{name}: {cell}" if name else cell for name, cell in named if cell] + [
            *filter(None, row[len(header) :])
        ]
        yield "; ".join(values)


def _are_names(header: Sequence[str]) -> bool:
    """True if the first row has column names: distinct texts that are not numbers."""
    names = [name for name in header if name]
    return len(names) > 1 and len(set(names)) == len(names) and not any(re.fullmatch(r"[-\d.,%\s]+", n) for n in names)


def _separator(text: str) -> str:
    first = text.partition("\n")[0].strip("\r")
    if first.lower().startswith("sep=") and len(first) > 4:
        return first[4]
    try:
        return csv.Sniffer().sniff(text[:10_000], _SEPARATORS).delimiter
    except csv.Error:
        return max(_SEPARATORS, key=first.count) if any(mark in first for mark in _SEPARATORS) else ","


def _rows(sheet: Any, merged: Mapping[Cell, Cell]) -> Iterator[list[str]]:
    """The rows that are not empty; a merged cell is in each of its rows."""
    if not hasattr(sheet, "iter_rows"):  # a chart sheet
        return
    sheet.reset_dimensions()  # some programs store a wrong one, which would cut rows off
    width, empty = max((column for _, column in merged), default=0), 0
    shown = ([_shown(cell) for cell in row[:MAX_COLUMNS]] for row in sheet.iter_rows())
    wide = ([*cells, *[""] * (width - len(cells))] for cells in shown)
    for cells in in_each_row(wide, merged):
        while cells and not cells[-1]:
            cells.pop()
        empty = 0 if cells else empty + 1
        if empty > 10_000:  # a sheet that is formatted to its last row
            return
        if cells:
            yield cells


def _shown(cell: Any) -> str:
    """A value as a reader sees it, near enough."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.10g} %"
        return f"{value:.15g}"
    return str(value)


def _too_many(rows: Sequence[Any], where: str) -> Iterator[str]:
    if len(rows) > MAX_ROWS:
        yield f"only the first {MAX_ROWS:,} rows{where} were read"
