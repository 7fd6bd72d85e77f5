"""Headings of PDFs: larger type than the text's, whatever the page looks like; the text stays as it is."""

import io
from collections.abc import Callable
from dataclasses import asdict

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from dream.documents.file_types import Reading, ReadingOptions
from dream.documents.readers import read_file
from dream.documents.text_store import TextStore

PROSE = [
    "The pump station was built in the year 1987 and takes its water",
    "from the river at the old weir. Every six months a crew looks at",
    "the main rotor and writes down what it has found in the book that",
    "lies in the control room, where the town may read it at any time.",
]


def drawn(*pages: Callable[[Canvas], None]) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True, pagesize=A4)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def written(lines: list[tuple[float, str]], x: float = 50, font: str = "Helvetica") -> Callable[[Canvas], None]:
    """A page of lines, each with its size."""

    def draw(canvas: Canvas) -> None:
        y = 780.0
        for size, line in lines:
            y -= 1.5 * size
            canvas.setFont(font, size)
            canvas.drawString(x, y, line)

    return draw


def prose(size: float = 10) -> list[tuple[float, str]]:
    return [(size, line) for line in PROSE]


def read(content: bytes, repeated_lines: str = "drop") -> Reading:
    return read_file("a.pdf", content, ReadingOptions(repeated_lines))


def headings(content: bytes, repeated_lines: str = "drop") -> list[tuple[int, str]]:
    reading = read(content, repeated_lines)
    texts = dict(reading.pages)
    return [(heading.level, texts[heading.page][heading.start : heading.end]) for heading in reading.headings]


def test_levels_go_by_size_and_two_lines_are_one_heading():
    page = written([(24, "Annual report"), *prose(), (14, "Water and what"), (14, "it costs"), *prose(), (12, "Pumps"),
                    *prose(), (14, "Outlook"), *prose()])  # fmt: skip
    assert headings(drawn(page)) == [
        (1, "Annual report"),
        (2, "Water and what\nit costs"),
        (3, "Pumps"),
        (2, "Outlook"),
    ]


def test_the_text_is_as_before():
    assert read(drawn(written([(14, "Pumps"), *prose()]))).pages == ((1, "\n".join(["Pumps", *PROSE, ""])),)


@pytest.mark.parametrize(
    "line",
    [
        "42 %",
        "€ 4.2 billion",
        "4.2 million litres",
        "17",
        "1 Pumps ........................ 12",
        "A pump that stands still is a pump that rusts, said the mayor.",
        "press@waterworks.example",
        "x" * 121,
    ],
)
def test_other_lines_in_large_type_are_none(line):
    assert headings(drawn(written([*prose(), (16, line), *prose()]))) == []


def test_a_paragraph_in_large_type_is_none():
    lines = [(16.0, line[:40]) for line in PROSE]
    assert headings(drawn(written([*lines, *prose(), *prose(), *prose()]))) == []


def test_an_initial_and_an_index_do_not_decide():
    def draw(canvas: Canvas) -> None:
        written([*prose(), (14, "The value")])(canvas)
        canvas.setFont("Helvetica", 8)
        canvas.drawString(120, 705, "12")
        canvas.setFont("Helvetica", 24)
        canvas.drawString(50, 500, "O")
        canvas.setFont("Helvetica", 10)
        canvas.drawString(72, 500, "nce upon a time there was a pump by the river.")

    assert [text for _, text in headings(drawn(draw))] in (["The value"], ["The value12"], ["The value 12"])


def test_lines_that_run_through_the_pages_are_none():
    pages = [written([(14, f"Handbook, page {i}"), *prose(), (14, f"Chapter {'ABCD'[i]}"), *prose()]) for i in range(4)]
    expected = [(1, f"Chapter {letter}") for letter in "ABCD"]
    assert headings(drawn(*pages), "keep") == expected
    assert headings(drawn(*pages), "drop") == expected  # at other places in a shorter text


def test_rows_of_a_table_are_none():
    def draw(canvas: Canvas) -> None:
        written(prose())(canvas)
        canvas.setFont("Helvetica", 14)
        for row in range(3):
            canvas.drawString(50, 600 - 20 * row, "Pump")
            canvas.drawString(300, 600 - 20 * row, "Flow")

    assert headings(drawn(draw)) == []


