"""The style of the lines of a PDF page: size of type, bold type, and the heading that the file's tags make of each."""

import ctypes
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Weights of fonts from which on type looks bold.
BOLD_WEIGHT = 600
_FORCED_BOLD = 1 << 18  # of a font's flags
# Names of bold fonts. Type of TeX: CMBX10, SFBX1000, NimbusRomNo9L-Medi.
_BOLD_NAME = re.compile(rb"bold|black|heavy|demi|medi\b|-?Bd\b|(?:^|\+)(?:CM|SF|EC|LM)\w*BX\d", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]\S*")


class Style(NamedTuple):
    """The style of a line or cell.

    Attributes:
        size: of its type in points, 0 where not known.
        is_bold: all its words are bold.
        ends_bold: its last word is.
        tag: the level of the heading, from 1, that the file's tags make of it, 0 for none.
    """

    size: float = 0.0
    is_bold: bool = False
    ends_bold: bool = False
    tag: int = 0


class Styles:
    """The styles of a page's text; `tags` are levels of headings by the number of their marked content, None where
    sizes are enough."""

    def __init__(self, textpage: Any, tags: Mapping[int, int] | None) -> None:
        self._textpage, self._tags = textpage, tags
        self._name, self._flags = ctypes.create_string_buffer(100), ctypes.c_int()

    def of(self, start: int, text: str) -> Style:
        """The style of a line or cell that begins at this character of the page."""
        letter = _LETTER.search(text, 2 * len(text) // 3) or _LETTER.search(text)
        if letter is None:
            return Style()
        if self._tags is None:
            return Style(self._size(start + letter.start()))
        last = next((i for i in range(len(text) - 1, -1, -1) if text[i].isalpha()), letter.start())
        ends_bold = self._is_bold(start + last)
        is_bold = ends_bold and all(self._is_bold(start + word.start()) for word in _WORD.finditer(text))
        # the size of a letter that is neither an initial, nor an index at the end, nor after a title in the same line
        return Style(self._size(start + letter.start()), is_bold, ends_bold, self._tag(start + last))

    def _size(self, index: int) -> float:
        from pypdfium2 import raw

        matrix = raw.FS_MATRIX()
        raw.FPDFText_GetMatrix(self._textpage, index, matrix)
        return raw.FPDFText_GetFontSize(self._textpage, index) * math.hypot(matrix.c, matrix.d)

    def _is_bold(self, index: int) -> bool:
        """True for a bold font, by its name, flags or weight, and for letters whose edges are drawn too."""
        from pypdfium2 import raw

        raw.FPDFText_GetFontInfo(self._textpage, index, self._name, len(self._name), self._flags)
        if self._flags.value & _FORCED_BOLD or _BOLD_NAME.search(self._name.value):
            return True
        if raw.FPDFText_GetFontWeight(self._textpage, index) >= BOLD_WEIGHT:
            return True
        drawn = raw.FPDFTextObj_GetTextRenderMode(raw.FPDFText_GetTextObject(self._textpage, index))
        return drawn == raw.FPDF_TEXTRENDERMODE_FILL_STROKE

    def _tag(self, index: int) -> int:
        if not self._tags:
            return 0
        from pypdfium2 import raw

        part = raw.FPDFText_GetTextObject(self._textpage, index)
        return self._tags.get(raw.FPDFPageObj_GetMarkedContentID(part), 0) if part else 0
