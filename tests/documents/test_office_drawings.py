"""Text in the drawings of Office documents: charts, shapes and SmartArt, in workbooks, documents and presentations."""

import io
import re
import zipfile
from collections.abc import Mapping

import openpyxl
import xlsxwriter
from docx import Document
from openpyxl.chart import BarChart, Reference
from pptx import Presentation
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from sample_files import docx_of, lines_of, text_of

from dream.documents.charts import chart_lines
from dream.documents.drawings import diagram_lines
from dream.documents.xml import parse

BOX = [Inches(1), Inches(2), Inches(4), Inches(2)]
CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"
MAIN = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def with_parts(content: bytes, parts: Mapping[str, str]) -> bytes:
    """An Office document with parts replaced or added."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name not in parts:
                copy.writestr(name, source.read(name))
        for name, xml in parts.items():
            copy.writestr(name, xml)
    return target.getvalue()


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


def test_slides_keep_line_breaks_equations_and_merged_cells():
    deck, target = Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_textbox(*BOX).text_frame.text = "One line\vand another"
    table = slide.shapes.add_table(3, 2, Inches(1), Inches(4), Inches(4), Inches(2)).table
    for i, text in enumerate(["Region", "City", "North", "Oslo", "", "Bergen"]):
        table.cell(i // 2, i % 2).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    deck.save(target)
    box = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        '<mc:Choice xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" Requires="a14"><p:sp><p:nvSpPr>'
        '<p:cNvPr id="90" name="Text 9"/><p:cNvSpPr txBox="1"/><p:nvPr/></p:nvSpPr><p:spPr><a:xfrm>'
        '<a:off x="1" y="9000000"/><a:ext cx="9" cy="9"/></a:xfrm></p:spPr><p:txBody><a:bodyPr/><a:p><a:r><a:t>Law:'
        "</a:t></a:r><a14:m><m:oMath "
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:r><m:t>E=mc</m:t></m:r></m:oMath>'
        "</a14:m></a:p></p:txBody></p:sp></mc:Choice><mc:Fallback/></mc:AlternateContent></p:spTree>"
    )
    with zipfile.ZipFile(target) as archive:
        xml = archive.read("ppt/slides/slide1.xml").decode().replace("</p:spTree>", box)
    content = with_parts(target.getvalue(), {"ppt/slides/slide1.xml": xml})
    assert text_of("a.pptx", content) == (
        "One line and another\nRegion | City\nNorth | Oslo\nNorth | Bergen\nLaw: E=mc\n"
    )


def test_charts_of_slides_have_their_titles_and_both_values_of_points():
    deck, target = Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("Flow", (4.5, None))
    data.add_series("Loss", (0.25, 0.5))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.LINE, *BOX, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Flow and loss"
    chart.value_axis.axis_title.text_frame.text = "l/s"
    points = XyChartData()
    series = points.add_series("Pump A")
    for x, y in ((1, 40), (2, 45.5)):
        series.add_data_point(x, y)
    slide.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER, Inches(1), Inches(5), Inches(4), Inches(2), points)
    deck.save(target)
    assert text_of("a.pptx", target.getvalue()) == (
        "Flow and loss\nl/s\n | May | June\nFlow | 4.5\nLoss | 0.25 | 0.5\n | 1 | 2\nPump A | 40 | 45.5\n"
    )


def test_a_chart_of_the_newer_kind():
    xml = b"""<cx:chartSpace xmlns:cx="http://schemas.microsoft.com/office/drawing/2014/chartex"><cx:chartData>
    <cx:data id="0"><cx:strDim type="cat"><cx:f>Data!A2:A3</cx:f><cx:lvl ptCount="2"><cx:pt idx="0">Start</cx:pt>
    <cx:pt idx="1">Rain</cx:pt></cx:lvl></cx:strDim><cx:numDim type="val"><cx:lvl ptCount="2" formatCode="General">
    <cx:pt idx="0">100</cx:pt><cx:pt idx="1">-20.5</cx:pt></cx:lvl></cx:numDim></cx:data></cx:chartData><cx:chart>
    <cx:title><cx:tx><cx:txData><cx:v>Store of water</cx:v></cx:txData></cx:tx></cx:title><cx:plotArea>
    <cx:plotAreaRegion><cx:series layoutId="waterfall"><cx:tx><cx:txData><cx:v>Change</cx:v></cx:txData></cx:tx>
    <cx:dataId val="0"/></cx:series></cx:plotAreaRegion></cx:plotArea></cx:chart></cx:chartSpace>"""
    assert list(chart_lines(parse(xml))) == ["Store of water", " | Start | Rain", "Change | 100 | -20.5"]


def test_dates_percents_and_levels_of_categories():
    points = "".join(f'<c:pt idx="{i}"><c:v>{v}</c:v></c:pt>' for i, v in enumerate(["Oslo", "Bergen", "Rome"]))
    upper = '<c:pt idx="0"><c:v>North</c:v></c:pt><c:pt idx="2"><c:v>South</c:v></c:pt>'
    levels = f"<c:multiLvlStrRef><c:multiLvlStrCache><c:lvl>{points}</c:lvl><c:lvl>{upper}</c:lvl></c:multiLvlStrCache>"
    dates = (
        '<c:numRef><c:numCache><c:formatCode>m/d/yyyy</c:formatCode><c:pt idx="0"><c:v>45413</c:v></c:pt>'
        "</c:numCache></c:numRef>"
    )
    percents = (
        '<c:numRef><c:numCache><c:formatCode>0.0%</c:formatCode><c:pt idx="0"><c:v>0.125</c:v></c:pt></c:numCache>'
        "</c:numRef>"
    )
    series = "".join(
        f"<c:ser><c:cat>{category}</c:cat><c:val>{value}</c:val></c:ser>"
        for category, value in ((f"{levels}</c:multiLvlStrRef>", ""), (dates, percents))
    )
    assert list(chart_lines(parse(f'<c:chart xmlns:c="{CHART}">{series}</c:chart>'.encode()))) == [
        " | North Oslo | North Bergen | South Rome",
        " | 2024-05-01",
        " | 12.5 %",
    ]


SMART_ART = f"""<dgm:dataModel xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" xmlns:a="{MAIN}">
<dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt><dgm:pt><dgm:t><a:p><a:r><a:t>Do</a:t>
</a:r></a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>"""


def test_smart_art_is_a_list():
    assert list(diagram_lines(parse(SMART_ART.encode()))) == ["- Plan", "- Do"]


def drawing(inside: str) -> str:
    return (
        f'<w:r><w:drawing><wp:inline xmlns:wp="urn:wp" xmlns:a="{MAIN}" xmlns:r="{RELATION}"><a:graphic>'
        f"<a:graphicData>{inside}</a:graphicData></a:graphic></wp:inline></w:drawing></w:r>"
    )


def test_charts_and_smart_art_of_documents():
    chart = f'<c:chart xmlns:c="{CHART}" r:id="rId1"/>'
    diagram = '<dgm:relIds xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" r:dm="rId2"/>'
    runs = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:p>{runs.format('See:')}{drawing(chart)}</w:p><w:p>{drawing(diagram)}</w:p><w:p>{runs.format('End')}</w:p>"
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{RELATION}/chart" Target="charts/chart1.xml"/>'
        f'<Relationship Id="rId2" Type="{RELATION}/diagramData" Target="diagrams/data1.xml"/></Relationships>'
    )
    series = (
        "<c:ser><c:tx><c:v>Flow</c:v></c:tx><c:cat><c:strLit><c:pt idx='0'><c:v>May</c:v></c:pt></c:strLit></c:cat>"
        "<c:val><c:numLit><c:pt idx='0'><c:v>4.5</c:v></c:pt></c:numLit></c:val></c:ser>"
    )
    parts = {
        "word/_rels/document.xml.rels": relations,
        "word/charts/chart1.xml": f'<c:chartSpace xmlns:c="{CHART}"><c:chart>{series}</c:chart></c:chartSpace>',
        "word/diagrams/data1.xml": SMART_ART,
    }
    assert text_of("a.docx", with_parts(docx_of(body), parts)) == "See:\n\n| May\nFlow | 4.5\n\n- Plan\n- Do\n\nEnd"


def test_text_that_mammoth_leaves_out():
    run = "<w:r><w:t xml:space='preserve'>{}</w:t></w:r>".format
    field = f"<w:p>{run('Table ')}<w:fldSimple w:instr='SEQ Table'>{run('7')}</w:fldSimple>{run(': flows')}</w:p>"
    other = f"<w:p><w:bdo w:val='rtl'>{run('שלום')}</w:bdo><w:dir w:val='rtl'>{run(' עולם')}</w:dir></w:p>"
    ruby = f"<w:ruby><w:rt>{run('とうきょう')}</w:rt><w:rubyBase>{run('東京')}</w:rubyBase></w:ruby>"
    ruby = f"<w:p><w:r>{ruby}</w:r>{run('都')}</w:p>"
    inside = f"<w:txbxContent><w:p>{run('In the box')}</w:p></w:txbxContent>"
    box = f"<w:p>{run('Before')}{drawing(inside)}</w:p>"
    assert text_of("a.docx", docx_of(field + other + ruby + box)) == (
        "Table 7: flows\n\nשלום עולם\n\n東京都\n\nBefore\n\nIn the box"
    )


def test_breaks_and_shapes_that_mammoth_leaves_out():
    run = "<w:p><w:r><w:t>First</w:t><w:cr/><w:t>second</w:t><w:ptab/><w:t>third</w:t></w:r></w:p>"
    box = "<w:txbxContent><w:p><w:r><w:t>In an oval</w:t></w:r></w:p></w:txbxContent>"
    oval = f"<v:oval xmlns:v='urn:schemas-microsoft-com:vml'><v:textbox>{box}</v:textbox></v:oval>"
    text = text_of("a.docx", docx_of(f"{run}<w:p><w:r><w:pict>{oval}</w:pict></w:r></w:p>"))
    assert text.split() == "First second third In an oval".split()


def strict(content: bytes) -> bytes:
    """An Office document with the names of strict OOXML."""
    names = re.compile(
        r"http://schemas\.openxmlformats\.org/(\w+)/2006/(?=main|chart|relationships|spreadsheetDrawing)"
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        xml = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith((".xml", ".rels"))}
    return with_parts(content, {n: names.sub(r"http://purl.oclc.org/ooxml/\1/", text) for n, text in xml.items()})


def test_strict_workbooks_and_presentations():
    deck, target = Presentation(), io.BytesIO()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Pumps"
    deck.save(target)
    assert text_of("a.pptx", strict(target.getvalue())) == "# Pumps\n"
    assert text_of("a.xlsx", strict(dashboard())) == text_of("a.xlsx", dashboard())


def test_files_that_word_inserts_are_told():
    body = f'<w:p><w:r><w:t>Text</w:t></w:r></w:p><w:altChunk xmlns:r="{RELATION}" r:id="rId1"/>'
    assert "1 file(s) that Word inserts" in lines_of({"a.docx": docx_of(body)})["a.docx"]


def test_headers_of_first_and_even_pages():
    document, target = Document(), io.BytesIO()
    document.add_paragraph("Text")
    document.settings.odd_and_even_pages_header_footer = True
    section = document.sections[0]
    section.different_first_page_header_footer = True
    section.first_page_header.paragraphs[0].text = "Only on the first"
    section.even_page_footer.paragraphs[0].text = "On even pages"
    section.header.paragraphs[0].text = "On odd pages"
    document.save(target)
    text = text_of("a.docx", target.getvalue())
    assert all(line in text for line in ("Only on the first", "On even pages", "On odd pages", "Text"))
