"""Text in drawings: SmartArt, and paragraphs of slides with breaks and equations."""

import io
import zipfile

from pptx import Presentation
from pptx.util import Inches
from sample_files import text_of, with_parts

from dream.documents.drawings import diagram_lines
from dream.documents.xml import parse

BOX = [Inches(1), Inches(2), Inches(4), Inches(2)]
MAIN = "http://schemas.openxmlformats.org/drawingml/2006/main"

SMART_ART = f"""<dgm:dataModel xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" xmlns:a="{MAIN}">
<dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt><dgm:pt><dgm:t><a:p><a:r><a:t>Do</a:t>
</a:r></a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>"""


def test_smart_art_is_a_list():
    assert list(diagram_lines(parse(SMART_ART.encode()))) == ["- Plan", "- Do"]


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
