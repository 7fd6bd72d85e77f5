"""Page numbers at the top or bottom of pages, in the forms that people print: `iii`, `- 3 -`, `3 | Annual report`."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

# So many pages in a row must count on: by chance, the last lines of three tables do not.
LEAST_RUN = 3
# A page that begins a chapter often has no number.
MOST_GAP = 2
LEAST_SHARE = 0.4
_YEARS = range(1900, 2100)
_ROMAN = r"(?=[ivxlc])c?(?:x[cl]|l?x{0,4})(?:ix|iv|v?i{0,4})"
_NUMBER = rf"(?P<number>\d{{1,4}}|{_ROMAN}|{_ROMAN.upper()})"
_WORD = (
    r"(?:page|p\.|pg\.|pag\.|seite|s\.|página|pagina|pág\.|strona|str\.|strana|oldal|sida|side|страница|стр\.|σελίδα"
    r"|sayfa)"
)
_OF = r"(?:of|/|von|de|di|sur|z|ze|из|af|av|van)"
_MARKS = r"[\s\-–—−|·•~]*"
_ALONE = re.compile(
    rf"{_MARKS}(?:{_WORD}\s*|第\s*)?{_NUMBER}(?:\s*{_OF}\s*\d+)?\s*(?:页|頁|ページ|쪽|페이지)?{_MARKS}", re.IGNORECASE
)
_AT_START = re.compile(rf"(?:{_WORD}\s*)?{_NUMBER}(?=[\s|·•–—]){_MARKS}(?P<rest>.*)", re.IGNORECASE)
_AT_END = re.compile(rf"(?P<rest>.*?){_MARKS}(?<=[\s|·•–—])(?:{_WORD}\s*)?{_NUMBER}", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


class _Numbered(NamedTuple):
    """A line with a number: its page, how far the number is from it, and the words beside it."""

    page: int
    series: tuple[str, int]
    rest: str
    value: int


def numbered_pages(lines: Mapping[int, str], n_pages: int, offsets: Set[int] = frozenset()) -> list[int]:
    """The pages of which a line is the page number, alone or beside words that stand there on other pages too.

    Args:
        lines: the outermost line of pages, by the place of the page in the document.
        offsets: how far numbers are from the page that were found elsewhere on the pages; if there are some, others
            count something else.

    Example:
        >>> numbered_pages({2: "ii", 3: "iii", 4: "- iv -", 5: "12"}, 6)
        [2, 3, 4]
    """
    series: dict[tuple[str, int], list[_Numbered]] = {}
    for page, line in lines.items():
        for numbered in _numbers(page, " ".join(line.split())):
            if numbered.series[0] != "arabic" or not offsets or numbered.series[1] in offsets:
                series.setdefault(numbered.series, []).append(numbered)
    return sorted({page for members in series.values() for page in _pages_of(members, n_pages)})


def without_number(line: str) -> str:
    """A line in which a page number that stands alone, in whatever form, is `#`."""
    return "#" if _ALONE.fullmatch(" ".join(line.split())) else line


def _numbers(page: int, line: str) -> Iterator[_Numbered]:
    for pattern in (_ALONE, _AT_START, _AT_END):
        if match := pattern.fullmatch(line):
            number = match["number"]
            kind = "arabic" if number.isdecimal() else "roman" if number.islower() else "ROMAN"
            rest = "" if pattern is _ALONE else _DIGITS.sub("#", match["rest"].strip().casefold())
            if kind != "arabic" and rest:  # "I am", "x is": no numbers
                continue
            value = int(number) if kind == "arabic" else _roman(number)
            yield _Numbered(page, (kind, value - page), rest, value)
            if pattern is _ALONE:
                return


def _roman(number: str) -> int:
    values = [_VALUES[letter] for letter in number.lower()]
    return sum(-v if any(v < after for after in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def _pages_of(members: list[_Numbered], n_pages: int) -> Iterator[int]:
    """The pages of a series of numbers that count on with the pages."""
    pages = {member.page for member in members}
    is_common = len(pages) >= max(LEAST_RUN, LEAST_SHARE * n_pages)
    alone = [m for m in members if not m.rest and (is_common or m.value not in _YEARS)]
    for run in _runs(alone):
        if is_common or len(run) >= LEAST_RUN or (len(run) == 2 and members[0].series[0] == "roman"):
            yield from (member.page for member in run)
    if is_common:
        words: dict[str, list[int]] = {}
        for member in members:
            if member.rest:
                words.setdefault(member.rest, []).append(member.page)
        yield from (page for group in words.values() if len(group) >= LEAST_RUN for page in group)


def _runs(members: list[_Numbered]) -> Iterator[list[_Numbered]]:
    run: list[_Numbered] = []
    for member in sorted(members):
        if run and member.page - run[-1].page > MOST_GAP:
            yield run
            run = []
        run.append(member)
    if run:
        yield run
