"""The interface of storage, and its methods for texts, tables and JSON.

A key is a relative path with "/", such as "papers/a.pdf"; a key that leads out of the root is refused. Writes are
atomic: a reader sees the old content or the new, never a part of it.
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
    """One object of a listing; `size` in bytes, `modified` in seconds since 1970.

    `version` changes whenever the content changes; "" if storage cannot guarantee that.
    """

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)
    version: str = field(default="", compare=False)


# Within the class `Storage`, the name `list` is its method.
Listing = list[StoredObject]
Values = list[Any]


def check_key(key: str) -> str:
    """Return a valid key unchanged.

    Raises:
        StorageError: for a key outside of the root, or a key that some storage cannot represent.
    """
    parts = key.split("/")
    invalid = [part for part in parts if part in ("", ".", "..") or part.startswith(local_files.PARTIAL)]
    if invalid or "\\" in key or "\0" in key or key.encode(errors="ignore").decode() != key:
        raise StorageError(f"{key!r} cannot be a key: write a relative path with '/', such as 'papers/a.pdf'")
    return key


class Storage(ABC):
    """Objects under one root. Instances can be pickled; every operation that fails raises `StorageError`."""

    @abstractmethod
    def uri(self, key: str = "") -> str:
        """The URI of an object, or of the root for an empty key."""

    @abstractmethod
    def ensure(self) -> None:
        """Create the bucket or folder if it does not exist."""

    @abstractmethod
    def list(self, prefix: str = "") -> Listing:
        """All objects whose keys start with `prefix`, sorted by key; empty for a folder that does not exist."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """True if an object has this key."""

    @abstractmethod
    def read_bytes(self, key: str) -> bytes:
        """The content of an object; a StorageError if it does not exist."""

    @abstractmethod
    def read_if_there(self, key: str) -> bytes | None:
        """The content of an object, None if it does not exist."""

    @abstractmethod
    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """Store an object. With `durable=False`, it may be lost if the machine crashes."""

    @abstractmethod
    def upload(self, path: str | Path, key: str) -> bool:
        """Store a file of any size; returns False if the object exists already with the same SHA-256."""

    @abstractmethod
    def download(self, key: str, path: str | Path) -> None:
        """Copy an object of any size to a file, atomically."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; a missing object is not an error."""

    def in_memory(self, keys: Iterable[str]) -> "Storage":
        """Storage that workers on other machines can read: a copy of these objects in memory, or S3 itself."""
        from dream.storage.memory import MemoryStorage

        return MemoryStorage(self.uri(), {key: self.read_bytes(key) for key in keys})

    def read_text(self, key: str) -> str:
        """A UTF-8 text with unchanged line endings."""
        try:
            return self.read_bytes(key).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.uri(key)} is not UTF-8 ({error}): save it as UTF-8 and try again") from error

    def write_text(self, key: str, text: str) -> None:
        """Store a text as UTF-8 with unchanged line endings."""
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise StorageError(f"{self.uri(key)}: the text cannot be stored as UTF-8 ({error})") from error
        self.write_bytes(key, content)

    def read_csv(self, key: str) -> "pandas.DataFrame":
        """A CSV file as a table of texts: no value is converted, "007", "NA" and "" stay unchanged."""
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
        """Store a table as CSV without its index; texts are quoted, so that line breaks and leading zeros survive."""
        self.write_text(key, table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))

    def read_json(self, key: str) -> Any:
        """A JSON value; a StorageError if the object is not JSON."""
        return self._parse(key, self.read_text(key), "")

    def write_json(self, key: str, value: Any) -> None:
        """Store a JSON value, indented."""
        self.write_bytes(key, _json_bytes(value, indent=2))

    def read_json_lines(self, key: str) -> Values:
        """The values of an object in JSON Lines format."""
        lines = self.read_text(key).split("\n")
        return [self._parse(key, line, f", line {n}") for n, line in enumerate(lines, start=1) if line.strip()]

    def write_json_lines(self, key: str, values: Iterable[Any]) -> None:
        """Store values in JSON Lines format."""
        self.write_bytes(key, b"".join(_json_bytes(value) for value in values))

    def _parse(self, key: str, text: str, position: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise StorageError(f"{self.uri(key)}{position} is not JSON ({error}): correct or delete it") from error


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # A lone surrogate cannot be encoded as UTF-8; its backslash escape is valid JSON for the same character.
    return text.encode(errors="backslashreplace") + b"\n"
