"""Text of files, by page. The only module that imports BeautifulSoup and docx2txt.

A file that cannot be read yields a `Reading` without pages, with reason and remedy.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from dream.documents.file_types import Reading, ReadingOptions, byte_order_encoding, extension, wrong_content
from dream.documents.ocr import after_ocr
from dream.documents.pdf import is_cut_off, read_pdf
from dream.documents.repeated_lines import without_repeated_lines

_SAVE_AGAIN = "save it again from its source"


def read_file(name: str, content: bytes, options: ReadingOptions = ReadingOptions()) -> Reading:  # noqa: B008
    """The text of a file, whose extension must be in `EXTENSIONS`; no pages if it cannot be read."""
    reading = _read_as_it_is(name, content)
    if reading.is_scanned and options.ocr_command:
        reading = after_ocr(reading, content, options.ocr_command)
    if options.repeated_lines == "drop":
        reading = without_repeated_lines(reading)
    return reading


def _read_as_it_is(name: str, content: bytes) -> Reading:
    if not content:
        return Reading(problem="it is empty (0 bytes)", remedy="upload the whole file again")
    if wrong := wrong_content(name, content):
        return wrong
    with _quiet():
        try:
            reading = READERS[extension(name)](content)
        except Exception as error:  # noqa: BLE001 - on a damaged file these libraries raise errors of every kind
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            incomplete = extension(name) == ".pdf" and is_cut_off(content)
            fault = "cut off: its end is missing" if incomplete else "damaged"
            return Reading(problem=f"it is {fault} ({reason})", remedy=f"upload the whole file again, or {_SAVE_AGAIN}")
    return _without_broken_characters(reading)


def _decode(content: bytes, declared: str | None = None) -> tuple[str, str]:
    """The decoded text, and a note if the encoding was guessed, else ""."""
    for encoding in (byte_order_encoding(content), declared, "utf-8"):
        try:
            if encoding:
                return content.decode(encoding), ""
        except (LookupError, UnicodeError):
            continue
    try:
        return content.decode("cp1252"), "it is not UTF-8; read as Windows-1252"
    except UnicodeError:
        return content.decode("latin-1"), "it is not UTF-8; read as Latin-1"


def _plain(text: str, note: str) -> Reading:
    if not text.strip():
        return Reading(n_pages=1, problem="it contains no text", remedy="upload a version with text")
    return Reading(((1, text),), 1, True, note, "if it looks wrong, convert it to UTF-8" if note else "")


def _read_text(content: bytes) -> Reading:
    return _plain(*_decode(content))


_INVISIBLE = ("script", "style", "template", "noscript")
_BLOCKS = re.compile(
    r"title|address|article|aside|blockquote|body|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form"
    r"|h[1-6]|header|hr|legend|li|main|nav|ol|option|p|pre|section|summary|table|tr|ul"
)


def _read_html(content: bytes) -> Reading:
    """The visible text of an HTML page, with a line per block element."""
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector
    from bs4.element import NavigableString

    text, note = _decode(content, EncodingDetector.find_declared_encoding(content, is_html=True))
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup(_INVISIBLE):
        tag.decompose()
    for string in soup.find_all(string=True):
        if type(string) is NavigableString and not string.find_parent("pre"):
            string.replace_with(re.sub(r"[ \t\r\n\f]+", " ", string))
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for tag in soup.find_all(["td", "th"]):
        tag.append(" ")
    for tag in soup.find_all(lambda tag: bool(_BLOCKS.fullmatch(tag.name))):
        tag.insert_before("\n")
        tag.append("\n")
    lines = [line.rstrip(" ") if line.startswith("  ") else line.strip(" ") for line in soup.get_text().split("\n")]
    return _plain(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n"), note)


def _read_docx(content: bytes) -> Reading:
    import docx2txt

    return _plain(docx2txt.process(io.BytesIO(content)), "")


def _without_broken_characters(reading: Reading) -> Reading:
    """Replace NUL and lone surrogates, which JSON and databases reject, by U+FFFD; join surrogate pairs.

    Example:
        >>> _without_broken_characters(Reading(((1, "a\\0b"),), 1)).problem
        '1 broken character(s) (NUL or half of a pair) became U+FFFD'
    """
    pages = tuple((number, _repaired(text)) for number, text in reading.pages)
    replaced = sum(text.count("\ufffd") for _, text in pages) - sum(text.count("\ufffd") for _, text in reading.pages)
    if not replaced:
        return replace(reading, pages=pages)
    note = f"{replaced} broken character(s) (NUL or half of a pair) became U+FFFD"
    problem = "; ".join(part for part in (reading.problem, note) if part)
    return replace(
        reading,
        pages=pages,
        complete=False,
        problem=problem,
        remedy=reading.remedy or _SAVE_AGAIN,
    )


def _repaired(text: str) -> str:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "\ufffd")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


READERS: dict[str, Callable[[bytes], Reading]] = {
    ".pdf": read_pdf,
    ".txt": _read_text,
    ".md": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
}
