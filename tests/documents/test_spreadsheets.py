"""Workbooks and CSV files: rows as lines, in long tables with the names of the columns."""

import datetime
import io
from collections.abc import Sequence
from typing import Any

import openpyxl
import pytest
from sample_files import lines_of, text_of

from dream.documents import load_documents, spreadsheets
from dream.storage import MemoryStorage


def workbook(**sheets: Sequence[Sequence[Any]]) -> bytes:
    book, target = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    if "Hidden" in sheets:
        book["Hidden"].sheet_state = "hidden"
    for cell in [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value == 0.125]:
        cell.number_format = "0.0%"
    book.save(target)
    return target.getvalue()


def test_each_sheet_is_a_page():
    content = workbook(Pumps=[["Pump", "Flow"], ["A", 42], ["B", None]], Empty=[], Heads=[["x"], [1.5]])
    loaded = load_documents(MemoryStorage("m", {"a.xlsx": content}))
    assert [document.text for document in loaded.documents] == [
        "# Pumps\n\nPump | Flow\nA | 42\nB",
        "# Heads\n\nx\n1.5",
    ]
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "3"]
    assert str(loaded.report[0]) == "read     a.xlsx, 3 pages"


def test_values_are_as_a_reader_sees_them():
    row = [
        True,
        0.1 + 0.2,
        0.125,
        datetime.date(2024, 5, 1),
        datetime.datetime(2024, 5, 1, 13, 30),
        12345678901,
        "two\nlines",
    ]
    assert text_of("a.xlsx", workbook(S=[row])).splitlines()[2] == (
        "TRUE | 0.3 | 12.5 % | 2024-05-01 | 2024-05-01 13:30 | 12345678901 | two lines"
    )


def test_hidden_sheets_and_formulas_without_values_are_told():
    lines = lines_of({"a.xlsx": workbook(S=[["Sum"], ["=1+1"]], Hidden=[["secret"]])})
    assert lines["a.xlsx"].startswith(
        "partly   a.xlsx, 2 pages, without the hidden sheet 'Hidden': 1 formula(s) have no"
    )


def test_an_empty_workbook_is_skipped():
    assert "its sheets are empty" in lines_of({"a.xlsx": workbook(S=[])})["a.xlsx"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Pump,Flow\nA,42\n", "Pump | Flow\nA | 42"),
        ("Pump;Flow\nA;4,2\n", "Pump | Flow\nA | 4,2"),
        ("sep=;\nPump;Flow\nA;4,2\n", "Pump | Flow\nA | 4,2"),
        ("Pump\tFlow\nA\t42\n", "Pump | Flow\nA | 42"),
        ('Pump,Note\nA,"two\nlines, one cell"\n', "Pump | Note\nA | two lines, one cell"),
        ("only\nwords\n", "only\nwords"),
        ("\ufeffa,b\n1,2\n", "a | b\n1 | 2"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_of_every_kind(content, text, encoding):
    assert text_of("a.csv", content.encode(encoding)) == text


def test_in_a_long_table_each_value_has_its_name():
    rows = [["Pump", "Flow", ""], *([f"P-{i}", str(i * 7), "x" if i == 1 else ""] for i in range(40))]
    lines = text_of("a.csv", "\n".join(map(",".join, rows)).encode()).splitlines()
    assert lines[:2] == ["Pump: P-0; Flow: 0", "Pump: P-1; Flow: 7; x"]
    numbers = text_of("b.csv", "\n".join(f"{i},{i + 1}" for i in range(40)).encode()).splitlines()
    assert numbers[:2] == ["0 | 1", "1 | 2"]


def test_more_rows_than_are_read_are_told(monkeypatch):
    monkeypatch.setattr(spreadsheets, "MAX_ROWS", 3)
    lines = lines_of({"a.csv": b"x,y\n1,2\n3,4\n5,6\n", "a.xlsx": workbook(S=[["x"], [1], [2], [3]])})
    assert "only the first 3 rows were read" in lines["a.csv"]
    assert "only the first 3 rows of sheet 'S' were read" in lines["a.xlsx"]


def test_a_cell_over_several_rows_is_in_each_of_them():
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["Region", "City"], ["North", "Oslo"], ["", "Bergen"], ["South", "Rome"]):
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    target = io.BytesIO()
    book.save(target)
    assert "North | Oslo\nNorth | Bergen\nSouth | Rome" in text_of("a.xlsx", target.getvalue())


def test_titles_above_a_long_table_are_no_names():
    rows = [["Report of 2024"], [], ["Pump", "Flow"], *([f"P{i}", i] for i in range(40))]
    assert "Report of 2024\nPump: P0; Flow: 0" in text_of("a.xlsx", workbook(Data=rows))
