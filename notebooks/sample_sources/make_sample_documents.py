"""Write the sample PDFs from the Markdown files in `text/`, byte for byte the same on every run.

    python notebooks/sample_documents/make_sample_documents.py [--out DIR]

A source begins with `key: value` lines between two `---` lines: title, subject, keywords, publisher, reference and
columns (1 or 2). Its body is a small part of Markdown: headings, paragraphs, lists, tables, *italic* and **bold**, and
a fenced block `bars` of `name value` lines, which is drawn as a bar chart. Blocks are separated by an empty line.
"""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from reportlab import rl_config
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    FrameBreak,
    ListFlowable,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    Table,
)

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "text"
PDFS = HERE.parent / "sample_documents"
FONT_FILES = {
    "Serif": "DejaVuSerif.ttf",
    "Serif-Bold": "DejaVuSerif-Bold.ttf",
    "Serif-Italic": "DejaVuSerif-Italic.ttf",
    "Serif-BoldItalic": "DejaVuSerif-BoldItalic.ttf",
}
PAGE_WIDTH, PAGE_HEIGHT = A4
MARGIN = 24 * mm
TEXT_WIDTH = PAGE_WIDTH - 2 * MARGIN
TEXT_HEIGHT = PAGE_HEIGHT - 2 * MARGIN
COLUMN_GAP = 7 * mm
TITLE_HEIGHT = 22 * mm  # over two columns; in one column the title is part of the text
SPACE_BEFORE_UNIT = r"(?<=\d) (?=(?:%|°C|min|dB|[kMcmµ]?(?:m|g|t|L|h|s|W|Wh|V|J|N|S|Hz|Ω|bar))(?![a-z]))"
INK, ACCENT, SHADE = HexColor("#1a1a1a"), HexColor("#1f4e5f"), HexColor("#e8eef0")


def make_sample_documents(out: Path = PDFS) -> list[Path]:
    """Write one PDF for each Markdown source into the folder `out` and return their paths, sorted by name."""
    register_fonts()
    out.mkdir(parents=True, exist_ok=True)
    return [write_pdf(source, out / f"{source.stem}.pdf") for source in sorted(SOURCES.glob("*.md"))]


def register_fonts() -> None:
    """Register DejaVu Serif from matplotlib: unlike the fonts of PDF readers it has every sign that the texts use."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, file_name in FONT_FILES.items():
        pdfmetrics.registerFont(TTFont(name, str(folder / file_name)))
    pdfmetrics.registerFontFamily("Serif", *FONT_FILES)


def write_pdf(source: Path, target: Path) -> Path:
    """Typeset one source as the PDF `target`."""
    meta, body = split_front_matter(source.read_text(encoding="utf-8"))
    columns = int(meta["columns"])
    document = open_document(target, meta)
    document.addPageTemplates(page_templates(meta, columns))
    document.build([NextPageTemplate("later"), *flowables(meta, body, columns)])
    return target


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """Return the `key: value` lines between the two `---` lines as a dictionary, and the text after them."""
    _, head, body = text.split("---\n", 2)
    return dict(line.split(": ", 1) for line in head.splitlines()), body


# Pages ----------------------------------------------------------------------------------------------------------------


def open_document(target: Path, meta: dict[str, str]) -> BaseDocTemplate:
    """Return an empty document with its metadata set and without dates or random identifiers."""
    rl_config.useA85 = 0  # ASCII armour would only make the files a quarter larger
    return BaseDocTemplate(
        str(target),
        pagesize=A4,
        title=meta["title"],
        subject=meta["subject"],
        author=meta["publisher"],
        keywords=meta["keywords"],
        creator="make_sample_documents.py",
        lang="en-GB",
        invariant=1,
    )


def page_templates(meta: dict[str, str], columns: int) -> list[PageTemplate]:
    """Return the template of the first page, without a running title, and that of all later pages."""
    first_frames = text_frames(columns)
    if columns > 1:
        title_frame = Frame(MARGIN, PAGE_HEIGHT - MARGIN - TITLE_HEIGHT, TEXT_WIDTH, TITLE_HEIGHT, 0, 0, 0, 0)
        first_frames = [title_frame, *text_frames(columns, TEXT_HEIGHT - TITLE_HEIGHT)]
    header, footer = partial(draw_header, meta), partial(draw_footer, meta)
    return [
        PageTemplate("first", first_frames, onPageEnd=footer),
        PageTemplate("later", text_frames(columns), onPage=header, onPageEnd=footer),
    ]


def text_frames(columns: int, height: float = TEXT_HEIGHT) -> list[Frame]:
    """Return the frames of a page, from left to right, standing on the bottom margin."""
    width = column_width(columns)
    return [Frame(MARGIN + i * (width + COLUMN_GAP), MARGIN, width, height, 0, 0, 0, 0) for i in range(columns)]


def column_width(columns: int) -> float:
    return (TEXT_WIDTH - (columns - 1) * COLUMN_GAP) / columns


def draw_header(meta: dict[str, str], canvas, _document) -> None:
    """Draw title and publisher above the text."""
    draw_margin_line(canvas, PAGE_HEIGHT - 16 * mm, meta["title"], meta["publisher"])
    canvas.line(MARGIN, PAGE_HEIGHT - 18 * mm, PAGE_WIDTH - MARGIN, PAGE_HEIGHT - 18 * mm)


def draw_footer(meta: dict[str, str], canvas, document) -> None:
    """Draw reference and page number below the text."""
    draw_margin_line(canvas, 13 * mm, meta["reference"], f"Page {document.page}")


def draw_margin_line(canvas, y: float, left: str, right: str) -> None:
    canvas.setFont("Serif", 7.5)
    canvas.setFillColor(ACCENT)
    canvas.setStrokeColor(ACCENT)
    canvas.setLineWidth(0.5)
    canvas.drawString(MARGIN, y, left)
    canvas.drawRightString(PAGE_WIDTH - MARGIN, y, right)


# Text -----------------------------------------------------------------------------------------------------------------


def flowables(meta: dict[str, str], body: str, columns: int) -> Iterator[Flowable]:
    """Yield what reportlab is to typeset, one object for each block of the Markdown text, publisher below the title."""
    style = styles(columns)
    title, *blocks = re.split(r"\n{2,}", body.strip())
    yield flowable(title, style, TEXT_WIDTH)
    yield Paragraph(inline(f"{meta['publisher']} · {meta['reference']}"), style["byline"])
    if columns > 1:
        yield FrameBreak()
    for block in blocks:
        yield flowable(block, style, column_width(columns))


def flowable(block: str, style: dict[str, ParagraphStyle], width: float) -> Flowable:
    """Return one block of Markdown as something that reportlab can typeset."""
    if block.startswith("## "):
        return Paragraph(inline(block[3:]), style["heading"])
    if block.startswith("# "):
        return Paragraph(inline(block[2:]), style["title"])
    if block.startswith("|"):
        return table(block, style, width)
    if block.startswith("```bars"):
        return bar_chart(block, width)
    if re.match(r"- |\d+\. ", block):
        return bullet_list(block, style)
    return Paragraph(inline(block), style["caption" if re.match(r"\*(Table|Figure) \d", block) else "body"])


def inline(text: str) -> str:
    """Return Markdown emphasis as reportlab's tags, everything else escaped; a number and its unit share a line.

    Reportlab writes the no-break space as an ordinary one, so a PDF reader extracts the text as it is in the source.
    """
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text, quote=False))
    text = re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)
    return re.sub(SPACE_BEFORE_UNIT, "\N{NO-BREAK SPACE}", text)


def styles(columns: int) -> dict[str, ParagraphStyle]:
    """Return the paragraph styles; two columns are set in smaller type."""
    size = 11 if columns == 1 else 9.3
    body = ParagraphStyle("body", fontName="Serif", fontSize=size, leading=1.45 * size, textColor=INK)
    body.alignment, body.spaceAfter = TA_JUSTIFY, 0.6 * size
    body.allowWidows, body.allowOrphans, body.embeddedHyphenation = 0, 0, columns - 1
    heading = ParagraphStyle("heading", body, fontName="Serif-Bold", fontSize=1.2 * size, leading=1.6 * size)
    heading.alignment, heading.textColor, heading.spaceBefore, heading.keepWithNext = 0, ACCENT, size, 1
    title = ParagraphStyle("title", heading, fontSize=18, leading=24, spaceBefore=0, spaceAfter=4, keepWithNext=0)
    byline = ParagraphStyle("byline", body, alignment=0, fontSize=9, leading=12, textColor=ACCENT, spaceAfter=18)
    caption = ParagraphStyle("caption", body, alignment=0, fontSize=0.86 * size, leading=1.2 * size, keepWithNext=1)
    cell = ParagraphStyle("cell", caption, spaceAfter=0, keepWithNext=0)
    return {"title": title, "byline": byline, "heading": heading, "body": body, "caption": caption, "cell": cell}


def bullet_list(block: str, style: dict[str, ParagraphStyle]) -> ListFlowable:
    """Return a list whose items stand on a line each, numbered if the first one is."""
    items = [Paragraph(inline(re.sub(r"^(- |\d+\. )", "", line)), style["body"]) for line in block.splitlines()]
    kind: dict[str, Any] = {"bulletType": "bullet", "start": "•"} if block.startswith("- ") else {"bulletFormat": "%s."}
    return ListFlowable(items, bulletFontName="Serif", bulletFontSize=style["body"].fontSize, leftIndent=18, **kind)


def table(block: str, style: dict[str, ParagraphStyle], width: float) -> Table:
    """Return a table with borders; its second line, the dashes, is not a row."""
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    cells = [[Paragraph(f"<b>{inline(cell)}</b>", style["cell"]) for cell in header]]
    cells += [[Paragraph(inline(cell), style["cell"]) for cell in row] for row in rows]
    weights = [max(10, *map(len, column)) ** 0.5 for column in zip(header, *rows, strict=True)]
    grid = Table(cells, [width * weight / sum(weights) for weight in weights], repeatRows=1)
    grid.spaceBefore, grid.spaceAfter = 2, 12
    grid.setStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.5, ACCENT),
            ("BACKGROUND", (0, 0), (-1, 0), SHADE),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("LEFTPADDING", (0, 0), (-1, -1), 4),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return grid


def bar_chart(block: str, width: float) -> Table:
    """Return a bar chart of the block's `name value` lines; its line `label: text` names the unit of the axis."""
    _, label, *lines = block.strip("`\n").splitlines()
    names, values = zip(*(line.rsplit(" ", 1) for line in lines), strict=True)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 30, 18, int(width) - 40, 110
    chart.data = [tuple(map(float, values))]
    chart.categoryAxis.categoryNames = list(names)
    chart.valueAxis.valueMin, chart.valueAxis.rangeRound = 0, "ceiling"
    chart.valueAxis.labelTextFormat = "{:,.0f}".format
    chart.barLabelFormat = "{:,g}".format
    chart.barLabels.nudge = 7
    chart.bars[0].fillColor, chart.bars[0].strokeColor = ACCENT, None
    for labels in (chart.categoryAxis.labels, chart.valueAxis.labels, chart.barLabels):
        labels.fontName, labels.fontSize = "Serif", 7.5
    drawing = Drawing(width, 150)
    drawing.add(chart)
    drawing.add(String(0, 138, label.removeprefix("label: "), fontName="Serif", fontSize=7.5))
    framed = Table([[drawing]], [width])
    framed.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0)])
    framed.keepWithNext = 1  # which a Drawing itself does not know
    return framed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the sample PDFs from the Markdown files in text/.")
    parser.add_argument("--out", type=Path, default=PDFS, help="folder for the PDFs; default: sample_documents")
    for path in make_sample_documents(parser.parse_args().out):
        print(path)
