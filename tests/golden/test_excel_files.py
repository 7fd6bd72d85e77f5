"""Workbooks: the sheet with the questions, and cells as Excel shows them."""

import datetime
import io
from typing import Any

import pytest
from openpyxl import Workbook

from dream.errors import DataError
from dream.golden.excel_files import read_xlsx


def workbook(**sheets: list[list[Any]]) -> Workbook:
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    return book


def content_of(book: Workbook) -> bytes:
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_rows_have_the_numbers_that_excel_shows():
    rows = [["Question", "Ground truth"], ["How high?", "42 m"], [None, None], ["", " "], ["How low?", "3 m"]]
    sheet = read_xlsx(content_of(workbook(Q=rows)))
    assert sheet.columns == ("Question", "Ground truth")
    assert [(row.number, row.cells["Question"]) for row in sheet.rows] == [(2, "How high?"), (5, "How low?")]


def test_a_title_above_the_header_is_no_header_of_more_columns():
    sheet = read_xlsx(content_of(workbook(Q=[[None], ["question", "ground_truth"], ["How?", "42 m", None, "aside"]])))
    assert (sheet.header_row, sheet.columns) == (2, ("question", "ground_truth"))


def test_thousands_of_formatted_rows_without_text_are_none():
    book = workbook(Q=[["question", "ground_truth"], ["How high?", "42 m"]])
    for number in range(3, 3000):
        book.worksheets[0].cell(number, 1).number_format = "0.00"
    assert len(read_xlsx(content_of(book)).rows) == 1


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (42, "General", "42"),
        (42.0, "General", "42"),
        (0.1 + 0.2, "General", "0.3"),
        (0.075, "0.0%", "7.5%"),
        (0.07, "0%", "7%"),
        (True, "General", "TRUE"),
        (datetime.datetime(2024, 3, 1), "yyyy-mm-dd", "2024-03-01"),
        (datetime.datetime(2024, 3, 1, 8, 30), "yyyy-mm-dd hh:mm", "2024-03-01 08:30:00"),
        ("  =as text ", "General", "  =as text "),
        ("two\nlines", "General", "two\nlines"),
    ],
)
def test_a_cell_is_what_excel_shows(value: Any, number_format: str, text: str):
    book = workbook(Q=[["question", "ground_truth"], ["How high?", ""]])
    cell = book.worksheets[0]["B2"]
    cell.value = value
    cell.number_format = number_format
    assert read_xlsx(content_of(book)).rows[0].cells["ground_truth"] == text


def test_the_sheet_with_questions_is_read_and_told():
    book = workbook(Notes=[["about", "this"], ["a", "b"]], Q=[["question", "ground_truth"], ["How?", "42 m"]], Empty=[])
    sheet = read_xlsx(content_of(book))
    assert sheet.notes == ("read from the sheet 'Q'; not from 'Notes'",)
    assert len(sheet.rows) == 1


def test_a_failed_formula_is_named_with_its_row():
    book = workbook(Q=[["question", "ground_truth"], ["How?", "42 m"], ["Who?", "#REF!"]])
    assert read_xlsx(content_of(book)).problems == ((3, "a formula failed: #REF!"),)


def test_a_damaged_workbook_is_refused_with_what_to_do():
    content = content_of(workbook(Q=[["question", "ground_truth"]]))
    with pytest.raises(DataError, match=r"the workbook cannot be read .*save it again"):
        read_xlsx(content[: len(content) // 2])


def test_a_formula_without_a_value_is_told_and_a_cell_over_several_rows_is_in_each():
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (
        ["Questions of 2024"],
        ["file", "question", "ground_truth"],
        ["a.pdf", "A?", "b"],
        [None, "C?", "=6*7"],
    ):
        sheet.append(row)
    sheet.merge_cells("A3:A4")
    target = io.BytesIO()
    book.save(target)
    read = read_xlsx(target.getvalue())
    assert [row.cells["file"] for row in read.rows] == ["a.pdf", "a.pdf"]
    assert read.header_row == 2 and read.notes[0].startswith("row 2 is the header")
    assert "1 formula(s) have no stored value" in read.remedy
