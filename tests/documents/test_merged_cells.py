"""Merged cells, as they are written in a workbook."""

import io

import openpyxl
from sample_files import docx

from dream.documents.merged_cells import MOST_CELLS, merged_cells


def book(*ranges: str) -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.create_sheet("A & B")
    for cells in ranges:
        sheet.merge_cells(cells)
    target = io.BytesIO()
    workbook.save(target)
    return target.getvalue()


def test_cells_below_the_first_row_by_sheet():
    assert merged_cells(book("B2:C4", "D1:E1")) == {"A & B": {(3, 2): (2, 2), (4, 2): (2, 2)}}


def test_whole_columns_are_not_counted_out():
    assert merged_cells(book(f"A1:A{MOST_CELLS + 2}")) == {"A & B": {}}


def test_a_file_that_is_no_workbook_has_none():
    assert merged_cells(book()) == merged_cells(docx("x")) == {}
