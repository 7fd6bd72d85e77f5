"""What openpyxl does not tell of sheets that it reads row by row: text boxes, charts and chart sheets."""

import io
import zipfile

import openpyxl
import xlsxwriter
from openpyxl.chart import BarChart, Reference
from sample_files import text_of, with_parts

from dream.documents.workbook_parts import WorkbookParts


def dashboard() -> bytes:
    """A sheet with a text box and a chart, a chart sheet, and a chart of a hidden sheet."""
    target = io.BytesIO()
    book = xlsxwriter.Workbook(target, {"in_memory": True})
    data, hidden, charts = book.add_worksheet("Data"), book.add_worksheet("Raw"), book.add_worksheet("Dashboard")
    for sheet in (data, hidden):
        for i, row in enumerate([["Month", "Flow"], ["May", 45], ["June", 50]]):
            sheet.write_row(i, 0, row)
    hidden.hide()
    for sheet, title in (("Data", "Flow by month"), ("Raw", "Flow from raw data")):
        chart = book.add_chart({"type": "column"})
        chart.add_series(
            {
                "name": [sheet, 0, 1],
                "categories": [sheet, 1, 0, 2, 0],
                "values": [sheet, 1, 1, 2, 1],
                "categories_data": ["May", "June"],
                "values_data": [45, 50],
            }
        )
        chart.set_title({"name": title})
        chart.set_y_axis({"name": "Litres per second"})
        charts.insert_chart("B2", chart)
    charts.insert_textbox("H2", "Read me: all flows\nare measured at the weir.")
    last = book.add_chart({"type": "line"})
    last.add_series({"name": "Forecast of 2025", "values": "=Data!$B$2:$B$3"})
    last.set_title({"name": "Outlook"})
    book.add_chartsheet("Outlook").set_chart(last)
    book.close()
    return target.getvalue()


def test_text_boxes_charts_and_chart_sheets_of_workbooks():
    assert text_of("a.xlsx", dashboard()) == (
        "# Data\n\nMonth | Flow\nMay | 45\nJune | 50"
        "|# Dashboard\n\nFlow by month\nLitres per second\nFlow\nFlow from raw data\nLitres per second\n"
        " | May | June\nFlow | 45 | 50\nRead me: all flows\nare measured at the weir."
        "|# Outlook\n\nOutlook\nForecast of 2025"
    )


def test_a_name_that_a_chart_only_refers_to():
    book, target = openpyxl.Workbook(), io.BytesIO()
    sheet = book.worksheets[0]
    for row in (["Month", "Flow"], ["May", 45], ["June", 50]):
        sheet.append(row)
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=3), titles_from_data=True)
    sheet.add_chart(chart, "E2")
    book.save(target)
    assert text_of("a.xlsx", target.getvalue()) == "# Sheet\n\nMonth | Flow\nMay | 45\nJune | 50\n\nFlow"


def test_rows_beyond_a_wrong_dimension_are_read():
    book, target = openpyxl.Workbook(), io.BytesIO()
    for row in (["Month", "Flow"], ["May", 45], ["June", 50]):
        book.worksheets[0].append(row)
    book.save(target)
    with zipfile.ZipFile(target) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
    cut = xml.replace('<dimension ref="A1:B3"', '<dimension ref="A1:A1"')
    assert cut != xml
    content = with_parts(target.getvalue(), {"xl/worksheets/sheet1.xml": cut})
    assert text_of("a.xlsx", content) == "# Sheet\n\nMonth | Flow\nMay | 45\nJune | 50"


def test_sheets_are_told_in_their_order_with_what_is_hidden():
    sheets = WorkbookParts(dashboard()).sheets
    assert {title: sheet.is_visible for title, sheet in sheets.items()} == {
        "Data": True,
        "Raw": False,
        "Dashboard": True,
        "Outlook": True,
    }
    assert [len(sheet.drawings) for sheet in sheets.values()] == [0, 0, 1, 1]
