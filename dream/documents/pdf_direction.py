"""Words that are read from right to left: their letters in the order of reading, whatever order they are drawn in.

PDFium turns words round that it takes to be drawn from left to right; some programs draw them as they are read, and
PDFium's words are then reversed. The places of the letters tell.
"""

import ctypes
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

_WORD = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]{2,}")
# Arabic and Hebrew letters in their shapes within words, as the letters of the alphabet.
LETTERS = {
    chr(code): letters
    for code in (*range(0xFB1D, 0xFDF0), *range(0xFE70, 0xFEFD))
    if (letters := unicodedata.normalize("NFKC", chr(code))) != chr(code) and " " not in letters
}
TORN = "words from right to left in pieces, so their order may be wrong"
_FROM_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
LEAST_SHARE = 0.02
SAME_LINE = 3.0  # points
Place = tuple[float, float]  # left and right edge


def in_reading_order(textpage: Any, text: str) -> str:
    """The text of a page, as long as before, with the words turned round that are reversed."""
    return _WORD.sub(lambda word: _in_order(word[0], _places(textpage, word.start(), len(word[0]))), text)


def is_torn(textpage: Any, text: str) -> bool:
    """True if PDFium makes several lines of what stands on one."""
    if not _FROM_RIGHT.search(text):
        return False
    starts, n_torn, before = 0, 0, None
    for line in re.finditer(r"[^\r\n]+", text):
        match = _FROM_RIGHT.search(line[0])
        height = _baseline(textpage, line.start() + match.start()) if match else None
        starts += match is not None
        n_torn += height is not None and before is not None and abs(height - before) < SAME_LINE
        before = height
    return n_torn > LEAST_SHARE * starts


def _baseline(textpage: Any, index: int) -> float:
    from pypdfium2 import raw

    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(textpage, index, x, y)
    return y.value


def _in_order(word: str, places: Sequence[Place]) -> str:
    """A word from right to left, by the places of its letters.

    Example:
        >>> _in_order("abc", [(0, 5), (5, 9), (9, 12)]), _in_order("abc", [(9, 12), (5, 9), (0, 5)])
        ('cba', 'abc')
    """
    steps = [after[0] + after[1] - before[0] - before[1] for before, after in pairwise(places)]
    if sum(step > 0 for step in steps) <= sum(step < 0 for step in steps):
        return word
    pieces: list[str] = []
    for letter, place, before in zip(word, places, [None, *places], strict=False):
        if pieces and (place == before or unicodedata.combining(letter)):  # one glyph of two letters, or a mark
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return "".join(reversed(pieces))


def _places(textpage: Any, start: int, n: int) -> list[Place]:
    from pypdfium2 import raw

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    places = []
    for index in range(start, start + n):
        raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
        places.append((round(left.value, 2), round(right.value, 2)))
    return places
