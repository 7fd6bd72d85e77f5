"""The interface of every storage, and what all kinds have in common: texts, tables and JSON.

A key is a relative path with "/", such as "papers/a.pdf"; a key that leads out of the root is refused.
A write is atomic: a reader sees the old content or the new, never a part.
"""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream.errors import StorageError
from dream.storage import local_files

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing; `size` in bytes, `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)


# Inside the class, `list` is its method.
Listing = list[StoredObject]
Values = list[Any]


def check_key(key: str) -> str:
    """The key itself; StorageError if it leads out of the root or cannot be stored everywhere."""
    parts = key.split("/")
    invalid = [part for part in parts if part in ("", ".", "..") or part.startswith(local_files.PARTIAL)]
    if invalid or "\\" in key or "\0" in key or key.encode(errors="ignore").decode() != key:
        raise StorageError(f"{key!r} cannot be a key: write a relative path with '/', such as 'papers/a.pdf'")
    return key


class Storage(ABC):
    """Objects under one root. It can be pickled to Ray workers; what cannot be done raises `StorageError`."""

    @abstractmethod
    def uri(self, key: str = "") -> str:
        """The URI of an object, or of the root for no key."""

    @abstractmethod
    def ensure(self) -> None:
        """Create the bucket or the folder if it is missing."""

    @abstractmethod
    def list(self, prefix: str = "") -> Listing:
        """All objects whose keys start with `prefix`, sorted by key; a folder that does not exist has none."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """True if there is an object of this key."""

    @abstractmethod
    def read_bytes(self, key: str) -> bytes:
        """The content of an object; StorageError if there is none."""

    @abstractmethod
    def read_if_there(self, key: str) -> bytes | None:
        """The content of an object, None if there is none."""

    @abstractmethod
    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """Store an object. One that is not `durable` survives any process, but may be lost with the machine."""

    @abstractmethod
    def upload(self, path: str | Path, key: str) -> bool:
        """Store a file of any size; False when an object with the same SHA-256 digest is already there."""

    @abstractmethod
    def download(self, key: str, path: str | Path) -> None:
        """Copy an object of any size to a file, which appears once it is complete."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def in_memory(self, keys: Iterable[str]) -> "Storage":
        """Storage that a worker on another machine can read: a copy of these objects, or S3 itself."""
        from dream.storage.memory import MemoryStorage

        return MemoryStorage(self.uri(), {key: self.read_bytes(key) for key in keys})

    def read_text(self, key: str) -> str:
        """A UTF-8 text with its line ends unchanged."""
        try:
            return self.read_bytes(key).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.uri(key)} is not UTF-8 ({error}): save it as UTF-8 and try again") from error

    def write_text(self, key: str, text: str) -> None:
        """Store a text as UTF-8 with its line ends unchanged."""
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise StorageError(f"{self.uri(key)}: the text cannot be stored as UTF-8 ({error})") from error
        self.write_bytes(key, content)

    def read_csv(self, key: str) -> "pandas.DataFrame":
        """A table of texts, unconverted: "007", "NA" and "" stay as they are; a missing value becomes ""."""
        import pandas

        text = self.read_text(key).removeprefix("\ufeff")
        csv.field_size_limit(2**31 - 1)
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except csv.Error as error:
            raise StorageError(f"{self.uri(key)} is not a CSV file ({error}): correct or replace it") from error
        header = rows[0] if rows else []
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(header):
                problem = f"row {number} has {len(row)} fields, the header (row 1) has {len(header)}"
                raise StorageError(f"{self.uri(key)}: {problem}; quote texts that contain a comma or a quote")
        return pandas.DataFrame(rows[1:], columns=pandas.Index(header), dtype=object)

    def write_csv(self, key: str, table: "pandas.DataFrame") -> None:
        """Store a table without its index; texts are quoted, so that line ends, quotes and leading zeros survive."""
        self.write_text(key, table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))

    def read_json(self, key: str) -> Any:
        """A JSON value; StorageError if the object is not JSON."""
        return self._parse(key, self.read_text(key), "")

    def write_json(self, key: str, value: Any) -> None:
        """Store a JSON value, indented for people to read."""
        self.write_bytes(key, _json_bytes(value, indent=2))

    def read_json_lines(self, key: str) -> Values:
        """The JSON values of an object with one value per line."""
        lines = self.read_text(key).split("\n")
        return [self._parse(key, line, f", line {n}") for n, line in enumerate(lines, start=1) if line.strip()]

    def write_json_lines(self, key: str, values: Iterable[Any]) -> None:
        """Store JSON values, one per line."""
        self.write_bytes(key, b"".join(_json_bytes(value) for value in values))

    def _parse(self, key: str, text: str, position: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise StorageError(f"{self.uri(key)}{position} is not JSON ({error}): correct or delete it") from error


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # A lone surrogate is no UTF-8; its backslash form is JSON for the same character.
    return text.encode(errors="backslashreplace") + b"\n"
