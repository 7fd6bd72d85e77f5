"""Damage in a PDF that PDFium passes over in silence: compressed parts that cannot be unpacked.

The parts are found in the raw bytes, so that a sound file costs little. Of a damaged one, pypdf finds the
pages.
"""

import io
import logging
import re
import zlib
from collections.abc import Iterator

from dream.documents.file_types import page_ranges

_STREAM = re.compile(rb"stream\r?\n")
_FLATE_FIRST = re.compile(rb"/Filter\s*(?:\[\s*)?/(?:FlateDecode|Fl)\b")
_DICTIONARY_BYTES = 2000
_PIECE = 1 << 20
_MOST_BYTES = 64 << 20


def damaged_parts(content: bytes) -> Iterator[str]:
    """A line for pages whose text may be missing because their data is damaged."""
    n_parts = _count_damaged(content)
    if not n_parts:
        return
    if pages := _pages_of_damage(content):
        yield f"page(s) {page_ranges(pages)}: their data is damaged, so text may be missing"
    else:
        yield f"{n_parts} of its compressed parts are damaged, so text may be missing"


def _count_damaged(content: bytes) -> int:
    """How many compressed parts cannot be unpacked, pictures apart; 0 for an encrypted file."""
    if b"/Encrypt" in content:
        return 0
    return sum(not _unpacks(content, start, end) for start, end in _compressed(content))


def _compressed(content: bytes) -> Iterator[tuple[int, int]]:
    end = 0
    while match := _STREAM.search(content, end):
        start = match.end()
        end = content.find(b"endstream", start)
        end = len(content) if end < 0 else end + len(b"endstream")
        before = content[max(0, match.start() - _DICTIONARY_BYTES) : match.start()]
        dictionary = before[before.rfind(b"obj") :]
        if _FLATE_FIRST.search(dictionary) and b"/Image" not in dictionary and b"/FontFile" not in dictionary:
            yield start, end


def _unpacks(content: bytes, start: int, end: int) -> bool:
    """True if data unpacks to its end; a wrong checksum alone does no harm."""
    unpacker, position, total = zlib.decompressobj(), start, 0
    try:
        while position < end and not unpacker.eof and total < _MOST_BYTES:
            total += len(unpacker.decompress(content[position : position + _PIECE]))
            position += _PIECE
    except zlib.error as error:
        return "incorrect data check" in str(error)
    return unpacker.eof or total >= _MOST_BYTES


def _pages_of_damage(content: bytes) -> list[int]:
    """The pages whose own data is damaged, by pypdf; none if it cannot read the file."""
    from pypdf import PdfReader

    logger = logging.getLogger("pypdf")
    level, propagates = logger.level, logger.propagate
    complaints = _Complaints()
    logger.propagate = False
    logger.addHandler(complaints)
    pages = []
    try:
        for number, page in enumerate(PdfReader(io.BytesIO(content)).pages, start=1):
            before = complaints.count
            contents = page.get_contents()
            if contents is not None:
                contents.get_data()
            if complaints.count > before:
                pages.append(number)
    except Exception:  # noqa: BLE001 - on a damaged file pypdf raises errors of every kind
        return pages
    finally:
        logger.removeHandler(complaints)
        logger.setLevel(level)
        logger.propagate = propagates
    return pages


class _Complaints(logging.Handler):
    """Counts pypdf's messages about data that cannot be unpacked."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "decompress" in record.getMessage()
