"""Headings of a PDF: the lines that its outline (bookmarks) names, and short lines in larger type than the text.

The outline finds headings in the text's own size, such as bold or numbered lines, and knows the levels. Where there is
none, levels are those of the sizes; below them come headings in the text's own size: those that the file's tags name,
or else lines in bold.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import regex

from dream.documents.file_types import Heading
from dream.documents.pdf_layout import CELLS
from dream.documents.pdf_page import Page
from dream.documents.pdf_styles import Style
from dream.documents.repeated_lines import LEAST_PAGES, LEAST_SHARE, shape

# A heading's type is so many times that of the text.
LARGER = 1.12
# The text's type is the largest in which so much of the document is set: notes and tables may hold more letters.
TEXT_SHARE = 0.25
MOST_LEVELS, MOST_LINES, MOST_LETTERS = 6, 3, 120
# Where a larger share of the text's letters is bold, bold lines are no headings.
BOLD_SHARE = 1 / 3
# A line that is so long beside the next one may go on in it.
FULL_LINE = 0.6
# A line of more characters that ends as a sentence does is no heading.
SENTENCE_LETTERS = 30
# Sizes that differ by less are one: type is set in steps of half a point or more.
STEP = 0.5

_LETTER = regex.compile(r"\p{L}")
_LEADERS = re.compile(r"(?:[.·…_]\s?){4,}")
_FIGURE = regex.compile(r"^\W*(?:\p{Sc}|\d[\d.,\s]*\s*(?:[%‰×]|\p{Sc}|\p{Ll}))")
_SMALL_FIRST = regex.compile(r"\s*\p{Ll}")
_SENTENCE_END = regex.compile(r"[,;]\s*$|(?<!\d)[\p{Sentence_Terminal}--[?？]]\s*$", flags=regex.V1)


class _Line(NamedTuple):
    page: int
    start: int
    text: str
    style: Style  # its size in steps

    @property
    def size(self) -> float:
        return self.style.size

    @property
    def is_row(self) -> bool:
        return CELLS in self.text

    @property
    def may_be_heading(self) -> bool:
        """True for the form of a heading: no sentence, row, figure, page number or entry of a table of contents."""
        letters = len(_LETTER.findall(self.text))
        if letters < 2 or len(self.text) > MOST_LETTERS or letters < len("".join(self.text.split())) / 2:
            return False
        if _LEADERS.search(self.text) or _FIGURE.search(self.text) or self.is_row or "@" in self.text:
            return False
        return not (_SENTENCE_END.search(self.text) and len(self.text) > SENTENCE_LETTERS)


class _Block(NamedTuple):
    """The first and the last line of a heading; `rank` is its size of type, and below that of all larger ones for
    headings in the text's own."""

    first: _Line
    last: _Line
    rank: float

    def overlaps(self, other: "_Block") -> bool:
        """True if they have a line in common."""
        same_page = self.first.page == other.first.page
        return same_page and self.first.start <= other.last.start and other.first.start <= self.last.start


class OutlineEntry(NamedTuple):
    """A bookmark: the page that it leads to, its depth from 1, its title."""

    page: int
    level: int
    title: str


def headings_of(pages: Sequence[Page], outline: Sequence[OutlineEntry] = ()) -> tuple[Heading, ...]:
    """The headings of a document, none where all type is of one size, none is bold, and no outline or tag names any."""
    lines = [list(_lines_of(page)) for page in pages]
    text_size = _text_size(lines)
    larger = [block for of_page in lines for block in _headings_of(of_page, LARGER * text_size)] if text_size else []
    larger = _without_running(larger, len(pages))
    levels = _levels_of_outline({of_page[0].page: of_page for of_page in lines if of_page}, outline)
    larger = [block for block in larger if not any(block.overlaps(named) for named in levels)]
    if levels:
        levels = _with_sizes(levels, larger)
    else:
        small = list(_tagged(lines)) or list(_bold(lines, text_size))
        small = [block for block in small if not any(block.overlaps(other) for other in larger)]
        levels = _by_rank([*larger, *_without_running(small, len(pages))])
    return tuple(
        Heading(block.first.page, block.first.start, block.last.start + len(block.last.text), levels[block])
        for block in sorted(levels)
    )


def _lines_of(page: Page) -> Iterator[_Line]:
    start = 0
    for text, style in zip(page.text.split("\n"), page.styles, strict=False):
        if text.strip():
            yield _Line(page.number, start, text, style._replace(size=round(style.size / STEP) * STEP))
        start += len(text) + 1


def _text_size(lines: Sequence[Sequence[_Line]]) -> float:
    letters: Counter[float] = Counter()
    for of_page in lines:
        for line in of_page:
            letters[line.size] += len(line.text) if line.size else 0
    least = TEXT_SHARE * letters.total()
    most = max(letters, key=lambda size: letters[size], default=0.0)
    return max((size for size, n in letters.items() if n >= least), default=most)


