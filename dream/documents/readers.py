"""Text of files, by page: each file type has a reader.

An unreadable file yields a `Reading` without pages, with reason and remedy.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from dream.documents.docx import read_docx
from dream.documents.emails import read_eml
from dream.documents.file_types import EXTENSIONS, Reading, ReadingOptions, extension, plain_reading, wrong_content
from dream.documents.html import read_html
from dream.documents.markdown import read_markdown
from dream.documents.ocr import after_ocr
from dream.documents.pdf import is_cut_off, read_pdf
from dream.documents.repeated_lines import without_repeated_lines
from dream.documents.slides import read_pptx
from dream.documents.spreadsheets import read_csv, read_xlsx
from dream.documents.text_encoding import decode

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


def _read_text(content: bytes) -> Reading:
    decoded = decode(content)
    return plain_reading(decoded.text.removeprefix("\ufeff"), decoded.problem, decoded.remedy, decoded.is_certain)


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


def _read_eml(content: bytes) -> Reading:
    return read_eml(content, _read_attachment)


def _read_attachment(name: str, content: bytes) -> Reading:
    if extension(name) not in EXTENSIONS:
        return Reading(problem=f"{extension(name) or 'a file without extension'} is not supported")
    return _read_as_it_is(name, content)


READERS: dict[str, Callable[[bytes], Reading]] = {
    ".pdf": read_pdf,
    ".txt": _read_text,
    ".md": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".docx": read_docx,
    ".pptx": read_pptx,
    ".xlsx": read_xlsx,
    ".csv": read_csv,
    ".eml": _read_eml,
}
