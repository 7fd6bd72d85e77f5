"""One page of a PDF: its text in reading order with tables as rows, and doubts whether it is the document's text."""

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dream.documents import pdf_direction, pdf_forms
from dream.documents.pdf_layout import in_order
from dream.documents.pdf_lines import lines_of
from dream.documents.pdf_styles import Style
from dream.documents.pdf_tags import heading_tags

MAX_CHARACTERS = 1_000_000
# Of a page whose letters are mapped, a sample shows it; of a font without a map, most letters are in the sample.
SAMPLE = 7
# A page with fewer letters than this, on which a picture covers so much, looks like a scan with a stamp or a footer.
STAMP_LETTERS = 200
PICTURE_SHARE = 0.75
LEAST_DOUBTFUL_SHARE = 0.005

NO_MAP = "letters without a character map, so the text may be wrong"
PRIVATE = "private-use characters, whose meaning only the font knows (often ligatures such as fi)"
CONTROL = "characters that stand for no letter (often ligatures such as fi), shown as U+FFFD"
STAMP = "a picture covers the page and there is little text (a scan with a stamp or a footer?)"
TOO_LONG = f"more than {MAX_CHARACTERS:,} characters, the rest is left out"

_HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line, in place of hyphen and line break
_LIGATURES = ("ff", "fi", "fl", "ffi", "ffl", "st", "st")
_PRIVATE = re.compile("[\ue000-\uf8ff\udb80-\udbff]")  # above U+FFFF by the first half of the pair
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_MARK = re.compile(f"[{_HYPHEN}\uf020-\uf0ff]")
# Private-use characters that mean the same everywhere: Adobe's glyph list (old-style figures, small capitals and some
# signs), and the ligatures of Apple's fonts.
_KNOWN_PRIVATE = {
    **{chr(0xF730 + digit): str(digit) for digit in range(10)},
    **{chr(0xF761 + i): chr(ord("a") + i) for i in range(26)},
    **dict(zip("\uf001\uf002\uf6dc\uf721\uf724\uf726\uf73f", ("fi", "fl", *"1!$&?"), strict=True)),
    **dict(zip("\uf6d9\uf8e9\uf6da\uf8e8\uf6db\uf8ea", "©©®®™™", strict=True)),
}
_LETTERS = str.maketrans(
    {
        _HYPHEN: "-\n",
        **{chr(0xFB00 + i): letters for i, letters in enumerate(_LIGATURES)},
        **_KNOWN_PRIVATE,
        **pdf_direction.LETTERS,
    }
)
# What Adobe's Symbol font shows for a code, where that is no ASCII letter.
SYMBOLS = {
    **{code: chr(code) for code in (*range(0x20, 0x22), *range(0x28, 0x2A), *range(0x2B, 0x2D), *range(0x2E, 0x40))},
    **dict(enumerate("ΑΒΧ∆ΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", 0x41)),
    **dict(enumerate("αβχδεφγηιϕκλμνοπθρστυϖωξψζ", 0x61)),
    **dict(zip(b"\x2d\xa3\xa5\xab\xac\xae\xb0\xb1\xb3\xb4\xb5\xb6\xb7\xb9\xba\xbb", "−≤∞↔←→°±≥×∝∂•≠≡≈", strict=True)),
    **dict(zip(b"\xc5\xc7\xc8\xce\xd1\xd5\xd6\xd7\xe5\xf2", "⊕∩∪∈∇∏√⋅∑∫", strict=True)),
}


@dataclass(frozen=True)
class Page:
    """The text of one page, and reasons why it may not be the document's. `styles` are those of its first
    lines; what is added after these has none."""

    number: int
    text: str
    doubts: tuple[str, ...] = ()
    styles: tuple[Style, ...] = ()


def read_page(
    document: Any, number: int, form: Any = None, *, has_outline: bool = False, is_tagged: bool = False
) -> Page:
    """The page with this 1-based number; the lock of `dream.documents.pdf` must be held."""
    page = document[number - 1]
    try:
        textpage = page.get_textpage()
        try:
            text, styles, doubts = _text(textpage, None if has_outline else heading_tags(page) if is_tagged else {})
        finally:
            textpage.close()
        additions = list(pdf_forms.texts_of(page, form, text))
        if not doubts and len(text) < STAMP_LETTERS and text.strip() and _covered_by_picture(page):
            doubts = [STAMP]
    finally:
        page.close()
    text = "".join(f"{line}\n" for line in [text.rstrip("\n"), *additions] if line)
    return Page(number, text, tuple(doubts), tuple(styles))


def _text(textpage: Any, tags: Mapping[int, int] | None) -> tuple[str, list[Style], list[str]]:
    from pypdfium2 import raw

    n_all = raw.FPDFText_CountChars(textpage)
    n = min(n_all, MAX_CHARACTERS)
    doubts = [TOO_LONG] if n < n_all else []
    text = _units(textpage.get_text_range(0, n, errors="replace")) if n > 0 else ""
    if len(text) != n or _CONTROL.search(text):
        text = _by_character(textpage, n)
    text = pdf_direction.in_reading_order(textpage, _with_certain_letters(textpage, text))
    if _lacks_map(textpage, n):
        doubts.append(NO_MAP)
    elif "\ufffd" in text:
        doubts.append(CONTROL)
    if pdf_direction.is_torn(textpage, text):
        doubts.append(pdf_direction.TORN)
    if any(letter not in _KNOWN_PRIVATE for letter in _PRIVATE.findall(text)):
        doubts.append(PRIVATE)
    lines = in_order(lines_of(textpage, text, tags))
    arranged = "".join(f"{line}\n" for line, _ in lines).encode("utf-16-le", "surrogatepass")
    styles = [style for line, style in lines for _ in range(1 + line.count(_HYPHEN))]
    if _has_invisible_letters(textpage, text):
        styles = []  # an OCR program's, as large as its boxes
    return arranged.decode("utf-16-le", "replace").translate(_LETTERS), styles, doubts


def _units(text: str) -> str:
    """The text with letters beyond U+FFFF as surrogate pairs, as PDFium counts them."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le") if len(units) == 2 * len(text) else "".join(map(chr, memoryview(units).cast("H")))


def _by_character(textpage: Any, n: int) -> str:
    """The text letter by letter; what stands for no letter is U+FFFD."""
    from pypdfium2 import raw

    letters = []
    for i in range(n):
        code = raw.FPDFText_GetUnicode(textpage, i)
        if raw.FPDFText_IsHyphen(textpage, i) == 1:
            letters.append(_HYPHEN)
        elif not code or code > 0x10FFFF or code in (0xFFFE, 0xFFFF) or _CONTROL.match(chr(code)):
            letters.append("\ufffd")
        else:
            letters.append(chr(code))
    return "".join(letters)


def _with_certain_letters(textpage: Any, text: str) -> str:
    """Bullets and Greek letters of symbol fonts as what they are; marks that are no hyphens as U+FFFD."""
    from pypdfium2 import raw

    def replacement(match: re.Match[str]) -> str:
        index, letter = match.start(), match[0]
        if letter == _HYPHEN:
            return letter if raw.FPDFText_IsHyphen(textpage, index) == 1 else "\ufffd"
        if b"symbol" in _font_name(textpage, index).lower():
            return SYMBOLS.get(ord(letter) - 0xF000, letter)
        starts_line = index == 0 or text[index - 1] == "\n"
        return "•" if starts_line and text[index + 1 : index + 2] in (" ", "\t", "\r") else letter

    return _MARK.sub(replacement, text)


def _font_name(textpage: Any, index: int) -> bytes:
    from pypdfium2 import raw

    name = ctypes.create_string_buffer(200)
    raw.FPDFText_GetFontInfo(textpage, index, name, len(name), ctypes.c_int())
    return name.value


def _lacks_map(textpage: Any, n: int) -> bool:
    """True if PDFium had to guess letters from glyph numbers."""
    from pypdfium2 import raw

    sample = range(0, n, SAMPLE if n > 50 * SAMPLE else 1)
    errors = sum(raw.FPDFText_HasUnicodeMapError(textpage, i) == 1 for i in sample)
    return errors > LEAST_DOUBTFUL_SHARE * len(sample)


def _has_invisible_letters(textpage: Any, text: str) -> bool:
    """True if one of three letters of the page is not drawn."""
    from pypdfium2 import raw

    letters = (re.compile(r"\S").search(text, start) for start in (0, len(text) // 3, 2 * len(text) // 3))
    drawn_as = (
        raw.FPDFTextObj_GetTextRenderMode(raw.FPDFText_GetTextObject(textpage, letter.start()))
        for letter in letters
        if letter
    )
    return raw.FPDF_TEXTRENDERMODE_INVISIBLE in drawn_as


def _covered_by_picture(page: Any) -> bool:
    from pypdfium2 import raw

    left, bottom, right, top = page.get_cropbox()
    covered = 0.0  # a scan may come in strips
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        x0, y0, x1, y1 = item.get_bounds()
        covered += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return covered > PICTURE_SHARE * (right - left) * (top - bottom)