def _headings_of(lines: Sequence[_Line], least_size: float) -> Iterator[_Block]:
    """The headings of a page: a few neighbouring lines of one size each."""
    for size, group in groupby(lines, lambda line: line.size):
        block = list(group)
        if size >= least_size and len(block) <= MOST_LINES and all(line.may_be_heading for line in block):
            yield _Block(block[0], block[-1], size)


def _tagged(lines: Sequence[Sequence[_Line]]) -> Iterator[_Block]:
    """The headings that tags name."""
    for of_page in lines:
        for tag, group in groupby(of_page, lambda line: line.style.tag):
            block = list(group)
            if tag and len(block) <= MOST_LINES and len(_LETTER.findall(block[0].text)) > 1:
                yield _Block(block[0], block[-1], -tag)


def _bold(lines: Sequence[Sequence[_Line]], text_size: float) -> Iterator[_Block]:
    """The headings in bold type, not smaller than the text."""
    n_letters = sum(len(line.text) for of_page in lines for line in of_page)
    n_bold = sum(len(line.text) for of_page in lines for line in of_page if line.style.is_bold)
    if n_bold > BOLD_SHARE * n_letters:
        return
    for of_page in lines:
        before: _Line | None = None
        groups = [list(group) for _, group in groupby(of_page, lambda line: (line.style.is_bold, line.size))]
        for i, block in enumerate(groups):
            after = groups[i + 1][0] if i + 1 < len(groups) else None
            is_set = block[0].style.is_bold and block[0].size >= text_size and len(block) <= MOST_LINES
            if is_set and all(line.may_be_heading for line in block) and _stands_alone(before, block[0], after):
                yield _Block(block[0], block[-1], -MOST_LEVELS - 1)
            before = block[-1]


def _stands_alone(before: _Line | None, line: _Line, after: _Line | None) -> bool:
    """False for a part of a sentence, and for what stands above the rows of a table or between them."""
    if _SMALL_FIRST.match(line.text) or (before and before.style.ends_bold and not before.style.is_bold):
        return False
    if after is None:
        return True
    is_full = after.size == line.size and len(line.text) > FULL_LINE * len(after.text)
    return not (after.is_row or (is_full and _SMALL_FIRST.match(after.text)))


def _without_running(blocks: Sequence[_Block], n_pages: int) -> list[_Block]:
    """The headings without lines that stand on most pages."""
    counts = Counter(text for text, _ in {(shape(block.first.text), block.first.page) for block in blocks})
    least = max(LEAST_PAGES, LEAST_SHARE * n_pages)
    return [block for block in blocks if counts[shape(block.first.text)] < least]


def _by_rank(blocks: Sequence[_Block]) -> dict[_Block, int]:
    """1 for the highest rank."""
    places = {rank: place for place, rank in enumerate(sorted({block.rank for block in blocks}, reverse=True), 1)}
    return {block: min(places[block.rank], MOST_LEVELS) for block in blocks}


def _with_sizes(outlined: Mapping[_Block, int], larger: Sequence[_Block]) -> dict[_Block, int]:
    """The levels of the outline, with headings that it does not name: above it what is larger than all that it names,
    at its level what is of one size, below it the rest."""
    of_size: dict[float, int] = {}
    for block, level in outlined.items():
        of_size[block.first.size] = min(level, of_size.get(block.first.size, level))
    largest, below = max(of_size), max(outlined.values()) + 1
    above = int(any(block.first.size > largest for block in larger))
    levels = {block: level + above for block, level in outlined.items()}
    for block in larger:
        size = block.first.size
        levels[block] = 1 if size > largest else of_size.get(size, below) + above
    return {block: min(level, MOST_LEVELS) for block, level in levels.items()}


def _levels_of_outline(pages: Mapping[int, Sequence[_Line]], outline: Sequence[OutlineEntry]) -> dict[_Block, int]:
    """The level of each heading that an outline names. A title that its page does not show is left out."""
    levels: dict[_Block, int] = {}
    for entry in outline:
        blocks = [block for block in _named(entry.title, pages.get(entry.page, ())) if block not in levels]
        if blocks:  # the largest, as a page's header may have the same words
            levels[max(blocks, key=lambda block: block.first.size)] = entry.level
    return levels


def _named(title: str, lines: Sequence[_Line]) -> Iterator[_Block]:
    """The places where neighbouring lines are a title, whatever its spaces, marks and numbering."""
    wanted = _key(title)
    if len(_LETTER.findall(wanted)) < 2 or len(title) > MOST_LETTERS:
        return
    for start in range(len(lines)):
        shown = ""
        for line in lines[start : start + MOST_LINES]:
            shown += _key(line.text)
            if _is_same(shown, wanted):
                yield _Block(lines[start], line, lines[start].size)
                break


def _is_same(shown: str, wanted: str) -> bool:
    """True where the two differ by a number before one of them at most."""
    shorter, longer = sorted((shown, wanted), key=len)
    return bool(shorter) and longer.endswith(shorter) and not longer.removesuffix(shorter).strip("0123456789")


def _key(text: str) -> str:
    """The letters and digits of a text, alike for capitals, ligatures and full-width forms."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
