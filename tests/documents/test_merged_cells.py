"""Merged cells, as they are written in a workbook."""

import io

import openpyxl
from sample_files import docx

from dream.documents import merged_cells as module
from dream.documents.merged_cells import Cell
from dream.documents.workbook_parts import WorkbookParts


def book(*ranges: str) -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.create_sheet("A & B")
    for cells in ranges:
        sheet.merge_cells(cells)
    target = io.BytesIO()
    workbook.save(target)
    return target.getvalue()


def merged_cells(content: bytes) -> dict[str, dict[Cell, Cell]]:
    sheets = WorkbookParts(content).sheets
    return {title: dict(sheet.merged) for title, sheet in sheets.items() if title != "Sheet"}


def test_cells_below_the_first_row_by_sheet():
    assert merged_cells(book("B2:C4", "D1:E1")) == {"A & B": {(3, 2): (2, 2), (4, 2): (2, 2)}}


def test_whole_columns_are_not_counted_out(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 1000)  # openpyxl writes each cell of a whole column
    assert len(merged_cells(book("A1:A1001"))["A & B"]) == 1000
    assert merged_cells(book("A1:A1002")) == {"A & B": {}}


def test_a_file_that_is_no_workbook_has_none():
    assert merged_cells(book()) == {"A & B": {}}
    assert merged_cells(docx("x")) == {}
