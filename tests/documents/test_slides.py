"""Presentations: a page a slide, with tables, charts, groups and notes; hidden slides are told."""

import io

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from sample_files import lines_of

from dream.documents import load_documents
from dream.storage import MemoryStorage

BOX = [Inches(1), Inches(2), Inches(4), Inches(2)]


def presentation(hide_last: bool = False) -> bytes:
    deck, target = Presentation(), io.BytesIO()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Pump A"
    first.placeholders[1].text = "It delivers 42 l/s"
    first.notes_slide.notes_text_frame.text = "Say why."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    table = second.shapes.add_table(2, 2, *BOX).table
    for i, text in enumerate(["Pump", "Flow", "A", "42"]):
        table.cell(i // 2, i % 2).text = text
    second.shapes.add_textbox(Inches(1), Inches(0.5), Inches(2), Inches(1)).text_frame.text = "Above the table"
    deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("Flow", (4.5, 5))
    fourth = deck.slides.add_slide(deck.slide_layouts[6])
    fourth.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, *BOX, data)
    group = fourth.shapes.add_group_shape()
    group.shapes.add_textbox(*BOX).text_frame.text = "In a group"
    if hide_last:
        fourth._element.set("show", "0")
    deck.save(target)
    return target.getvalue()


def test_slides_become_pages():
    loaded = load_documents(MemoryStorage("m", {"a.pptx": presentation()}))
    assert [document.text for document in loaded.documents] == [
        "# Pump A\n\nIt delivers 42 l/s\n\nNotes: Say why.\n",
        "Above the table\nPump | Flow\nA | 42\n",
        "| May | June\nFlow | 4.5 | 5\nIn a group\n",
    ]
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "2", "4"]
    assert str(loaded.report[0]).startswith("partly   a.pptx, 4 pages: no text on slide(s) 3 (blank or pictures)")


def test_a_hidden_slide_is_told():
    assert (
        "a.pptx, 4 pages, without the hidden slide(s) 4" in lines_of({"a.pptx": presentation(hide_last=True)})["a.pptx"]
    )
