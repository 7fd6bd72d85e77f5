"""Excel workbooks: reads the sheet with the questions, with cells as Excel displays them. The only module that imports
openpyxl."""

import datetime
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.documents.merged_cells import Cell, in_each_row
from dream.documents.office_parts import transitional
from dream.documents.workbook_parts import SheetParts, WorkbookParts
from dream.errors import DataError
from dream.golden.columns import above_header, below_header, fields_of, is_nothing
from dream.golden.csv_files import cells_by_name
from dream.golden.sheet import Row, Sheet

# Excel's texts for failed formulas; #N/A counts as an empty cell, see `columns.NOTHING`.
FORMULA_ERRORS = ("#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!")


def read_xlsx(content: bytes) -> Sheet:
    """The rows of the first visible sheet with a column of questions, else of the first visible sheet.

    Raises:
        DataError: if the workbook cannot be opened.
    """
    from openpyxl import load_workbook

    try:
        content = transitional(content)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
        parts = WorkbookParts(content)
        sheets = {sheet.title: _sheet(sheet, parts.sheets.get(sheet.title, SheetParts()).merged) for sheet in visible}
    except Exception as error:  # the library raises errors of every kind on a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"the workbook cannot be read ({reason}): save it again as .xlsx, or as CSV") from error
    if not sheets:
        return Sheet(())
    title = next(
        (title for title, sheet in sheets.items() if "question" in fields_of(sheet.columns)), next(iter(sheets))
    )
    others = [name for name in sheets if name != title and sheets[name].rows]
    note = f"read from the sheet {title!r}; not from {', '.join(map(repr, others))}" if others else ""
    sheet = sheets[title]
    unsaved = "".join(parts.formulas_without_values())
    unsaved += ", and count as empty: open it in a spreadsheet program and save it again" if unsaved else ""
    return replace(
        sheet,
        notes=tuple(filter(None, (note, *sheet.notes, unsaved))),
        remedy=unsaved,
    )


def _sheet(worksheet: Any, merged: Mapping[Cell, Cell]) -> Sheet:
    worksheet.reset_dimensions()  # some programs store a wrong one, with which rows would be lost
    rows = enumerate(in_each_row(([_text(cell) for cell in cells] for cells in worksheet.iter_rows()), merged), start=1)
    written = [(number, cells) for number, cells in rows if not all(map(is_nothing, cells))]
    if not written:
        return Sheet(())
    header_row, header, records = below_header(written)
    problems = [
        (number, f"a formula failed: {cell}")
        for number, cells in records
        for cell in cells[: len(header)]
        if cell in FORMULA_ERRORS
    ]
    width = max(i for i, name in enumerate(header, start=1) if name)
    return Sheet(
        tuple(header[:width]),
        tuple(Row(number, cells_by_name(header, cells)) for number, cells in _with_cells(records, width)),
        header_row,
        notes=above_header(header_row, written),
        problems=tuple(problems),
    )


def _with_cells(records: Sequence[tuple[int, list[str]]], width: int) -> list[tuple[int, list[str]]]:
    """The records with a value in a column of the table, without notes beside it."""
    return [(number, cells) for number, cells in records if not all(map(is_nothing, cells[:width]))]


def _text(cell: Any) -> str:
    """The value of a cell as Excel displays it, for common formats.

    Dates follow ISO 8601; numbers have at most 15 digits, as in Excel.
    """
    value = cell.value
    if value is None or isinstance(value, str):
        return _unescaped(value or "")
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(*([" "] if isinstance(value, datetime.datetime) else []))
    if isinstance(value, int | float):
        percent = re.fullmatch(r"0(?:\.(0+))?%", str(cell.number_format))
        return f"{value * 100:.{len(percent[1] or '')}f}%" if percent else f"{value:.15g}"
    return str(value)


def _unescaped(text: str) -> str:
    """Text with Excel's escapes of characters that XML cannot represent, such as `_x000D_`, decoded."""
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)