def test_a_document_in_one_size_without_bold_type_has_none():
    assert headings(drawn(written([(10, "Pumps"), *prose()]))) == []


Lines = list[tuple[str, str]]
TEXT: Lines = [("Helvetica", line) for line in PROSE]


def bold(line: str, font: str = "Helvetica-Bold") -> Lines:
    return [(font, line)]


def set_in(lines: Lines, size: float = 10) -> Callable[[Canvas], None]:
    """A page of lines in one size; the part of a line before `*` is in its font, the rest in Helvetica."""

    def draw(canvas: Canvas) -> None:
        y = 780.0
        for font, line in lines:
            y -= 1.5 * size
            first, _, rest = line.partition("*")
            canvas.setFont(font, size)
            canvas.drawString(50, y, first)
            canvas.setFont("Helvetica", size)
            canvas.drawString(50 + pdfmetrics.stringWidth(first, font, size), y, rest)

    return draw


def test_lines_in_bold_are_headings_below_those_in_larger_type():
    title = written([(14, "Handbook")])
    page = set_in(
        [*TEXT, *bold("1.1 Pumps"), *TEXT, *bold("Rotors and", "Times-Bold"), *bold("valves", "Times-Bold"), *TEXT]
    )

    def draw(canvas: Canvas) -> None:
        title(canvas)
        canvas.translate(0, -60)
        page(canvas)

    assert headings(drawn(draw)) == [(1, "Handbook"), (2, "1.1 Pumps"), (2, "Rotors and\nvalves")]


@pytest.mark.parametrize(
    "lines",
    [
        [*bold("Pumps* stand still at night."), *TEXT],
        [*TEXT, *bold("A crew that finds the rotor broken calls the town at once."), *TEXT],
        [*TEXT, *bold("and so does the mayor"), *TEXT],
        [*TEXT, *bold("No one may open the main rotor of the pump"), ("Helvetica", "before it stands still.")],
        [*bold("Pumps and rotors"), *bold("Valves and pipes")],
        [*bold("42,000 m"), *TEXT],
        [part for i in range(4) for part in (*bold(f"Name {i}"), ("Helvetica", "Anna Berg"))],
    ],
    ids=["part", "sentence", "small", "continued", "all", "figure", "labels"],
)
def test_other_bold_type_is_none(lines):
    assert headings(drawn(set_in(lines))) == []


def test_bold_lines_in_and_above_tables_are_none():
    def draw(canvas: Canvas) -> None:
        set_in([*TEXT, *TEXT, *bold("Year that ended in May")])(canvas)
        for row, (left, right) in enumerate([("Pump", "Flow"), ("A", "42"), ("B", "17")]):
            canvas.setFont("Helvetica-Bold" if row == 0 else "Helvetica", 10)
            canvas.drawString(50, 640 - 15 * row, left)
            canvas.drawString(300, 640 - 15 * row, right)

    assert headings(drawn(draw)) == []


def test_bold_lines_count_for_nothing_where_an_outline_names_headings():
    page = set_in([*bold("Pumps"), *TEXT, *bold("Valves"), *TEXT])
    assert headings(drawn(outlined(page, (0, "Pumps")))) == [(1, "Pumps")]


def test_bold_lines_that_run_through_the_pages_are_none():
    pages = [set_in([*bold("Waterworks"), *TEXT, *bold(f"Chapter {letter}"), *TEXT]) for letter in "ABCD"]
    assert headings(drawn(*pages)) == [(1, f"Chapter {letter}") for letter in "ABCD"]


def test_slides_are_large_all_over():
    slide = written([(36, "Pumps"), *[(20, f"{line[:30]}") for line in PROSE], (20, "Nine people"), (20, "work here")])
    assert headings(drawn(slide, slide)) == [(1, "Pumps"), (1, "Pumps")]


def test_tables_and_notes_may_hold_more_letters_than_the_text():
    notes = [(7.0, line) for line in PROSE * 2]
    page = written([(14, "Pumps"), *prose(), *notes, (10, "A short paragraph of one line")])
    assert headings(drawn(page)) == [(1, "Pumps")]


@pytest.mark.parametrize(("page", "text"), [(90, 90), (270, 270), (180, 0), (0, 90)])
def test_turned_pages(page, text):
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(page)
        canvas.translate(300, 400)
        canvas.rotate(text)
        canvas.translate(-300, -600)
        written([(14, "Pumps"), *prose()])(canvas)

    assert headings(drawn(draw)) == [(1, "Pumps")]


