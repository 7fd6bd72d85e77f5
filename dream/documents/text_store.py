"""A store for the texts of files: a file is read once, and later commands, trials and experiments reuse its text.

<cache>/texts/<version of the readers>/<2 digits>/<SHA-256 of the file><extension>.json.gz    a `Reading`
<cache>/texts/<version of the readers>/sets/<digest of names and files>.json.gz    digests of a set of documents
<cache>/texts/listings/<digest of a storage's URI>.json.gz        the SHA-256 of files by key, size and version
<cache>/texts/listings/<digest of a storage's URI>-<version>.json.gz               `TextFacts` by key
<cache>/texts/counts/...                                          see `dream.indexes.counts`

An entry that is damaged is ignored and written again. The listing saves the download of files that have not changed,
and the facts save that of their texts.
"""

import gzip
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dream.documents.file_types import Heading, Reading, ReadingOptions, extension
from dream.errors import StorageError
from dream.records import digest
from dream.storage import Storage, StoredObject

FOLDER = "texts"
THREADS = 16
LIBRARIES = (
    "pypdfium2",
    "pypdf",
    "beautifulsoup4",
    "lxml",
    "mammoth",
    "python-pptx",
    "openpyxl",
    "charset-normalizer",
    "webencodings",
)
# Modules that do not affect the text of a file.
_NOT_READERS = (
    "__init__.py",
    "loading.py",
    "parsing.py",
    "sample_documents.py",
    "sources.py",
    "stored_documents.py",
    "text_cache.py",
    "text_store.py",
    "uploading.py",
)

logger = logging.getLogger(__name__)


@cache
def readers_version(options: ReadingOptions) -> str:
    """16 digits that change with the code of the readers, the libraries they use, and the options."""
    code = {path.name: sha256(path.read_bytes()).hexdigest() for path in _reader_modules()}
    return digest([code, {name: _version(name) for name in LIBRARIES}, asdict(options)])[:16]


def _reader_modules() -> list[Path]:
    return sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in _NOT_READERS)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class TextFacts:
    """The facts about a file's text beside the text: the SHA-256 of the file, the number of pages with text
    and their characters, and the fields of its `Reading`."""

    digest: str = ""
    text_pages: int = 0
    characters: int = 0
    n_pages: int = 0
    complete: bool = True
    problem: str = ""
    remedy: str = ""
    left_out: tuple[str, ...] = ()

    @staticmethod
    def of(file_digest: str, reading: Reading) -> "TextFacts":
        """The facts of a file that was read."""
        return TextFacts(
            file_digest,
            len(reading.pages),
            sum(len(text) for _, text in reading.pages),
            reading.n_pages,
            reading.complete,
            reading.problem,
            reading.remedy,
            reading.left_out,
        )


