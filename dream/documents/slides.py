"""Text of PowerPoint presentations: a page for each slide, with its tables, charts and notes."""

import io
from collections.abc import Iterator
from typing import Any

from dream.documents.file_types import Reading, page_ranges
from dream.documents.rows import one_line, row_lines
from dream.documents.xml import parse

_DIAGRAM = "/diagramData"


def read_pptx(content: bytes) -> Reading:
    """The slides that are shown; hidden ones are left out."""
    from pptx import Presentation

    slides = list(Presentation(io.BytesIO(content)).slides)
    hidden = [number for number, slide in enumerate(slides, start=1) if slide._element.get("show") == "0"]
    texts = {n: "\n".join(_slide(slide)).strip() for n, slide in enumerate(slides, start=1) if n not in hidden}
    pages = tuple((number, f"{text}\n") for number, text in texts.items() if text)
    empty = [number for number, text in texts.items() if not text]
    left_out = (f"the hidden slide(s) {page_ranges(hidden)}",) if hidden else ()
    if not pages:
        return Reading((), len(slides), False, "no text on any of its slides", "save it as a PDF and run OCR")
    problem = f"no text on slide(s) {page_ranges(empty)} (blank or pictures)" if empty else ""
    return Reading(
        pages, len(slides), not empty, problem, "add what the pictures say as notes" if empty else "", left_out
    )


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and one_line(title.text_frame.text):
        yield f"# {one_line(title.text_frame.text)}"
        yield ""
    others = [shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id]
    for shape in sorted(others, key=_place):
        yield from _shape(shape)
    yield from _diagrams(slide)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        if notes:
            yield ""
            yield f"Notes: {notes}"


def _place(shape: Any) -> tuple[int, int]:
    """From the top to the bottom, then from left to right; a placeholder without a place of its own comes first."""
    return (shape.top or 0, shape.left or 0)


def _shape(shape: Any) -> Iterator[str]:
    if shape.shape_type is not None and hasattr(shape, "shapes"):
        for part in sorted(shape.shapes, key=_place):
            yield from _shape(part)
    elif getattr(shape, "has_table", False):
        yield from row_lines([cell.text for cell in row.cells] for row in shape.table.rows)
    elif getattr(shape, "has_chart", False):
        yield from _chart(shape.chart)
    elif shape.has_text_frame:
        for paragraph in shape.text_frame.paragraphs:
            if text := one_line("".join(run.text for run in paragraph.runs) or paragraph.text):
                yield f"{'  ' * paragraph.level}{text}"


def _chart(chart: Any) -> Iterator[str]:
    """A chart as the table behind it."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield one_line(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        yield from row_lines([["", *(str(category) for category in plot.categories)]])
        yield from row_lines(
            [series.name, *("" if v is None else f"{v:.10g}" for v in series.values)] for series in plot.series
        )


def _diagrams(slide: Any) -> Iterator[str]:
    """The texts of SmartArt."""
    for relation in slide.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(_DIAGRAM):
            for paragraph in parse(relation.target_part.blob).iter(
                "{http://schemas.openxmlformats.org/drawingml/2006/main}p"
            ):
                if text := one_line("".join(node.text or "" for node in paragraph.iter("{*}t"))):
                    yield f"- {text}"
