"""Lines and cells by the places of letters, in text of every direction."""

import io
from collections.abc import Callable

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from sample_files import text_of

ROWS = [("Pump", "Flow", "Head"), ("A", "42 l/s", "30 m"), ("B", "17 l/s", "9 m")]
TABLE = "Pump | Flow | Head\nA | 42 l/s | 30 m\nB | 17 l/s | 9 m\nA line of text below the table\n"


def drawn(draw: Callable[[Canvas], None]) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True, pagesize=A4)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def draw_table(canvas: Canvas) -> None:
    for i, row in enumerate(ROWS):
        for j, cell in enumerate(row):
            canvas.drawString(100 * j - 200, 100 - 14 * i, cell)
    canvas.drawString(-200, 100 - 14 * len(ROWS), "A line of text below the table")


@pytest.mark.parametrize(("page", "text"), [(0, 0), (90, 90), (270, 270), (180, 180), (0, 90), (0, 270)])
def test_rows_stay_rows_on_turned_pages_and_with_cells_of_one_letter(page, text):
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(page)
        canvas.translate(300, 400)
        canvas.rotate(text)
        draw_table(canvas)

    assert text_of("a.pdf", drawn(draw)) == TABLE


@pytest.mark.parametrize("angle", [90, 270, 45])
def test_turned_text(angle):
    def draw(canvas: Canvas) -> None:
        canvas.translate(300, 400)
        canvas.rotate(angle)
        canvas.drawString(0, 0, "Read me from the side, please.")

    assert text_of("a.pdf", drawn(draw)) == "Read me from the side, please.\n"


def test_words_that_are_drawn_one_by_one_are_one_line():
    def draw(canvas: Canvas) -> None:
        for i, line in enumerate(["Every word is drawn alone", "and so is the second line"]):
            x = 50
            for word in line.split():
                canvas.drawString(x, 700 - 14 * i, word)
                x += canvas.stringWidth(word) + 3.3

    assert text_of("a.pdf", drawn(draw)) == "Every word is drawn alone\nand so is the second line\n"


def test_an_index_does_not_break_its_line():
    def draw(canvas: Canvas) -> None:
        text = canvas.beginText(50, 700)
        text.textOut("The value x")
        for rise, size, part in ((-2, 7, "max "), (0, 12, "is 42 at most.")):
            text.setRise(rise)
            text.setFont("Helvetica", size)
            text.textOut(part)
        canvas.drawText(text)

    assert text_of("a.pdf", drawn(draw)) == "The value xmax is 42 at most.\n"


def test_wide_gaps_in_a_single_line_are_spaces():
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 700, "Handbook")
        canvas.drawRightString(500, 700, "page three")
        canvas.drawString(50, 680, "The text begins here.")

    assert text_of("a.pdf", drawn(draw)) == "Handbook page three\nThe text begins here.\n"


def test_amounts_that_are_set_to_the_right_stay_in_their_rows():
    rows = [("Revenue", "1,234", "2,345"), ("Cost of sales", "(1,000)", "(1,100)"), ("Profit", "234", "1,245")]

    def draw(canvas: Canvas) -> None:
        for i, (name, *amounts) in enumerate(rows):
            canvas.drawString(50, 700 - 14 * i, name)
            for j, amount in enumerate(amounts):
                canvas.drawRightString(300 + 80 * j, 700 - 14 * i, amount)

    assert text_of("a.pdf", drawn(draw)) == "".join(f"{' | '.join(row)}\n" for row in rows)
