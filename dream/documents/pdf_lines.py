"""The lines of a PDF page, and the cells of lines with wide gaps, by the places of their letters.

PDFium's own lines are taken, except where it joins rows of a table whose cells hold single letters. Most lines are
drawn in one piece; the places of letters, which take time, are asked for only where a line has several pieces.
"""

import ctypes
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dream.documents.pdf_layout import MOST_COLUMNS, Line
from dream.documents.pdf_styles import Styles

Box = tuple[float, float, float, float]  # left, bottom, right, top, as seen by a reader of the line
# Boxes of turned text as if it were upright, by quarter turns against the clock.
_UPRIGHT: Sequence[Callable[[float, float, float, float], Box]] = (
    lambda left, bottom, right, top: (left, bottom, right, top),
    lambda left, bottom, right, top: (bottom, -right, top, -left),
    lambda left, bottom, right, top: (-right, -top, -left, -bottom),
    lambda left, bottom, right, top: (-top, left, -bottom, right),
)


def lines_of(textpage: Any, text: str, tags: Mapping[int, int] | None = None) -> Iterator[Line]:
    """The lines of a page; `text` is what PDFium reads on it, a letter for each of its characters. `tags` as in
    `Styles`."""
    styles = Styles(textpage, tags)
    start = 0
    for part in text.split("\r\n"):
        if " " in part.strip():
            yield from _split(textpage, styles, start, part)
        else:
            yield _line(styles, [(start, part)])
        start += len(part) + len("\r\n")


def _split(textpage: Any, styles: Styles, start: int, part: str) -> Iterator[Line]:
    """One of PDFium's lines, as more lines or cells if its pieces are far apart."""
    turn = _quarter_turns(textpage, start)
    boxes = [_UPRIGHT[turn](*box) for box in _pieces(textpage, start, len(part))]
    if len(boxes) > 1:
        height = max(top - bottom for _, bottom, _, top in boxes)
        gaps = (max(_gap(before, after), _gap(after, before)) for before, after in pairwise(boxes))
        is_one_line = max(bottom for _, bottom, _, _ in boxes) < min(top for _, _, _, top in boxes)
        if not is_one_line or max(gaps) >= height:
            yield from _by_letters(textpage, styles, start, part, height, turn)
            return
    yield _line(styles, [(start, part)])


def _by_letters(textpage: Any, styles: Styles, start: int, part: str, height: float, turn: int) -> Iterator[Line]:
    """A line split where the letters around a space are far apart."""
    cells: list[tuple[int, str]] = []
    edges: list[float] = []
    begin = 0
    for space in re.finditer(" +", part):
        before, after = space.start() - 1, space.end()
        if before < begin or after >= len(part):
            continue
        left, right = (_box(textpage, start + index, turn) for index in (before, after))
        if left is None or right is None:
            continue
        if _is_next_line(left, right, height):
            yield _line(styles, [*cells, (start + begin, part[begin : space.start()])], edges)
            cells, edges, begin = [], [], after
        elif max(_gap(left, right), _gap(right, left)) >= height:
            cells.append((start + begin, part[begin : space.start()]))
            edges.append(left[2])
            begin = after
    yield _line(styles, [*cells, (start + begin, part[begin:])], edges)


def _line(styles: Styles, cells: Sequence[tuple[int, str]], edges: Sequence[float] = ()) -> Line:
    """A line of cells, each with its place in the text of the page; with the styles of cells that may be a column."""
    known = (styles.of(start, text) for start, text in cells) if len(cells) <= MOST_COLUMNS else ()
    return Line(tuple(text for _, text in cells), tuple(edges), tuple(known))


def _gap(left: Box, right: Box) -> float:
    return right[0] - left[2]


def _is_next_line(before: Box, after: Box, height: float) -> bool:
    """True if a letter stands below another, and not just after it, as a low index does."""
    return after[3] <= before[1] and (after[0] < before[2] or before[1] - after[3] > height / 3)


def _quarter_turns(textpage: Any, index: int) -> int:
    from pypdfium2 import raw

    angle = raw.FPDFText_GetCharAngle(textpage, index)
    return -round(angle / (math.pi / 2)) % 4 if angle > 0 else 0


def _pieces(textpage: Any, start: int, n: int) -> list[Box]:
    """The boxes of the pieces that a line is drawn in."""
    from pypdfium2 import raw

    count = raw.FPDFText_CountRects(textpage, start, n)
    if count < 2:
        return []
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    boxes = []
    for i in range(count):
        raw.FPDFText_GetRect(textpage, i, left, top, right, bottom)
        boxes.append((left.value, bottom.value, right.value, top.value))
    return boxes


def _box(textpage: Any, index: int, turn: int) -> Box | None:
    """The box of a letter."""
    from pypdfium2 import raw

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    if not raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top):
        return None
    return _UPRIGHT[turn](left.value, bottom.value, right.value, top.value)
