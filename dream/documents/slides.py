"""Text of PowerPoint presentations: a page for each slide, with its tables, charts and notes."""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from dream.documents.charts import chart_lines
from dream.documents.drawings import diagram_lines, paragraph_text, shape_lines
from dream.documents.file_types import Reading, page_ranges
from dream.documents.office_parts import attribute, paragraphs, transitional
from dream.documents.rows import one_line, row_lines
from dream.documents.xml import local_name, parse

_DIAGRAM = "/diagramData"


def read_pptx(content: bytes) -> Reading:
    """The text of all slides except hidden ones."""
    from pptx import Presentation

    slides = list(Presentation(io.BytesIO(transitional(content))).slides)
    hidden = [number for number, slide in enumerate(slides, start=1) if slide._element.get("show") == "0"]
    texts = {n: "\n".join(_slide(slide)).strip() for n, slide in enumerate(slides, start=1) if n not in hidden}
    pages = tuple((number, f"{text}\n") for number, text in texts.items() if text)
    empty = [number for number, text in texts.items() if not text]
    left_out = (f"the hidden slide(s) {page_ranges(hidden)}",) if hidden else ()
    if not pages:
        return Reading((), len(slides), False, "no text on any of its slides", "save it as a PDF and run OCR")
    problem = f"no text on slide(s) {page_ranges(empty)} (blank or pictures)" if empty else ""
    return Reading(
        pages, len(slides), not empty, problem, "add the text of the pictures as notes" if empty else "", left_out
    )


def _slide(slide: Any) -> Iterator[str]:
    _choose(slide.element)
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


def _choose(slide: Any) -> None:
    """Take the shapes that new programs show, such as those with equations, where old ones have a copy."""
    for either in list(slide.iter("{*}AlternateContent")):
        choice = either.find("{*}Choice")
        parent = either.getparent()
        if choice is not None and parent is not None and local_name(parent) in ("spTree", "grpSp"):
            index = parent.index(either)
            parent[index : index + 1] = list(choice)


def _place(shape: Any) -> tuple[int, int]:
    """From the top to the bottom, then from left to right; a placeholder without a place of its own comes first."""
    return (shape.top or 0, shape.left or 0)


def _shape(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):  # a group
        for part in sorted(shape.shapes, key=_place):
            yield from _shape(part)
    elif getattr(shape, "has_table", False):
        yield from row_lines(_rows(shape.element))
    elif getattr(shape, "has_text_frame", False):
        for paragraph in paragraphs(shape.element):
            if text := paragraph_text(paragraph):
                yield f"{'  ' * _level(paragraph)}{text}"
    else:
        yield from _charts(shape)


def _level(paragraph: Any) -> int:
    properties = paragraph.find("{*}pPr")
    return 0 if properties is None else int(properties.get("lvl", 0))


def _rows(table: Any) -> Iterator[list[str]]:
    """The cells of each row; a cell over several rows is in each of them."""
    above: list[str] = []
    for row in table.iter("{*}tr"):
        cells = []
        for i, cell in enumerate(row.iterfind("{*}tc")):
            is_below = cell.get("vMerge") in ("1", "true") and i < len(above)
            cells.append(above[i] if is_below else " ".join(shape_lines(cell)))
        above = cells
        yield cells


def _charts(shape: Any) -> Iterator[str]:
    """The chart in a frame, of the older kind or the newer one."""
    for node in shape.element.iter("{*}chart"):
        with suppress(KeyError):
            yield from chart_lines(parse(shape.part.related_part(attribute(node, "id")).blob))


def _diagrams(slide: Any) -> Iterator[str]:
    """The texts of SmartArt."""
    for relation in slide.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(_DIAGRAM):
            yield from diagram_lines(parse(relation.target_part.blob))