class TextStore:
    """The texts of one version of the readers. With `storage` None, nothing is stored; failing storage counts as empty.

    It can be pickled, and uses the same texts in other processes with access to the storage.
    """

    def __init__(self, storage: Storage | None, options: ReadingOptions) -> None:
        self._storage, self.version = storage, readers_version(options)
        self._is_ready = False

    @property
    def is_shared(self) -> bool:
        """True if other machines can access the texts too."""
        return self._storage is not None and self._storage.in_memory(()) is self._storage

    def shared(self) -> "TextStore":
        """The store for other machines, which stores nothing if its storage is a local folder."""
        return self if self.is_shared else self._with(None)

    def _with(self, storage: Storage | None) -> "TextStore":
        other = TextStore.__new__(TextStore)
        other._storage, other.version, other._is_ready = storage, self.version, False
        return other

    def get(self, file_digest: str, name: str) -> Reading | None:
        """The text of a file; None if it is not stored."""
        value = self.read_value(self._key(file_digest, name))
        try:
            pages = tuple((int(number), str(text)) for number, text in value["pages"])
            headings = tuple(Heading(*map(int, row)) for row in value["headings"])
            return Reading(**{**value, "pages": pages, "left_out": tuple(value["left_out"]), "headings": headings})
        except (ValueError, TypeError, LookupError):
            return None

    def has(self, file_digest: str, name: str) -> bool:
        """True if the text of a file is stored and accessible to this process."""
        try:
            return self._storage is not None and self._storage.exists(f"{FOLDER}/{self._key(file_digest, name)}")
        except StorageError:
            return False

    def put(self, file_digest: str, name: str, reading: Reading) -> bool:
        """Store the text of a file; returns False if that is not possible."""
        return reading.is_repeatable and self.write_value(self._key(file_digest, name), asdict(reading))

    def get_all(self, files: Mapping[str, str]) -> Iterator[tuple[str, Reading]]:
        """The stored texts among `files` (digests by name), each with its name."""
        if self._storage is None or not files:
            return
        names = list(files)
        with ThreadPoolExecutor(min(THREADS, len(files))) as threads:
            for start in range(0, len(names), THREADS):  # few texts are in memory at a time
                some = names[start : start + THREADS]
                readings = threads.map(lambda name: self.get(files[name], name), some)
                yield from (
                    (name, reading) for name, reading in zip(some, readings, strict=True) if reading is not None
                )

    def facts(self, uri: str) -> dict[str, TextFacts]:
        """The facts about the files of a storage that were stored by `keep_facts`, by key."""
        try:
            rows: dict[str, dict[str, Any]] = dict(self.read_value(self._facts_key(uri)) or {})
            return {key: TextFacts(**{**row, "left_out": tuple(row["left_out"])}) for key, row in rows.items()}
        except (ValueError, TypeError, LookupError):
            return {}

    def keep_facts(self, uri: str, facts: Mapping[str, TextFacts]) -> None:
        """Store the facts about all files of a storage."""
        self.write_value(self._facts_key(uri), {key: asdict(each) for key, each in facts.items()})

    def known_digests(self, uri: str, objects: Iterable[StoredObject]) -> dict[str, str]:
        """The SHA-256 of the objects of a storage that have not changed since `remember`, by key."""
        before = self._listing(uri)
        return {
            item.key: before[item.key][2]
            for item in objects
            if item.version and before.get(item.key, [])[:2] == [item.size, item.version]
        }

    def remember(self, uri: str, objects: Iterable[StoredObject], digests: Mapping[str, str]) -> None:
        """Store the SHA-256 of all objects of a storage whose listing reliably shows changes."""
        before, after = self._listing(uri), {}
        for item in objects:
            if item.version and digests.get(item.key):
                after[item.key] = [item.size, item.version, digests[item.key]]
            elif item.key in before:
                after[item.key] = before[item.key]
        if after != before:
            self.write_value(self._listing_key(uri), after)

    def read_value(self, key: str) -> Any:
        """A JSON value that was stored under a key with the texts; None if there is none, or it cannot be read."""
        content = self._read(f"{FOLDER}/{key}")
        try:
            return json.loads(gzip.decompress(content)) if content else None
        except (OSError, EOFError, ValueError):
            return None

    def _listing(self, uri: str) -> dict[str, list[Any]]:
        value = self.read_value(self._listing_key(uri))
        good = isinstance(value, dict) and all(isinstance(row, list) and len(row) == 3 for row in value.values())
        return value if good else {}

    def _key(self, file_digest: str, name: str) -> str:
        return f"{self.version}/{file_digest[:2]}/{file_digest}{extension(name)}.json.gz"

    def _facts_key(self, uri: str) -> str:
        return self._listing_key(uri).replace(".json", f"-{self.version}.json")

    @staticmethod
    def _listing_key(uri: str) -> str:
        return f"listings/{sha256(uri.encode(errors='replace')).hexdigest()[:32]}.json.gz"

    def _read(self, key: str) -> bytes | None:
        try:
            return self._storage.read_if_there(key) if self._storage else None
        except StorageError as error:
            logger.info("a text cannot be looked up: %s", error)
            return None

    def write_value(self, key: str, value: Any) -> bool:
        """Store a JSON value under a key with the texts; returns False if that is not possible."""
        if self._storage is None:
            return False
        text = json.dumps(value, ensure_ascii=False).encode(errors="replace")
        try:
            if not self._is_ready:
                self._storage.ensure()
                self._is_ready = True
            self._storage.write_bytes(f"{FOLDER}/{key}", gzip.compress(text, 5, mtime=0), durable=False)
        except StorageError as error:
            logger.warning("the text of documents cannot be stored, so it is extracted again next time: %s", error)
            self._storage = None
            return False
        return True
