"""Encodings that show themselves in other ways than by what is valid in them: HZ, UTF-7, UTF-32 without a mark, EBCDIC,
Vietnamese, and short texts of DOS."""

import base64
import re
import unicodedata
from collections.abc import Collection

_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
_UTF_7 = re.compile(rb"\+([A-Za-z0-9+/]+)-?")
EBCDIC, _EBCDIC_SPACE = "cp037", b"\x40"
# In texts of all languages at least so many characters are spaces, and so many letters, digits and spaces.
LEAST_SPACES, LEAST_LETTERS = 0.05, 0.85
# A text that tells by its letters has so many.
LEAST_SEGMENTS = 2
# The marks of tones that follow their vowels in Windows-1258, and the letters that only Vietnamese has.
_TONES = "\u0300\u0301\u0303\u0309\u0323"
_TONED = re.compile(f"[aeiouyăâêôơưAEIOUYĂÂÊÔƠƯ][{_TONES}]")
# What is a letter in encodings of DOS stands within words, or behind them, as a sign.
_SIGN_IN_WORD = re.compile(
    r"(?<=[^\W\d_])(?:[\ufffd\x80-\x9f¡¢£¤„‚ˆ‡‰…†“”•™](?=[^\W\d_])|[\ufffd‚„ˆ‡])|\ufffd(?=[^\W\d_])"
)
_SIGNS = "¿¡«»°§½¼²³·ºª"
_VIETNAMESE = re.compile("[đơưăâêô]", re.IGNORECASE)


def seven_bit_encoding(content: bytes) -> str | None:
    """The encoding of ASCII bytes that stand for other letters: "hz" or "utf-7"; None if they are plain ASCII."""
    if _HZ.search(content) and _is_decoded(content, "hz"):
        return "hz"
    segments = _UTF_7.findall(content) if b"+" in content else []
    if len(segments) >= LEAST_SEGMENTS and all(map(_is_utf_7, segments)) and _is_decoded(content, "utf-7"):
        return "utf-7"
    return None


def _is_decoded(content: bytes, encoding: str) -> bool:
    try:
        return not content.decode(encoding).isascii()
    except UnicodeDecodeError:
        return False


def _is_utf_7(segment: bytes) -> bool:
    """True if letters in Base64 are words or signs, all of one alphabet, as hardly any other text with a plus is."""
    try:
        units = base64.b64decode(segment + b"=" * (-len(segment) % 4))
        text = units.decode("utf-16-be")
    except ValueError:
        return False
    kinds = {unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha()}
    is_exact = base64.b64encode(units).rstrip(b"=") == segment
    return is_exact and len(kinds) <= 1 and not text.isascii() and all(map(str.isprintable, text))


def utf_32_without_mark(sample: bytes) -> str | None:
    """UTF-32 by its zeros: every fourth byte is one."""
    whole = sample[: len(sample) // 4 * 4]
    for encoding, offset in (("utf-32-le", 3), ("utf-32-be", 0)):
        if len(whole) < 8 or any(whole[offset::4]):
            continue
        try:
            text = whole.decode(encoding)
        except UnicodeDecodeError:
            continue
        is_usual = sum(letter > "\uffff" for letter in text) <= len(text) / 2
        if is_usual and all(letter.isprintable() or letter in "\r\n\t\f" for letter in text):
            return encoding
    return None


def is_ebcdic(sample: bytes) -> bool:
    """True for text of a mainframe: its space is `@`, and hardly a byte is a space of ASCII."""
    spaces = sample.count(_EBCDIC_SPACE)
    if spaces < LEAST_SPACES * len(sample) or sample.count(b" ") > spaces / 20:
        return False
    text = sample.decode(EBCDIC)
    return sum(letter.isascii() and (letter.isalnum() or letter == " ") for letter in text) > LEAST_LETTERS * len(text)


def is_vietnamese(sample: bytes) -> bool:
    """True if bytes are Vietnamese in Windows-1258: its marks of tones stand behind vowels."""
    text = sample.decode("cp1258", "replace")
    tones = sum(map(text.count, _TONES))
    return tones > 0 and bool(_VIETNAMESE.search(text)) and len(_TONED.findall(text)) > 0.95 * tones


def dos_encoding(sample: bytes, languages: Collection[str]) -> str | None:
    """IBM850 or IBM852 if a text has no letters in it but those of one language, each given by those beyond ASCII."""
    return next((e for e in ("cp850", "cp852") if is_of_one_language(sample.decode(e), languages)), None)


def is_of_one_language(text: str, languages: Collection[str]) -> bool:
    """True if all letters beyond ASCII are of one language."""
    letters = {letter for letter in text.lower() if not letter.isascii()}.difference(_SIGNS)
    return any(letters <= set(language) for language in languages)


def has_signs_in_words(sample: bytes) -> bool:
    """True if words in Windows-1252 have signs in them, where encodings of DOS have letters."""
    return bool(_SIGN_IN_WORD.search(sample.decode("cp1252", "replace")))
