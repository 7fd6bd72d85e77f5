"""Checks of a PDF before PDFium reads it: data that cannot be unpacked, which PDFium passes over in silence,
and pages that would take hours or all memory.

The raw bytes are searched, which costs little; only where something is found does pypdf say which pages it concerns.
"""

import io
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_STREAM = re.compile(rb"stream\r?\n")
_FILTER = re.compile(rb"/Filter\s*(\[?\s*/[A-Za-z0-9]+)")
_PAINTS_PART = re.compile(rb"/([^\s/<>\[\]()]+)\s+Do\b")
_DICTIONARY_BYTES = 2000
_PIECE = 1 << 20
# A page is too heavy whose commands are longer than this, or that draws parts of parts so many times.
MAX_COMMANDS_MB = 64
MAX_PARTS = 50_000
FEW_NESTED = 5


@dataclass(frozen=True)
class Checks:
    """The findings: pages with damaged data, damaged parts of unknown pages, pages that are too heavy, and why."""

    damaged: tuple[int, ...] = ()
    n_damaged_parts: int = 0
    heavy: Mapping[int, str] = field(default_factory=dict)


def check(content: bytes) -> Checks:
    """Check a file, which may be damaged in any way."""
    n_damaged, may_be_heavy = _scanned(content)
    if not n_damaged and not may_be_heavy:
        return Checks()
    damaged, heavy = _by_page(content, may_be_heavy)
    return Checks(damaged if n_damaged else (), 0 if damaged else n_damaged, heavy)


def _scanned(content: bytes) -> tuple[int, bool]:
    """The number of compressed parts that cannot be unpacked, and True if a page may be too heavy."""
    if b"/Encrypt" in content:
        return 0, b"/Form" in content
    n_damaged = n_nested = 0
    for dictionary, start, end in _streams(content):
        kind = match[1] if (match := _FILTER.search(dictionary)) else b""
        is_form = b"/Form" in dictionary
        if not kind:
            n_nested += is_form and len(_PAINTS_PART.findall(content, start, end))
        elif kind.endswith((b"/FlateDecode", b"/Fl")):
            size, data, is_whole = _unpacked(content, start, end)
            n_damaged += not is_whole
            n_nested += is_form and len(_PAINTS_PART.findall(data))
            if size > MAX_COMMANDS_MB << 20:
                return n_damaged, True
        else:
            n_nested += is_form
    return n_damaged, n_nested > FEW_NESTED


def _streams(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Dictionary, start and end of each stream of commands or objects; not of pictures and fonts."""
    end = 0
    while match := _STREAM.search(content, end):
        start = match.end()
        end = content.find(b"endstream", start)
        end = len(content) if end < 0 else end + len(b"endstream")
        before = content[max(0, match.start() - _DICTIONARY_BYTES) : match.start()]
        dictionary = before[before.rfind(b"obj") :]
        if not any(name in dictionary for name in (b"/Image", b"/FontFile", b"/Length1", b"/CIDFontType0C")):
            yield dictionary, start, end


def _unpacked(content: bytes, start: int, end: int) -> tuple[int, bytes, bool]:
    """Size and beginning of the data, and whether all of it unpacks; a wrong checksum alone does no harm."""
    unpacker, position, pieces, size = zlib.decompressobj(), start, list[bytes](), 0
    try:
        while position < end and not unpacker.eof and size <= MAX_COMMANDS_MB << 20:
            piece = unpacker.decompress(unpacker.unconsumed_tail or content[position : position + _PIECE], _PIECE)
            position += 0 if unpacker.unconsumed_tail else _PIECE
            size += len(piece)
            pieces.append(piece)
    except zlib.error as error:
        return size, b"".join(pieces), "incorrect data check" in str(error)
    return size, b"".join(pieces), unpacker.eof or size > MAX_COMMANDS_MB << 20


def _by_page(content: bytes, may_be_heavy: bool) -> tuple[tuple[int, ...], dict[int, str]]:
    """The pages whose own data is damaged, and those that are too heavy, by pypdf; none if it cannot read the file."""
    from pypdf import PdfReader
    from pypdf.errors import LimitReachedError

    damaged: list[int] = []
    heavy: dict[int, str] = {}
    with _Complaints() as complaints:
        try:
            parts = _Parts()
            for number, page in enumerate(PdfReader(io.BytesIO(content)).pages, start=1):
                before = complaints.count
                try:
                    contents = page.get_contents()
                    data = contents.get_data() if contents is not None else b""
                    if may_be_heavy and parts.count(page, data) > MAX_PARTS:
                        heavy[number] = f"it draws more than {MAX_PARTS:,} parts of parts"
                except LimitReachedError:
                    heavy[number] = f"its commands are longer than {MAX_COMMANDS_MB} MB"
                if complaints.count > before:
                    damaged.append(number)
        except Exception:  # noqa: BLE001 - on a damaged file pypdf raises errors of every kind
            pass
    return tuple(damaged), heavy


class _Parts:
    """Counts the parts that a page draws, those in parts too."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def count(self, holder: Any, data: bytes) -> int:
        """The parts that commands draw; `holder` is the page or part with their names."""
        forms = self._forms(holder)
        names = _PAINTS_PART.findall(data) if forms else []
        return sum(1 + self._of(forms[name]) for name in names if name in forms)

    def _of(self, reference: Any) -> int:
        form = reference.get_object()
        key = getattr(reference, "idnum", id(form))
        if key not in self._known:
            self._known[key] = 0  # a part in itself is drawn once
            self._known[key] = min(self.count(form, form.get_data()), MAX_PARTS + 1)
        return self._known[key]

    @staticmethod
    def _forms(holder: Any) -> dict[bytes, Any]:
        resources = holder.get("/Resources")
        objects = resources.get_object().get("/XObject") if resources is not None else None
        if objects is None:
            return {}
        named = objects.get_object()
        raw = {name: named.raw_get(name) for name in named}
        return {
            name[1:].encode("latin-1", "replace"): reference
            for name, reference in raw.items()
            if reference.get_object().get("/Subtype") == "/Form"
        }


class _Complaints(logging.Handler):
    """Counts pypdf's messages about data that cannot be unpacked, and keeps all messages from the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._logger = logging.getLogger("pypdf")
        self._propagates = self._logger.propagate

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "decompress" in record.getMessage()

    def __enter__(self) -> "_Complaints":
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagates
