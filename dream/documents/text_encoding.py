"""Decodes text as browsers do: by byte-order mark, as UTF-8, by the declared label, else by a guess, which is
reported."""

import codecs
import re
import unicodedata
from dataclasses import dataclass, replace

from dream.documents.rare_encodings import (
    EBCDIC,
    dos_encoding,
    has_signs_in_words,
    is_ebcdic,
    is_of_one_language,
    is_vietnamese,
    seven_bit_encoding,
    utf_32_without_mark,
)

SAMPLE_BYTES = 200_000
# UTF-8 with errors stays UTF-8 as long as it has so many proper letters beyond ASCII for each bad byte: in other
# encodings these are rare.
LETTERS_PER_ERROR = 1
# Fewer bytes beyond ASCII than this say nothing; what nearly all such files are in is taken.
FEW_BYTES = 3
MOST_UPPER_BYTES = 8
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The encodings that are guessed from, by the name that people know.
_NAMES = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
    "cp866": "IBM866",
    "gb18030": "GB18030 (GBK)",
    "big5": "Big5",
    "big5hkscs": "Big5-HKSCS",
    "cp932": "Shift-JIS",
    "euc_jp": "EUC-JP",
    "iso2022_jp": "ISO-2022-JP",
    "cp949": "EUC-KR",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1257": "Windows-1257",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "iso8859_2": "ISO-8859-2",
    "iso8859_5": "ISO-8859-5",
    "iso8859_7": "ISO-8859-7",
    "cp850": "IBM850",
    "cp852": "IBM852",
    "mac_roman": "Mac Roman",
    "mac_cyrillic": "Mac Cyrillic",
    "koi8_u": "KOI8-U",
    "iso8859_6": "ISO-8859-6",
    "tis_620": "TIS-620",
    "iso2022_kr": "ISO-2022-KR",
}
# Those that are known by their own marks (`rare_encodings`).
_RARE_NAMES = {"cp1258": "Windows-1258", "hz": "HZ (GB2312)", "utf-7": "UTF-7", EBCDIC: "EBCDIC (IBM037)"}
_SEVEN_BIT_LABELS = {"hz-gb-2312": "hz", "hz": "hz", "utf-7": "utf-7", "unicode-1-1-utf-7": "utf-7"}
_ESCAPES = b"\x1b$"  # of the encodings in seven bits, ISO-2022-JP and its kin, which are valid UTF-8
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "cp850", "cp852", "mac_roman")
_EASTERN = ("cp1250", "iso8859_2")
_LATIN_LETTERS = re.compile(rb"[\xc0-\xff]")
# a sign within a word, or a letter that hardly any language has, also where another encoding has a sign
_ODDITY = re.compile(
    r"[^\W\d_][^\w\s'’‘–—\u00ad.,:;/()-](?=[^\W\d_])|(?<!\w)[£¥¼¾¹³ª](?=[^\W\d_])|[ŔŕĹĺ]|[Łł](?![^\W_])|[\x80-\x9f]|(?<!\w)[¶¦](?=[^\W\d_])"
)
# The letters beyond ASCII of languages, by the encoding that most files in them are in.
_LANGUAGES = {
    "cp1252": (
        "àâæçéèêëîïôœùûüÿ",  # French
        "äöüßé",
        "áéíñóúüç",
        "àáâãçéêíóôõúü",
        "àèéìíîòóù",
        "áäéèëïíöóüú",  # Dutch
        "åäöæøéü",
        "áðéíóúýþæö",  # Icelandic
    ),
    "cp1250": ("áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
    "cp1254": ("çğışöüâîû",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
}
_PAIR_BEYOND_ASCII = re.compile(rb"[\x80-\xff]{2}")
_EAST_ASIAN = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef—“”‘’…·]")
_REMEDY = "if it looks wrong, convert it to UTF-8"


@dataclass(frozen=True)
class Decoded:
    """A decoded text. `problem` says what was assumed or lost; `is_certain` is False if letters may be wrong."""

    text: str
    problem: str = ""
    is_certain: bool = True

    @property
    def remedy(self) -> str:
        return _REMEDY if self.problem else ""


def decode(content: bytes, declared: str | None = None) -> Decoded:
    """The text of bytes; `declared` is the label that an HTML page or a header gives.

    Example:
        >>> decode(b"It\\x92s", "iso-8859-1").text
        'It’s'
    """
    decoded = _decoded(content, declared)
    text = decoded.text.replace("\ufeff", "")  # a mark where files were joined
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    return decoded if text == decoded.text else replace(decoded, text=text)


def _decoded(content: bytes, declared: str | None) -> Decoded:
    if encoding := unicode_encoding(content):
        return _with_replacements(content, encoding)
    label = _encoding_of(declared)
    if label != "utf-8" and content.isascii():
        if _ESCAPES in content:
            return _with_replacements(content, label) if label else _guessed(content)
        if seven := _SEVEN_BIT_LABELS.get((declared or "").strip().lower()):
            return _with_replacements(content, seven)
        if seven := seven_bit_encoding(content):
            return _read_as(content, seven)
    try:
        return Decoded(content.decode("utf-8"))
    except UnicodeDecodeError:
        if label and label != "utf-8":
            return _with_replacements(content, label)
        if is_ebcdic(content[:SAMPLE_BYTES]):
            return _read_as(content, EBCDIC)
        return _with_pairs(content) or _broken_utf_8(content) or _guessed(content)


def unicode_encoding(content: bytes) -> str | None:
    """The encoding that a byte-order mark at the start declares, or that zero bytes show; else None."""
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    return marked or utf_32_without_mark(content[:SAMPLE_BYTES]) or _utf_16_without_mark(content)


def _encoding_of(declared: str | None) -> str | None:
    """Python's name of the encoding that browsers take a label for; None for an unknown label."""
    import webencodings

    encoding = webencodings.lookup(declared.strip().strip("\"'")) if declared else None
    if encoding is None or encoding.name in ("replacement", "x-user-defined"):
        return None
    name = encoding.codec_info.name
    return {
        "utf-16-le": "utf-8",
        "utf-16-be": "utf-8",
        "gbk": "gb18030",
        "shift_jis": "cp932",
        "euc_kr": "cp949",
        "big5": "big5hkscs",
    }.get(name, name)


def _utf_16_without_mark(content: bytes) -> str | None:
    """UTF-16 as Windows programs write it: every second byte of spaces, digits and Latin letters is zero."""
    sample = content[:SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    least = len(sample) / 40
    if len(content) % 2 or not max(even, odd):
        return None
    if max(even, odd) < least or min(even, odd) > max(even, odd) / 50:
        return next((encoding for encoding in ("utf-16-le", "utf-16-be") if _is_east_asian(sample, encoding)), None)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    if sample.isascii():  # else ASCII with a few zeros: the upper bytes of an alphabet have few values
        upper = sample[odd > even :: 2]
        if len(set(upper)) > min(MOST_UPPER_BYTES, len(upper) / 2):
            return None
    text = sample[: len(sample) // 2 * 2].decode(encoding, "replace")
    strange = sum(not (letter.isprintable() or letter in "\r\n\t\f") for letter in text)
    return encoding if strange <= len(text) / 100 else None


def _is_east_asian(sample: bytes, encoding: str) -> bool:
    """True if nearly all is Chinese, Japanese or Korean in this encoding, and more than half in frequent letters."""
    try:
        text = sample[: len(sample) // 2 * 2].decode(encoding)
    except UnicodeDecodeError:
        return False
    letters = 0 if sample.isascii() else len(_EAST_ASIAN.findall(text))
    return letters > len(text) / 2 and letters + sum(map(str.isascii, text)) > 0.95 * len(text)


def _with_replacements(content: bytes, encoding: str) -> Decoded:
    """The text in this encoding; what is no letter in it becomes U+FFFD."""
    try:
        return Decoded(_text(content, encoding))
    except UnicodeDecodeError:
        text = _text(content, encoding, "replace")
        return Decoded(text, f"{_lost(text)} in its encoding {_name(encoding)}", False)


def _text(content: bytes, encoding: str, errors: str = "strict") -> str:
    """The text of bytes; Vietnamese has its tones on the vowels, lines of mainframes end as others do."""
    text = content.decode(encoding, errors)
    if encoding == EBCDIC:
        return text.replace("\x85", "\n")
    return unicodedata.normalize("NFC", text) if encoding == "cp1258" else text


def _name(encoding: str) -> str:
    return _NAMES.get(encoding) or _RARE_NAMES.get(encoding, encoding)


def _lost(text: str) -> str:
    return f"{text.count(chr(0xFFFD))} broken character(s) became U+FFFD"


def _with_pairs(content: bytes) -> Decoded | None:
    """UTF-8 as some databases write it (CESU-8), with letters beyond U+FFFF as pairs of surrogates."""
    try:
        text = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Decoded(whole, _lost(whole), False) if "\ufffd" in whole else Decoded(whole)


def _broken_utf_8(content: bytes) -> Decoded | None:
    """UTF-8 with a few errors; None if it is another encoding."""
    text = content.decode("utf-8", "replace")
    errors = text.count("\ufffd") - content.count("\ufffd".encode())
    letters = sum(1 for _ in re.finditer("[^\x00-\x7f\ufffd]", text))
    if letters < LETTERS_PER_ERROR * errors:
        return None
    return Decoded(text, f"{errors} broken character(s) became U+FFFD in its encoding UTF-8", False)


def _guessed(content: bytes) -> Decoded:
    return _read_as(content, _guess(content))


def _read_as(content: bytes, encoding: str) -> Decoded:
    """The text in an encoding that nothing declares."""
    try:
        text, lost = _text(content, encoding), ""
    except UnicodeDecodeError:
        text = _text(content, encoding, "replace")
        lost = f"; {_lost(text)}"
    return Decoded(text, f"it is not UTF-8; its encoding was guessed, and read as {_name(encoding)}{lost}", False)


def _guess(content: bytes) -> str:
    sample = _sample(content)
    if not sample.isascii() and is_vietnamese(sample):
        return "cp1258"
    guess = _likely(sample)
    eastern = _LANGUAGES["cp1250"]
    is_strange = guess == "cp1252" and has_signs_in_words(sample)
    if is_strange or (guess in _EASTERN and not is_of_one_language(sample.decode(guess, "replace"), eastern)):
        return dos_encoding(sample, (*_LANGUAGES["cp1252"], *eastern)) or guess
    return guess


def _likely(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    if not sample.isascii() and len(_BEYOND_ASCII.findall(sample)) < FEW_BYTES:
        return "cp1252"
    best = from_bytes(sample, cp_isolation=list(_NAMES)).best()
    guess = best.encoding if best is not None and best.encoding in _NAMES else "cp1252"
    if guess not in _LATIN and not sample.isascii() and not _PAIR_BEYOND_ASCII.search(sample):
        guess = "cp1252"  # signs among letters of ASCII
    return _of_latin(sample, guess) if guess in _LATIN else guess


def _of_latin(sample: bytes, guess: str) -> str:
    """The encoding of a text in Latin letters, for which the guess is often a neighbour of the right one: the one with
    the fewest signs within words and letters of no language, the guess if several have as few. Of few letters nothing
    can be told; most such files are in Windows-1252."""
    fits = {encoding: _fit(sample, encoding) for encoding in _LANGUAGES}
    western = _oddities(sample, "cp1252")
    if fits.get(guess) == 0 < max(fits.values()) and western < FEW_BYTES:
        return max(fits, key=lambda encoding: fits[encoding])
    if guess == "cp1252":
        better = min((*_EASTERN, "cp850", "cp852"), key=lambda encoding: _oddities(sample, encoding))
        return better if western >= FEW_BYTES and 2 * _oddities(sample, better) < western else guess
    if guess in _EASTERN:
        guess = min((guess, *_EASTERN), key=lambda encoding: _oddities(sample, encoding))
    same = sample.decode("cp1252", "replace") == sample.decode(guess, "replace")
    few = len(_LATIN_LETTERS.findall(sample)) < FEW_BYTES and western < FEW_BYTES
    return "cp1252" if same or few or western < _oddities(sample, guess) else guess


def _fit(sample: bytes, encoding: str) -> float:
    """The number of a language's letters beyond ASCII in a text that has no others; 0 if that is so for no language of
    an encoding."""
    text = sample.decode(encoding, "replace").lower()
    letters = {letter for letter in text if letter.isalpha() and not letter.isascii()}
    shares = [len(letters) / len(language) for language in _LANGUAGES[encoding] if letters <= set(language)]
    return max(shares, default=0.0) if len(letters) > 1 else 0.0


def _oddities(sample: bytes, encoding: str) -> int:
    return len(_ODDITY.findall(sample.decode(encoding, "replace")))


def _sample(content: bytes) -> bytes:
    """Lines with letters beyond ASCII, as many as tell the encoding; a whole text where it has no lines."""
    if len(content) <= SAMPLE_BYTES:
        return content
    lines = [line for line in content.splitlines(keepends=True) if not line.isascii() or _ESCAPES in line]
    chosen, size = [], 0
    for line in lines:
        if size + len(line) > SAMPLE_BYTES:
            break
        chosen.append(line)
        size += len(line)
    return b"".join(chosen) or content[:SAMPLE_BYTES]
