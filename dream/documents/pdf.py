"""Text of PDF files, by page. The only module that imports pypdf."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dream.documents.file_types import Reading

# Log messages of pypdf that indicate missing text; its other messages are about faults that it repaired.
_LOSS = re.compile(
    r"not implemented|[Ii]mpossible|can not be read|not be read|may be missing|not defined|Ignoring page tree"
    r"|Invalid stream|Skipping broken|EOF marker|while decompressing|PdfReadError|PdfStreamError"
)


def read_pdf(content: bytes, complaints: Sequence[str]) -> Reading:
    """The text of each page; `complaints` is the list to which pypdf's log messages are appended meanwhile."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        remedy = "remove it, e.g. `qpdf --decrypt --password=... in.pdf out.pdf`"
        return Reading(problem="it needs a password", remedy=remedy)
    texts, failures = _page_texts(reader)
    n_pages = len(reader.pages)
    pages = tuple((number, text) for number, text in texts.items() if text.strip())
    if not pages and not failures:
        problem = f"no text on any of its {n_pages} pages: it looks scanned"
        return Reading((), n_pages, False, problem, "run OCR first, e.g. `ocrmypdf in.pdf out.pdf`")
    empty = [number for number, text in texts.items() if not text.strip()]
    problems = [
        *([f"no text on page(s) {_ranges(empty)} (blank or scanned)"] if empty else []),
        *(f"page {number} cannot be read ({failure})" for number, failure in failures.items()),
        *_doubts(content, reader, complaints),
    ]
    remedy = "run OCR on scanned pages, or save the file again from its source" if problems else ""
    return Reading(pages, n_pages, not problems, "; ".join(problems), remedy)


def _page_texts(reader: Any) -> tuple[dict[int, str], dict[int, str]]:
    """The text of each readable page, and the error of each other page, by page number."""
    texts, failures = {}, {}
    for number, page in enumerate(reader.pages, start=1):
        try:
            texts[number] = page.extract_text()
        except Exception as error:  # noqa: BLE001 - a bad page must not hide the others
            failures[number] = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    return texts, failures


def _doubts(content: bytes, reader: Any, complaints: Sequence[str]) -> Iterator[str]:
    """Indications that text of the file is missing."""
    if is_cut_off(content):
        yield "its end is missing; what could be recovered was read"
    stated, n_pages = _page_count(reader), len(reader.pages)
    if stated > n_pages:
        yield f"{stated - n_pages} of its {stated} pages are missing"
    losses = list(dict.fromkeys(complaint for complaint in complaints if _LOSS.search(complaint)))
    if losses:
        more = f" and {len(losses) - 1} more" if len(losses) > 1 else ""
        yield f"pypdf says: {losses[0][:150]}{more}"


def is_cut_off(pdf: bytes) -> bool:
    """True for a PDF without an end-of-file marker."""
    return b"%%EOF" not in pdf[-2048:]


def _page_count(reader: Any) -> int:
    """The number of pages that the file states, 0 if it states none."""
    from pypdf.errors import PyPdfError

    try:
        return int(reader.root_object["/Pages"]["/Count"])
    except (PyPdfError, KeyError, TypeError, ValueError, AttributeError):
        return 0


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as ranges.

    Example:
        >>> _ranges([1, 2, 3, 7])
        '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
