"""Parts of Office documents, also of strict ones."""

import io
import re
import zipfile

import openpyxl
from pptx import Presentation
from sample_files import docx_of, text_of, with_parts

from dream.documents.office_parts import Package, Relation, transitional


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
    book, target = openpyxl.Workbook(), io.BytesIO()
    book.worksheets[0].append(["Pump", "Flow"])
    book.save(target)
    assert text_of("a.xlsx", strict(target.getvalue())) == "# Sheet\n\nPump | Flow"


def test_other_documents_stay_as_they_are():
    assert transitional(docx_of("x")) == docx_of("x")


def test_parts_that_are_not_there_are_not_related():
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="a" Type="urn:x/chart" Target="../charts/1.xml"/>'
        '<Relationship Id="b" Type="urn:x/image" Target="gone.png"/></Relationships>'
    )
    content = with_parts(docx_of("x"), {"word/_rels/document.xml.rels": relations, "charts/1.xml": "<x/>"})
    assert Package(content).related("word/document.xml") == {"a": Relation("chart", "charts/1.xml")}
