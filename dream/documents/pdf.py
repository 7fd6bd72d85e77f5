"""Text of PDF files by page, with PDFium, the library of Chrome.

PDFium is not thread-safe: there is one lock per process; other processes read other files concurrently.
"""

import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dream.documents import pdf_forms
from dream.documents.file_types import Reading, page_ranges
from dream.documents.pdf_checks import Checks, check
from dream.documents.pdf_headings import OutlineEntry, headings_of
from dream.documents.pdf_page import CONTROL, NO_MAP, PRIVATE, Page, read_page
from dream.documents.pdf_tags import is_tagged

FILE_SECONDS = 600.0
OUT_OF_TIME = f"the file takes longer than {FILE_SECONDS:.0f} s"
PASSWORD_ERROR = 4
# Tags are ignored after this number of pages without a tagged heading.
UNTAGGED_PAGES = 20
_LOCK = threading.Lock()
_OCR = "run OCR first, e.g. `ocrmypdf in.pdf out.pdf`, or set DREAM_OCR_COMMAND"
_OCR_PAGES = "run OCR on scanned pages, e.g. `ocrmypdf --skip-text in.pdf out.pdf`"
_OCR_ALL = "read its letters by OCR, e.g. `ocrmypdf --force-ocr in.pdf out.pdf`"
_SAVE_AGAIN = "save the file again from its source"
_PLACEHOLDER = re.compile(r"please wait|not eventually replaced|viewer may not be able to display", re.IGNORECASE)


class DamagedFile(Exception):
    """PDFium cannot open the file."""


def read_pdf(content: bytes) -> Reading:
    """The text of each page, with the values of form fields and the texts of notes.

    Raises:
        DamagedFile: when the file cannot be opened.
    """
    import pypdfium2

    logging.getLogger("pypdfium2").setLevel(logging.CRITICAL)  # its messages about a file are in the report
    with _LOCK:
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == PASSWORD_ERROR:
                remedy = "remove it, e.g. `qpdf --decrypt --password=... in.pdf out.pdf`"
                return Reading(problem="it needs a password", remedy=remedy)
            raise DamagedFile(str(error)) from error
        try:
            return _read(document, content)
        finally:
            document.close()


def _read(document: Any, content: bytes) -> Reading:
    kind = pdf_forms.form_kind(document)
    checks = check(content)
    outline = _outline(document)
    pages, failures = _pages(document, kind, checks.heavy, has_outline=bool(outline))
    n_pages = len(document)
    texts = tuple((page.number, page.text) for page in pages if page.text.strip())
    if kind.is_xfa and (kind.is_dynamic or _is_placeholder(texts)):
        problem = "it is a dynamic XFA form, which only Adobe's programs can display: its content is not in its pages"
        return Reading((), n_pages, False, problem, "open it in Adobe Reader and print it to a PDF")
    if not texts and not failures:
        problem = f"no text on any of its {n_pages} pages: it looks scanned"
        return Reading((), n_pages, False, problem, _OCR, is_scanned=True)
    doubts = [*_empty(pages), *_doubtful(pages), *_failed(failures), *_damage(content, checks)]
    is_scanned = any("scan" in doubt for doubt in doubts)
    remedies = [_OCR_PAGES] if is_scanned else []
    if any(kind in doubt for kind in (NO_MAP, PRIVATE, CONTROL) for doubt in doubts):
        remedies.append(_OCR_ALL)
    if any("scan" not in doubt for doubt in doubts):
        remedies.append(_SAVE_AGAIN)
    reading = Reading(texts, n_pages, not doubts, "; ".join(doubts), ", or ".join(remedies), is_scanned=is_scanned)
    is_repeatable = OUT_OF_TIME not in failures.values()
    return replace(reading, is_repeatable=is_repeatable, headings=headings_of(pages, outline))


def _pages(
    document: Any, kind: pdf_forms.FormKind, heavy: Mapping[int, str], *, has_outline: bool
) -> tuple[list[Page], dict[int, str]]:
    """The readable pages, and the error of each other page, by page number."""
    pages: list[Page] = []
    failures: dict[int, str] = {}
    has_tags = not has_outline and is_tagged(document)
    started = time.monotonic()
    with pdf_forms.opened(document, kind) as form:
        for number in range(1, len(document) + 1):
            if number in heavy:
                failures[number] = f"too heavy: {heavy[number]}"
                continue
            if time.monotonic() - started > FILE_SECONDS:
                failures[number] = OUT_OF_TIME
                continue
            if number > UNTAGGED_PAGES and has_tags:
                has_tags = any(style.tag for page in pages[-UNTAGGED_PAGES:] for style in page.styles)
            try:
                pages.append(read_page(document, number, form, has_outline=has_outline, is_tagged=has_tags))
            except Exception as error:  # noqa: BLE001 - a bad page must not hide the others
                failures[number] = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    return pages, failures


def _outline(document: Any) -> list[OutlineEntry]:
    """The bookmarks that lead to a page."""
    entries = []
    with suppress(Exception):  # a damaged outline must not hide the text
        for bookmark in document.get_toc():
            destination = bookmark.get_dest()
            index = destination.get_index() if destination else None
            if index is not None:
                entries.append(OutlineEntry(index + 1, bookmark.level + 1, bookmark.get_title()))
    return entries


def _is_placeholder(texts: Sequence[tuple[int, str]]) -> bool:
    return sum(len(text) for _, text in texts) < 2000 and any(_PLACEHOLDER.search(text) for _, text in texts)


def _empty(pages: Sequence[Page]) -> Iterator[str]:
    empty = [page.number for page in pages if not page.text.strip()]
    if empty:
        yield f"no text on page(s) {page_ranges(empty)} (blank or scanned)"


def _doubtful(pages: Sequence[Page]) -> Iterator[str]:
    """A line for each kind of doubt, with its pages."""
    kinds: dict[str, list[int]] = {}
    for page in pages:
        for doubt in page.doubts:
            kinds.setdefault(doubt, []).append(page.number)
    for kind, numbers in kinds.items():
        yield f"page(s) {page_ranges(numbers)}: {kind}"


def _failed(failures: Mapping[int, str]) -> Iterator[str]:
    by_reason: dict[str, list[int]] = {}
    for number, reason in failures.items():
        by_reason.setdefault(reason, []).append(number)
    for reason, numbers in by_reason.items():
        yield f"page(s) {page_ranges(numbers)} cannot be read ({reason})"


def _damage(content: bytes, checks: Checks) -> Iterator[str]:
    if is_cut_off(content):
        yield "its end is missing; what could be recovered was read"
    if checks.damaged:
        yield f"page(s) {page_ranges(checks.damaged)}: their data is damaged, so text may be missing"
    if checks.n_damaged_parts:
        yield f"{checks.n_damaged_parts} of its compressed parts are damaged, so text may be missing"


def is_cut_off(pdf: bytes) -> bool:
    """True for a PDF without an end-of-file marker."""
    return b"%%EOF" not in pdf[-2048:]
