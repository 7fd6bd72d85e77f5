"""The text of files in storage: a file is read once, and its text found by every later command, trial and experiment.

<cache>/texts/<version of the readers>/<2 digits>/<SHA-256 of the file><extension>.json.gz    a `Reading`
<cache>/texts/listings/<digest of a storage's URI>.json.gz        the SHA-256 of files by key, size and version

An entry that is damaged is ignored and written again. The listing saves the download of files that have not changed.
"""

import gzip
import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dream.documents.file_types import Reading, ReadingOptions, extension
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
# Modules that decide nothing about the text of a file.
_NOT_READERS = (
    "__init__.py",
    "loading.py",
    "parsing.py",
    "sample_documents.py",
    "sources.py",
    "text_store.py",
    "uploading.py",
)

logger = logging.getLogger(__name__)


@cache
def readers_version(options: ReadingOptions) -> str:
    """16 digits that change with the code of the readers, the libraries they use, and the options."""
    modules = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_READERS)
    code = {path.name: sha256(path.read_bytes()).hexdigest() for path in modules}
    return digest([code, {name: _version(name) for name in LIBRARIES}, asdict(options)])[:16]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


class TextStore:
    """The texts of one version of the readers; `storage` None keeps nothing. Storage that fails is as if empty."""

    def __init__(self, storage: Storage | None, options: ReadingOptions) -> None:
        self._storage, self._version = storage, readers_version(options)
        self._is_ready = False

    def get(self, file_digest: str, name: str) -> Reading | None:
        """The text of a file, None if it is not kept."""
        content = self._read(self._key(file_digest, name))
        if content is None:
            return None
        try:
            value = json.loads(gzip.decompress(content))
            pages = tuple((int(number), str(text)) for number, text in value["pages"])
            return Reading(**{**value, "pages": pages, "left_out": tuple(value["left_out"])})
        except (OSError, EOFError, ValueError, TypeError, LookupError):
            return None

    def put(self, file_digest: str, name: str, reading: Reading) -> None:
        """Keep the text of a file."""
        if reading.is_repeatable:
            self._write(self._key(file_digest, name), asdict(reading))

    def get_all(self, files: Mapping[str, str]) -> dict[str, Reading]:
        """The texts that are kept, by name; `files` has the digest of each."""
        if self._storage is None or not files:
            return {}
        with ThreadPoolExecutor(min(THREADS, len(files))) as threads:
            found = threads.map(lambda name: self.get(files[name], name), files)
            return {name: reading for name, reading in zip(files, found, strict=True) if reading is not None}

    def known_digests(self, uri: str, objects: Iterable[StoredObject]) -> dict[str, str]:
        """The SHA-256 of the objects of a storage that have not changed since `remember`, by key."""
        before = self._listing(uri)
        return {
            item.key: before[item.key][2]
            for item in objects
            if item.version and before.get(item.key, [])[:2] == [item.size, item.version]
        }

    def remember(self, uri: str, objects: Iterable[StoredObject], digests: Mapping[str, str]) -> None:
        """Keep the SHA-256 of all objects of a storage whose listing shows any change."""
        before, after = self._listing(uri), {}
        for item in objects:
            if item.version and digests.get(item.key):
                after[item.key] = [item.size, item.version, digests[item.key]]
            elif item.key in before:
                after[item.key] = before[item.key]
        if after != before:
            self._write(self._listing_key(uri), after)

    def _listing(self, uri: str) -> dict[str, list[Any]]:
        content = self._read(self._listing_key(uri))
        try:
            value = json.loads(gzip.decompress(content)) if content else {}
        except (OSError, EOFError, ValueError):
            return {}
        good = isinstance(value, dict) and all(isinstance(row, list) and len(row) == 3 for row in value.values())
        return value if good else {}

    def _key(self, file_digest: str, name: str) -> str:
        return f"{FOLDER}/{self._version}/{file_digest[:2]}/{file_digest}{extension(name)}.json.gz"

    @staticmethod
    def _listing_key(uri: str) -> str:
        return f"{FOLDER}/listings/{sha256(uri.encode(errors='replace')).hexdigest()[:32]}.json.gz"

    def _read(self, key: str) -> bytes | None:
        try:
            return self._storage.read_if_there(key) if self._storage else None
        except StorageError as error:
            logger.info("a text cannot be looked up: %s", error)
            return None

    def _write(self, key: str, value: Any) -> None:
        if self._storage is None:
            return
        text = json.dumps(value, ensure_ascii=False).encode(errors="replace")
        try:
            if not self._is_ready:
                self._storage.ensure()
                self._is_ready = True
            self._storage.write_bytes(key, gzip.compress(text, 5, mtime=0), durable=False)
        except StorageError as error:
            logger.warning("the text of documents is read again next time, as it cannot be kept: %s", error)
            self._storage = None
