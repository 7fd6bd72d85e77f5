"""The bytes of one file become pages of text. The only room that knows pypdf, BeautifulSoup and docx2txt.

A file that cannot be read is a `Reading` without pages, which says why and what to do.
"""

import codecs
import io
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Reading:
    """What was read of one file.

    `pages` are (1-based page number, text) of those with text; `n_pages` counts all. `complete` is False where text
    is missing or doubtful. `problem` and `remedy` say what is missing, or what had to be assumed.
    """

    pages: tuple[tuple[int, str], ...] = ()
    n_pages: int = 0
    complete: bool = True
    problem: str = ""
    remedy: str = ""


def extension(name: str) -> str:
    """The extension of a file name in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def read_file(name: str, content: bytes) -> Reading:
    """Read a file the way its extension says, which must be one of `READERS`."""
    if not content:
        return Reading(problem="it is empty (0 bytes)", remedy="put the whole file there again")
    if wrong := wrong_content(name, content):
        return wrong
    with _quiet() as complaints:
        try:
            reading = READERS[extension(name)](content, complaints)
        except Exception as error:  # noqa: BLE001 - on a damaged file these libraries raise errors of every kind
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            is_cut_off = extension(name) == ".pdf" and _is_cut_off(content)
            fault = "cut off: its end is missing" if is_cut_off else "damaged"
            return Reading(problem=f"it is {fault} ({said})", remedy="put the whole file there again or save it anew")
    return _without_broken_characters(reading)


def wrong_content(name: str, content: bytes) -> Reading | None:
    """Why the content cannot be what the extension says; None where it can."""
    expected = extension(name)
    if expected == ".pdf" and b"%PDF-" in content[:1024]:
        return None
    kind, right = _kind(content)
    text_expected, is_text = (name in (".txt", ".md", ".html", ".htm") for name in (expected, right))
    if expected == right or (text_expected and is_text):
        return None
    remedy = f"rename it to end in {right}" if right else f"save it as one of: {', '.join(READERS)}"
    return Reading(problem=f"its content is {kind}, not what {expected} says", remedy=remedy)


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
_TEXT_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _kind(content: bytes) -> tuple[str, str]:
    """What the bytes look like, and the extension that fits if DREAM can read it."""
    start = content[:1024].lstrip().lower()
    if start.startswith(b"%pdf-"):
        return "a PDF", ".pdf"
    if content.startswith(b"PK\x03\x04"):
        return _zip_kind(content)
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            return kind, ""
    if not _mark(content) and content.count(0) > len(content) / 20:
        return "binary data (or UTF-16 text without a byte-order mark)", ""
    return ("an HTML page", ".html") if start.startswith((b"<!doctype html", b"<html")) else ("plain text", ".txt")


def _zip_kind(content: bytes) -> tuple[str, str]:
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except zipfile.BadZipFile:
        return "a damaged ZIP archive or Office document", ""
    is_word = "word/document.xml" in names
    return ("a Word document", ".docx") if is_word else ("a ZIP archive or another Office document", "")


def _mark(content: bytes) -> str | None:
    """The encoding that a byte-order mark names."""
    return next((encoding for mark, encoding in _TEXT_MARKS if content.startswith(mark)), None)


def _decode(content: bytes, declared: str | None = None) -> tuple[str, str]:
    """The text, and a word on it where its encoding had to be guessed."""
    for encoding in (_mark(content), declared, "utf-8"):
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
        return Reading(n_pages=1, problem="it holds no text", remedy="put a version with text there")
    return Reading(((1, text),), 1, True, note, "if it looks wrong, convert it to UTF-8" if note else "")


def _read_text(content: bytes, complaints: Sequence[str]) -> Reading:
    return _plain(*_decode(content))


_UNSEEN = ("script", "style", "template", "noscript")
_BLOCKS = re.compile(
    r"title|address|article|aside|blockquote|body|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form"
    r"|h[1-6]|header|hr|legend|li|main|nav|ol|option|p|pre|section|summary|table|tr|ul"
)


def _read_html(content: bytes, complaints: Sequence[str]) -> Reading:
    """The text of a page with a line for each block, as a browser shows it."""
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector
    from bs4.element import NavigableString

    text, note = _decode(content, EncodingDetector.find_declared_encoding(content, is_html=True))
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup(_UNSEEN):
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


def _read_docx(content: bytes, complaints: Sequence[str]) -> Reading:
    import docx2txt

    return _plain(docx2txt.process(io.BytesIO(content)), "")


# What pypdf logs of a file when text may be missing; the rest is about faults that it mended.
_LOSS = re.compile(
    r"not implemented|[Ii]mpossible|can not be read|not be read|may be missing|not defined|Ignoring page tree"
    r"|Invalid stream|Skipping broken|EOF marker|while decompressing|PdfReadError|PdfStreamError"
)


def _read_pdf(content: bytes, complaints: Sequence[str]) -> Reading:
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
    remedy = "run OCR on scanned pages, or save the file anew from its source" if problems else ""
    return Reading(pages, n_pages, not problems, "; ".join(problems), remedy)


def _page_texts(reader: Any) -> tuple[dict[int, str], dict[int, str]]:
    """The text of each page, and why where there is none to be had."""
    texts, failures = {}, {}
    for number, page in enumerate(reader.pages, start=1):
        try:
            texts[number] = page.extract_text()
        except Exception as error:  # noqa: BLE001 - one bad page must not cost the others
            failures[number] = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    return texts, failures


def _doubts(content: bytes, reader: Any, complaints: Sequence[str]) -> Iterator[str]:
    if _is_cut_off(content):
        yield "its end is missing; what could be recovered was read"
    counted, found = _page_count(reader), len(reader.pages)
    if counted > found:
        yield f"{counted - found} of its {counted} pages are missing"
    losses = list(dict.fromkeys(complaint for complaint in complaints if _LOSS.search(complaint)))
    if losses:
        more = f" and {len(losses) - 1} more" if len(losses) > 1 else ""
        yield f"pypdf says: {losses[0][:150]}{more}"


def _is_cut_off(pdf: bytes) -> bool:
    return b"%%EOF" not in pdf[-2048:]


def _page_count(reader: Any) -> int:
    """The number of pages that the file itself states, 0 where it does not."""
    from pypdf.errors import PyPdfError

    try:
        return int(reader.root_object["/Pages"]["/Count"])
    except (PyPdfError, KeyError, TypeError, ValueError, AttributeError):
        return 0


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in short.

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


def _without_broken_characters(reading: Reading) -> Reading:
    """NUL and halves of surrogate pairs, which JSON and databases refuse, become U+FFFD; halves that meet are joined.

    Example:
        >>> _without_broken_characters(Reading(((1, "a\\0b"),), 1)).problem
        '1 broken character(s) (NUL or half of a pair) became U+FFFD'
    """
    pages = tuple((number, _mended(text)) for number, text in reading.pages)
    replaced = sum(text.count("\ufffd") for _, text in pages) - sum(text.count("\ufffd") for _, text in reading.pages)
    if not replaced:
        return replace(reading, pages=pages)
    said = f"{replaced} broken character(s) (NUL or half of a pair) became U+FFFD"
    problem = "; ".join(part for part in (reading.problem, said) if part)
    return replace(reading, pages=pages, complete=False, problem=problem, remedy=reading.remedy or "save the file anew")


def _mended(text: str) -> str:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "\ufffd")


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Collects what the libraries log and warn of, which otherwise goes to the terminal."""
    complaints: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(" ".join(record.getMessage().split()))

    collector, logger = Collector(), logging.getLogger("pypdf")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield complaints
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagates


READERS: dict[str, Callable[[bytes, Sequence[str]], Reading]] = {
    ".pdf": _read_pdf,
    ".txt": _read_text,
    ".md": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
}