def test_sizes_are_those_on_the_page():
    def draw(canvas: Canvas) -> None:
        canvas.scale(0.5, 0.5)
        written([(28, "Pumps"), *prose(20)], 100)(canvas)
        canvas.scale(28, 28)
        canvas.setFont("Helvetica", 1)
        canvas.drawString(4, 30, "Valves")

    assert sorted(headings(drawn(draw, written(prose())))) == [(1, "Pumps"), (1, "Valves")]


def test_two_columns():
    def draw(canvas: Canvas) -> None:
        written([(12, "Pumps"), *[(9, line[:40]) for line in PROSE * 3]], 50)(canvas)
        written([(12, "Valves"), *[(9, line[:40]) for line in PROSE * 3]], 320)(canvas)

    assert headings(drawn(draw)) == [(1, "Pumps"), (1, "Valves")]


def test_chinese():
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    lines = [(14.0, "第一章 水泵"), *[(10.0, "水泵站建于1987年，从旧堰的河流中取水。")] * 4, (12.0, "检查。")]
    assert headings(drawn(written(lines, font="STSong-Light"))) == [(1, "第一章 水泵"), (2, "检查。")]


def test_the_invisible_letters_of_an_ocr_program_have_no_headings():
    def draw(canvas: Canvas) -> None:
        for i, line in enumerate(["Pumps", *PROSE]):
            text = canvas.beginText(50, 700 - 16 * i)
            text.setTextRenderMode(3)
            text.setFont("Helvetica", 14 if i == 0 else 10)
            text.textOut(line)
            canvas.drawText(text)

    assert headings(drawn(draw)) == []


def test_headings_are_kept_with_the_text(storage):
    reading = read(drawn(written([(14, "Pumps"), *prose()])))
    texts = TextStore(storage, ReadingOptions())
    assert texts.put("0" * 64, "a.pdf", reading)
    assert texts.get("0" * 64, "a.pdf") == reading and asdict(reading)["headings"]


def outlined(draw: Callable[[Canvas], None], *entries: tuple[int, str]) -> Callable[[Canvas], None]:
    """A page to which bookmarks lead, each with its level from 0."""

    def draw_with_outline(canvas: Canvas) -> None:
        draw(canvas)
        for level, title in entries:
            key = f"{canvas.getPageNumber()} {title}"
            canvas.bookmarkPage(key)
            canvas.addOutlineEntry(title, key, level)

    return draw_with_outline


def test_an_outline_names_headings_in_the_texts_own_size_and_their_levels():
    first = written([(10, "1. Pumps"), *prose(), (10, "1.1 Rotors of"), (10, "the pumps"), *prose()])
    second = written([(10, "PUMPS"), (12, "2 Valves"), *prose(), (12, "Not in the outline"), *prose()])
    found = headings(
        drawn(
            outlined(first, (0, "Pumps"), (1, "1.1. Rotors of the pumps")),
            outlined(second, (0, "Valves"), (1, "Elsewhere"), (1, "7")),
        )
    )
    assert found == [(1, "1. Pumps"), (2, "1.1 Rotors of\nthe pumps"), (1, "2 Valves"), (1, "Not in the outline")]


def test_type_that_is_larger_than_all_that_an_outline_names_stands_above_it_and_other_sizes_below():
    page = written([(20, "Handbook"), (14, "Pumps"), *prose(), (12, "A detail"), *prose(), (14, "Valves"), *prose()])
    content = drawn(outlined(page, (0, "Pumps")), written(prose()))
    assert headings(content) == [(1, "Handbook"), (2, "Pumps"), (3, "A detail"), (2, "Valves")]


def test_of_a_header_and_a_heading_with_the_same_words_the_larger_is_named():
    page = written([(8, "Pumps"), (14, "Pumps"), *prose()])
    assert headings(drawn(outlined(page, (0, "Pumps")), written(prose()))) == [(1, "Pumps")]


def test_a_damaged_outline_hides_nothing():
    content = drawn(outlined(written([(14, "Pumps"), *prose()]), (0, "Pumps"))).replace(b"/Dest ", b"/Dust ")
    assert headings(content) == [(1, "Pumps")]
