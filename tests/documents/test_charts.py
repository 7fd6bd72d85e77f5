"""Charts of Office documents as text: titles and the table behind them."""

import io

from pptx import Presentation
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from sample_files import text_of

from dream.documents.charts import chart_lines
from dream.documents.xml import parse

BOX = [Inches(1), Inches(2), Inches(4), Inches(2)]
CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"


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
