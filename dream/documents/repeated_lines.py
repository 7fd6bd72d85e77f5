"""Headers and footers: lines at the same place on most pages that differ only in the page number, and page numbers of
all forms."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from dream.documents.file_types import Heading, Reading
from dream.documents.page_numbers import numbered_pages, without_number

# Lines from the top and from the bottom of a page that may be a header or footer.
DEPTH = 4
LEAST_PAGES = 3
LEAST_SHARE = 0.4
MAX_LETTERS = 160
SHOWN_LINES, SHOWN_LETTERS = 2, 40
# The minimum number of lines that remain on a page, so that pages with one short text stay complete.
LINES_KEPT = 2
_NUMBER = re.compile(r"\d+")

Place = tuple[str, int, str]  # top or bottom, lines from there, the line without numbers


def without_repeated_lines(reading: Reading) -> Reading:
    """The reading without its headers and footers, which are listed in `left_out`."""
    if len(reading.pages) < LEAST_PAGES:
        return reading
    pages = {number: text.rstrip("\n").split("\n") for number, text in reading.pages}
    dropped = dict.fromkeys(pages, 0)
    shown: dict[str, list[str]] = {}
    offsets: set[int] = set()
    for edge in ("top", "bottom"):
        for _ in range(DEPTH):
            repeated = _repeated(pages, edge, offsets)
            if not repeated:
                break
            offsets |= _offsets({number: pages[number][0 if edge == "top" else -1] for number in repeated})
            for number in repeated:
                line = pages[number].pop(0 if edge == "top" else -1)
                dropped[number] += len(line) + 1 if edge == "top" else 0
                shown.setdefault(shape(without_number(line)), []).append(line)
    if not shown:
        return reading
    kept = {number: "\n".join(lines) for number, lines in pages.items()}
    texts = tuple((number, kept[number].strip("\n") + "\n") for number, _ in reading.pages)
    return replace(
        reading,
        pages=texts,
        left_out=(*reading.left_out, _told(shown)),
        headings=tuple(_moved(reading, dropped, kept)),
    )


def _moved(reading: Reading, dropped: Mapping[int, int], kept: Mapping[int, str]) -> Iterator[Heading]:
    """The headings at their places without so many first characters of their pages; without those that are dropped."""
    for heading in reading.headings:
        text = kept[heading.page]
        left = dropped[heading.page] + len(text) - len(text.lstrip("\n"))
        if left <= heading.start and heading.end - left <= len(text.strip("\n")):
            yield heading._replace(start=heading.start - left, end=heading.end - left)


def _repeated(pages: Mapping[int, Sequence[str]], edge: str, offsets: Set[int]) -> list[int]:
    """The pages whose outermost line is a header or footer; `offsets` as in `_only_counts`."""
    outermost = {n: lines[0 if edge == "top" else -1] for n, lines in pages.items() if len(lines) > LINES_KEPT}
    outermost = {n: line for n, line in outermost.items() if line.strip() and len(line) <= MAX_LETTERS}
    groups: dict[str, dict[int, str]] = {}
    for number, line in outermost.items():
        if " | " not in line:
            groups.setdefault(shape(line), {})[number] = line
    least = max(LEAST_PAGES, LEAST_SHARE * len(pages))
    repeated = {
        number for group in groups.values() if len(group) >= least and _only_counts(group, offsets) for number in group
    }
    return sorted(repeated.union(numbered_pages(outermost, len(pages), offsets)))


def _only_counts(lines: Mapping[int, str], offsets: Set[int]) -> bool:
    """True if each number in the lines is always the same, or counts the pages: as far from the page as other numbers
    that count them, if `offsets` has some."""
    rows = [[int(number) for number in _NUMBER.findall(line)] for line in lines.values()]
    for column in zip(*rows, strict=True):
        counted = {value - page for value, page in zip(column, lines, strict=True)}
        if len(set(column)) > 1 and (len(counted) > 1 or (offsets and not counted <= offsets)):
            return False
    return True


def _offsets(lines: Mapping[int, str]) -> set[int]:
    """The distance of the numbers that count the pages from these."""
    counts = Counter(int(number) - page for page, line in lines.items() for number in _NUMBER.findall(line))
    return {offset for offset, count in counts.items() if count >= LEAST_PAGES}


def shape(line: str) -> str:
    """A line without the numbers in it, which are others on each page."""
    return _NUMBER.sub("#", " ".join(line.split()))


def _told(shown: Mapping[str, Sequence[str]]) -> str:
    lines = [f"'{group[0][:SHOWN_LETTERS]}{'…' * (len(group[0]) > SHOWN_LETTERS)}'" for group in shown.values()]
    more = [f"{len(lines) - SHOWN_LINES} more"] if len(lines) > SHOWN_LINES else []
    return f"headers and footers ({', '.join([*lines[:SHOWN_LINES], *more])})"
