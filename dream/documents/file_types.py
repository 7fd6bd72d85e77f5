"""The supported file types, detected by name and by content."""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from dream.documents.text_encoding import SAMPLE_BYTES, unicode_encoding

EXTENSIONS = (".pdf", ".txt", ".md", ".html", ".htm", ".docx", ".pptx", ".xlsx", ".csv", ".eml")
# not the spaces, nor the shifts of ISO-2022
_NO_TEXT = bytes({*range(0x20)} - {*b"\t\n\v\f\r\x0e\x0f\x1a\x1b\x1e"} | {0x7F})
_TEXTS = (".txt", ".md", ".html", ".htm", ".csv", ".eml")


# Office documents whose unpacked size exceeds both limits are refused.
MAX_UNPACKED, MAX_RATIO = 1_000_000_000, 20


@dataclass(frozen=True)
class ReadingOptions:
    """Options for reading files.

    Args:
        repeated_lines: "drop" or "keep" headers and footers.
        ocr_command: a command for files with scanned pages, with the placeholders {input} and {output}; None for no
            OCR.
    """

    repeated_lines: str = "drop"
    ocr_command: str | None = None


class Heading(NamedTuple):
    """A heading without markup in the text: the range of characters `start` to `end` in the text of a page, and its
    level, 1 for the highest."""

    page: int
    start: int
    end: int
    level: int


@dataclass(frozen=True)
class Reading:
    """The text of one file.

    `pages` are pairs (1-based page number, text) of the pages with text; `n_pages` counts all pages. `complete` is
    False if text is missing or may be wrong. `problem` describes missing text or assumptions, `remedy` suggests a fix.
    `left_out` lists intentionally omitted content. `is_scanned` is True if OCR may find more text. `is_repeatable` is
    False if the next attempt may give another text, e.g. after a failed OCR program. `headings` are those without `#`
    markup in the text, in their order.
    """

    pages: tuple[tuple[int, str], ...] = ()
    n_pages: int = 0
    complete: bool = True
    problem: str = ""
    remedy: str = ""
    left_out: tuple[str, ...] = ()
    is_scanned: bool = False
    is_repeatable: bool = True
    headings: tuple[Heading, ...] = ()


def plain_reading(text: str, problem: str = "", remedy: str = "", is_certain: bool = True) -> Reading:
    """The reading of a file without pages."""
    if not text.strip():
        return Reading(n_pages=1, problem="it contains no text", remedy="upload a version with text")
    return Reading(((1, text),), 1, is_certain, problem, remedy)


def page_ranges(numbers: Sequence[int], at_most: int = 20) -> str:
    """Page numbers in ascending order as ranges, truncated to `at_most` ranges.

    Example:
        >>> page_ranges([1, 2, 3, 7])
        '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:at_most])
    more = sum(map(len, runs[at_most:]))
    return f"{shown} and {more} more" if more else shown


def extension(name: str) -> str:
    """The extension of a file name in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def wrong_content(name: str, content: bytes) -> Reading | None:
    """The problem if a file's content does not match its extension; None if it matches."""
    expected = extension(name)
    if expected == ".pdf" and b"%PDF-" in content[:1024]:
        return None
    kind, actual = _kind(content)
    text_expected, is_text = (name in _TEXTS for name in (expected, actual))
    if expected == actual or (text_expected and is_text):
        return None
    remedy = f"rename it to end in {actual}" if actual else f"save it as one of: {', '.join(EXTENSIONS)}"
    return Reading(problem=f"its content is {kind}, which does not match {expected}", remedy=remedy)


_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0", "an old or password-protected Office document"),
)


def _kind(content: bytes) -> tuple[str, str]:
    """The file type by signature, for messages, and its extension if DREAM can read it, else ""."""
    start = content[:1024].lstrip().lower()
    if start.startswith(b"%pdf-"):
        return "a PDF", ".pdf"
    if content.startswith(b"PK\x03\x04"):
        return _zip_kind(content)
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            return kind, ""
    if not unicode_encoding(content) and is_binary(content[:SAMPLE_BYTES]):
        return "binary data", ""
    return ("an HTML page", ".html") if start.startswith((b"<!doctype html", b"<html")) else ("plain text", ".txt")


def is_binary(sample: bytes) -> bool:
    """True for bytes with many values that are not text in any encoding."""
    return len(sample) - len(sample.translate(None, _NO_TEXT)) > len(sample) / 20


# The main parts, which some programs number.
_OFFICE_PARTS = {
    r"word/document\d*\.xml": ("a Word document", ".docx"),
    r"ppt/presentation\d*\.xml": ("a PowerPoint presentation", ".pptx"),
    r"xl/workbook\.xml": ("an Excel workbook", ".xlsx"),
}


def _zip_kind(content: bytes) -> tuple[str, str]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception:  # noqa: BLE001 - zipfile raises errors of many kinds
        return "a damaged ZIP archive or Office document", ""
    unpacked = sum(item.file_size for item in archive.infolist())
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * len(content)):
        return f"a ZIP archive that unpacks to {unpacked / 1e6:,.0f} MB", ""
    names = archive.namelist()
    kinds = (kind for part, kind in _OFFICE_PARTS.items() if any(re.fullmatch(part, name) for name in names))
    return next(kinds, ("a ZIP archive or another Office document", ""))
