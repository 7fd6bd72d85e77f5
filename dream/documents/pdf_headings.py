"""Headings of a PDF: short lines in larger type than the text of the document, with levels by their size."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import regex

from dream.documents.file_types import Heading
from dream.documents.pdf_page import Page
from dream.documents.repeated_lines import LEAST_PAGES, LEAST_SHARE, shape

# A heading's type is so many times that of the text.
LARGER = 1.12
# The text's type is the largest in which so much of the document is set: notes and tables may hold more letters.
TEXT_SHARE = 0.25
MOST_LEVELS, MOST_LINES, MOST_LETTERS = 6, 3, 120
# A line of more characters that ends as a sentence does is no heading.
SENTENCE_LETTERS = 30
# Sizes that differ by less are one: type is set in steps of half a point or more.
STEP = 0.5

_LETTER = regex.compile(r"\p{L}")
_LEADERS = re.compile(r"(?:[.·…_]\s?){4,}")
_FIGURE = regex.compile(r"^\W*(?:\p{Sc}|\d[\d.,\s]*\s*(?:[%‰×]|\p{Sc}|\p{Ll}))")
_SENTENCE_END = regex.compile(r"[,;]\s*$|(?<!\d)[\p{Sentence_Terminal}--[?？]]\s*$", flags=regex.V1)


class _Line(NamedTuple):
    page: int
    start: int
    text: str
    size: float  # in steps

    @property
    def may_be_heading(self) -> bool:
        """True for the form of a heading: no sentence, row, figure, page number or entry of a table of contents."""
        letters = len(_LETTER.findall(self.text))
        if letters < 2 or len(self.text) > MOST_LETTERS or letters < len("".join(self.text.split())) / 2:
            return False
        if _LEADERS.search(self.text) or _FIGURE.search(self.text) or any(mark in self.text for mark in (" | ", "@")):
            return False
        return not (_SENTENCE_END.search(self.text) and len(self.text) > SENTENCE_LETTERS)


def headings_of(pages: Sequence[Page]) -> tuple[Heading, ...]:
    """The headings of a document, none where all type is of one size."""
    lines = [list(_lines_of(page)) for page in pages]
    text_size = _text_size(lines)
    if not text_size:
        return ()
    found = [heading for of_page in lines for heading in _headings_of(of_page, LARGER * text_size)]
    running = _running([first for first, _ in found], len(pages))
    kept = [(first, last) for first, last in found if shape(first.text) not in running]
    levels = _levels({first.size for first, _ in kept})
    return tuple(
        Heading(first.page, first.start, last.start + len(last.text), levels[first.size]) for first, last in kept
    )


def _lines_of(page: Page) -> Iterator[_Line]:
    start = 0
    for text, size in zip(page.text.split("\n"), page.sizes, strict=False):
        if text.strip():
            yield _Line(page.number, start, text, round(size / STEP) * STEP)
        start += len(text) + 1


def _text_size(lines: Sequence[Sequence[_Line]]) -> float:
    letters: Counter[float] = Counter()
    for of_page in lines:
        for line in of_page:
            letters[line.size] += len(line.text) if line.size else 0
    least = TEXT_SHARE * letters.total()
    most = max(letters, key=lambda size: letters[size], default=0.0)
    return max((size for size, n in letters.items() if n >= least), default=most)


def _headings_of(lines: Sequence[_Line], least_size: float) -> Iterator[tuple[_Line, _Line]]:
    """The first and the last line of each heading of a page: a few neighbouring lines of one size."""
    for size, group in groupby(lines, lambda line: line.size):
        block = list(group)
        if size >= least_size and len(block) <= MOST_LINES and all(line.may_be_heading for line in block):
            yield block[0], block[-1]


def _running(headings: Sequence[_Line], n_pages: int) -> set[str]:
    """The shapes of lines that stand on most pages."""
    counts = Counter(text for text, _ in {(shape(line.text), line.page) for line in headings})
    least = max(LEAST_PAGES, LEAST_SHARE * n_pages)
    return {text for text, n in counts.items() if n >= least}


def _levels(sizes: set[float]) -> Mapping[float, int]:
    """1 for the largest size."""
    return {size: min(place, MOST_LEVELS) for place, size in enumerate(sorted(sizes, reverse=True), 1)}
