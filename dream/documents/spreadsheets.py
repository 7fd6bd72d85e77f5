"""Text of tables: Excel workbooks, a page for each sheet, and CSV files.

Short tables are rows; in long ones each value has its column's name beside it, as a passage rarely holds the first row.
"""

import csv
import datetime
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from dream.documents.file_types import Reading, plain_reading
from dream.documents.merged_cells import Cell, in_each_row, merged_cells
from dream.documents.rows import one_line, row_lines
from dream.documents.text_encoding import decode

MAX_ROWS = 50_000
MAX_COLUMNS = 500
LONG_TABLE = 25
MOST_TITLES = 6
_SEPARATORS = ",;\t|"
# A cell with a formula whose value was never stored.
_WITHOUT_VALUE = re.compile(rb"(?:</f>|<f\b[^>]*/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")


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
    """The visible sheets of a workbook; formulas as the values that were stored with them."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    merged = merged_cells(content)
    pages, problems, hidden = [], list(formulas_without_values(content)), []
    for number, sheet in enumerate(book.worksheets, start=1):
        if sheet.sheet_state != "visible":
            hidden.append(f"the hidden sheet '{sheet.title}'")
            continue
        rows = list(islice(_rows(sheet, merged.get(sheet.title, {})), MAX_ROWS + 1))
        problems += _too_many(rows, f" of sheet '{sheet.title}'")
        if lines := list(table_lines(rows[:MAX_ROWS])):
            pages.append((number, "\n".join([f"# {sheet.title}", "", *lines])))
    n_sheets = len(book.worksheets)
    book.close()
    if not pages:
        return Reading(n_pages=n_sheets, problem="its sheets are empty", remedy="upload a version with text")
    remedy = "open it in a spreadsheet program and save it again" if problems else ""
    return Reading(tuple(pages), n_sheets, not problems, "; ".join(problems), remedy, tuple(hidden))


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
    """True if the first row holds names of columns: different texts that are no numbers."""
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
    """The rows with something in them; a cell over several rows is in each of them."""
    empty = 0
    for cells in in_each_row(([_shown(cell) for cell in row] for row in sheet.iter_rows(max_col=MAX_COLUMNS)), merged):
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


def formulas_without_values(content: bytes) -> Iterator[str]:
    """A line if formulas of a workbook were saved without their values."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name)]
        count = sum(len(_WITHOUT_VALUE.findall(archive.read(name))) for name in sheets)
    if count:
        yield f"{count} formula(s) have no stored value"
