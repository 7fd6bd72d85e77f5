"""Words that are read from right to left, in the orders in which programs draw them."""

import io
from collections.abc import Callable

import matplotlib
import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from dream.documents.pdf import read_pdf
from dream.documents.pdf_direction import LETTERS, TORN

FONT, SIZE = "DejaVuSans", 14
ARABIC, HEBREW = "بنيت محطة الضخ في المدينة", "תחנת השאיבה נבנתה בעיר"


def drawn(draw: Callable[[Canvas], None]) -> bytes:
    pdfmetrics.registerFont(TTFont(FONT, f"{matplotlib.get_data_path()}/fonts/ttf/{FONT}.ttf"))
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True, pagesize=A4)
    canvas.setFont(FONT, SIZE)
    draw(canvas)
    canvas.save()
    return target.getvalue()


def one_piece(text: str) -> bytes:
    return drawn(lambda canvas: canvas.drawString(50, 700, text[::-1]))


def by_words(text: str) -> bytes:
    def draw(canvas: Canvas) -> None:
        right = 500.0
        for word in text.split():
            right -= pdfmetrics.stringWidth(word, FONT, SIZE)
            canvas.drawString(right, 700, word[::-1])
            right -= SIZE / 3

    return drawn(draw)


def as_browsers_do(text: str) -> bytes:
    """Glyphs from left to right, each with its letter beside it, as Chromium draws Arabic."""
    glyphs = "".join(
        " ( ) Tj" if letter == " " else f" /Span <</ActualText <FEFF{ord(letter):04X}>>> BDC (n) Tj EMC"
        for letter in reversed(text)
    )
    content = f"BT /F 14 Tf 50 700 Td{glyphs} ET"
    objects = (
        "<</Type /Catalog /Pages 2 0 R>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>>",
        f"<</Length {len(content)}>> stream\n{content}\nendstream",
        "<</Type /Font /Subtype /Type1 /BaseFont /Courier>>",
    )
    body = "".join(f"{i} 0 obj {item} endobj\n" for i, item in enumerate(objects, start=1))
    return f"%PDF-1.5\n{body}trailer <</Root 1 0 R>>\n%%EOF\n".encode()


@pytest.mark.parametrize("text", [ARABIC, HEBREW], ids=["Arabic", "Hebrew"])
@pytest.mark.parametrize("write", [one_piece, by_words, as_browsers_do])
def test_words_are_in_the_order_of_reading(write: Callable[[str], bytes], text: str):
    reading = read_pdf(write(text))
    assert reading.pages == ((1, f"{text}\n"),)
    assert reading.complete


def test_letters_in_their_shapes_are_letters_of_the_alphabet():
    assert "".join(LETTERS.get(letter, letter) for letter in "ﻣﺤﻄﺔ ﻻ שׁ") == "محطة لا שׁ"


def test_a_line_in_pieces_is_told():
    def draw(canvas: Canvas) -> None:
        right = 500.0
        for letter in ARABIC:
            right -= pdfmetrics.stringWidth(letter, FONT, SIZE)
            canvas.drawString(right, 700, letter)

    reading = read_pdf(drawn(draw))
    assert TORN in reading.problem and not reading.complete
