"""Size and weight of the type of lines, whatever the font is called."""

import io
from typing import Literal

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from dream.documents.pdf_styles import Style, Styles

LINE = "The main rotor 12"


def style(font: str = "Helvetica", mode: Literal[0, 2] = 0, name: str = "", words: str = LINE) -> Style:
    """The style of a line that is drawn in a font, under another name of this font."""
    target = io.BytesIO()
    canvas = Canvas(target, pageCompression=0)
    text = canvas.beginText(50, 700)
    text.setFont(font, 10)
    text.setTextRenderMode(mode)
    text.textOut(words)
    canvas.drawText(text)
    canvas.save()
    content = target.getvalue()
    document = pypdfium2.PdfDocument(content.replace(f"/{font} ".encode(), f"/{name} ".encode()) if name else content)
    textpage = document[0].get_textpage()
    return Styles(textpage, {}).of(0, words)


@pytest.mark.parametrize("name", ["Times-Bold", "ABCDEF+CMBX12", "Arial,Bold", "NimbusRomNo9L-Medi", "Inter-SemiBold"])
def test_bold_by_its_name(name):
    assert style("Times-Roman", name=name)[:3] == (10, True, True)


@pytest.mark.parametrize("name", ["Times-Roman", "ABCDEF+CMR12", "Medicine", "Times-Italic"])
def test_other_names(name):
    assert style("Times-Roman", name=name)[:3] == (10, False, False)


def test_letters_whose_edges_are_drawn_too_are_bold():
    assert style(mode=2).is_bold and not style(mode=0).is_bold


def test_a_line_without_letters_has_no_style():
    assert style(words="1,234") == Style()


def test_signs_that_are_letters_to_some():
    assert not style(words="²").is_bold


def test_without_tags_there_is_the_size_alone():
    document = pypdfium2.PdfDocument.new()
    document.new_page(100, 100)
    assert Styles(document[0].get_textpage(), None).of(0, "17") == Style()
