"""The text of single pages: word sequences as pypdf reads them, tables as rows, scripts of every kind, rotated text."""

import io
from collections.abc import Callable

import matplotlib
import pypdf
import pytest
from made_pdfs import with_font
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import SimpleDocTemplate, Table
from sample_files import png, text_of

from dream.documents.pdf import read_pdf
from dream.documents.sample_documents import sample_documents

FONT = "DejaVuSans"


def drawn(draw: Callable[[Canvas], None]) -> bytes:
    pdfmetrics.registerFont(TTFont(FONT, f"{matplotlib.get_data_path()}/fonts/ttf/{FONT}.ttf"))
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True, pagesize=A4)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def table(rows: list[list[str]]) -> bytes:
    target = io.BytesIO()
    SimpleDocTemplate(target, invariant=True).build([Table(rows)])
    return target.getvalue()


@pytest.mark.parametrize("path", sorted(sample_documents().glob("*.pdf")), ids=lambda path: path.stem)
def test_the_words_of_the_sample_documents_are_those_that_pypdf_reads(path):
    content = path.read_bytes()
    expected = [page.extract_text().split() for page in pypdf.PdfReader(io.BytesIO(content)).pages]
    assert [[word for word in text.split() if word != "|"] for _, text in read_pdf(content).pages] == expected


def test_a_table_is_rows():
    rows = [["Pump", "Flow", "Head"], *([f"P-{i}", f"{i * 7} l/s", f"{i} m"] for i in range(5))]
    assert text_of("a.pdf", table(rows)) == "".join(f"{' | '.join(row)}\n" for row in rows)


@pytest.mark.parametrize(
    "text",
    ["Größe 5 µm – “ça” №7", "efﬁciency of the ﬂow", "Насосная станция", "Αντλία 42"],
)
def test_letters_of_many_alphabets(text):
    def draw(canvas: Canvas) -> None:
        canvas.setFont(FONT, 12)
        canvas.drawString(50, 700, text)

    assert text_of("a.pdf", drawn(draw)) == text.replace("ﬁ", "fi").replace("ﬂ", "fl") + "\n"


def test_letters_beyond_the_basic_plane_and_the_rows_beside_them():
    lines = ["\ue000 and \ue001 of the plane", "second line"]
    content = with_font(lines, {"\ue000": "\U0001d400", "\ue001": "😀"})
    assert text_of("a.pdf", content) == "\U0001d400 and 😀 of the plane\nsecond line\n"


@pytest.mark.parametrize(
    ("font", "text"), [("HeiseiMin-W3", "ポンプ場は1987年に建設された。"), ("STSong-Light", "泵站建于一九八七年。")]
)
def test_east_asian_letters(font, text):
    def draw(canvas: Canvas) -> None:
        pdfmetrics.registerFont(UnicodeCIDFont(font))
        canvas.setFont(font, 12)
        canvas.drawString(50, 700, text)

    assert text_of("a.pdf", drawn(draw)) == f"{text}\n"


def test_right_to_left():
    word = "משאבה"

    def draw(canvas: Canvas) -> None:
        canvas.setFont(FONT, 12)
        canvas.drawString(50, 700, word[::-1])  # as a program without bidirectional text draws it, from the left

    assert text_of("a.pdf", drawn(draw)) == f"{word}\n"


def test_two_columns_that_are_drawn_one_after_the_other_are_read_so():
    left, right = [f"Left line number {i} of the page" for i in range(6)], [f"Right line {i} of it" for i in range(6)]

    def draw(canvas: Canvas) -> None:
        for x, lines in ((50, left), (320, right)):
            for i, line in enumerate(lines):
                canvas.drawString(x, 700 - 14 * i, line)

    assert text_of("a.pdf", drawn(draw)).splitlines() == left + right


def test_hyphens_at_the_ends_of_lines_stay():
    def draw(canvas: Canvas) -> None:
        for i, line in enumerate(["The turbine was re-", "commissioned after the inspec-", "tion."]):
            canvas.drawString(50, 700 - 14 * i, line)

    assert text_of("a.pdf", drawn(draw)) == "The turbine was re-\ncommissioned after the inspec-\ntion.\n"


def test_text_that_only_a_search_finds():
    def draw(canvas: Canvas) -> None:
        text = canvas.beginText(50, 700)
        text.setTextRenderMode(3)
        text.textLine("An invisible layer of OCR.")
        canvas.drawText(text)

    assert text_of("a.pdf", drawn(draw)) == "An invisible layer of OCR.\n"


@pytest.mark.parametrize("turn", [0, 90])
def test_a_scan_in_strips_with_a_stamp_is_doubted(turn):
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(turn)
        for i in range(4):
            canvas.drawImage(ImageReader(io.BytesIO(png())), 0, 210 * i, 842, 210)
        canvas.drawString(50, 20, "RECEIVED")

    reading = read_pdf(drawn(draw))
    assert reading.problem.startswith("page(s) 1: a picture covers the page")
    assert reading.is_scanned


def test_a_picture_in_a_page_of_text_is_no_scan():
    def draw(canvas: Canvas) -> None:
        canvas.drawImage(ImageReader(io.BytesIO(png())), 0, 300, 595, 500)
        canvas.drawString(50, 200, "Figure 1.")

    assert read_pdf(drawn(draw)).complete
