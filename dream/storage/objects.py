"""Objects by URI: the same calls on `s3://bucket/prefix` and on a local folder.

A key is a relative path with "/", such as "papers/a.pdf"; one that would leave the root is refused.
A write is all or nothing: a reader sees the old content or the new, never half of it.
"""

import csv
import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from dream.errors import ConfigurationError, StorageError
from dream.settings import Settings
from dream.storage import local_files
from dream.storage.s3 import Bucket

if TYPE_CHECKING:
    import pandas

_BUCKET = re.compile(r"(?!\d+(\.\d+){3}$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing; `size` in bytes, `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)


# Inside the class, `list` is its method.
Listing = list[StoredObject]
Values = list[Any]


def open_storage(uri: str, settings: Settings) -> "Storage":
    """The storage at `s3://bucket/prefix`, at a folder's path, or at `file:///folder`; nothing is touched yet.

    Raises:
        ConfigurationError: when the URI cannot be one.

    Example:
        >>> open_storage("s3://documents/papers/", Settings.from_environment({})).uri("a.pdf")
        's3://documents/papers/a.pdf'
    """
    scheme, separator, rest = uri.partition("://")
    if not uri.strip() or (uri.lower().startswith("s3:") and not separator):
        raise ConfigurationError(f"{uri!r} is not a place for objects: write s3://bucket/prefix or a folder")
    if not separator:
        return LocalStorage(str(Path(uri).expanduser().resolve()))
    if scheme.lower() == "file" and rest.startswith("/"):
        return LocalStorage(str(Path(unquote(rest)).resolve()))
    if scheme.lower() != "s3":
        raise ConfigurationError(f"{uri!r} is not supported: write s3://bucket/prefix, file:///folder or a folder")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        rule = "3 to 63 small letters, digits, hyphens and dots, with a letter or a digit at both ends"
        raise ConfigurationError(f"{uri!r}: {bucket!r} cannot be the name of a bucket: give {rule}")
    keys = (settings.s3_access_key_id, settings.s3_secret_access_key)
    return S3Storage(Bucket(bucket, settings.s3_endpoint_url, settings.s3_region, *keys), prefix.strip("/"))


def check_key(key: str) -> str:
    """The key itself; StorageError for one that would leave the root or that not every storage can hold."""
    parts = key.split("/")
    wrong = [part for part in parts if part in ("", ".", "..") or part.startswith(local_files.PARTIAL)]
    if wrong or "\\" in key or "\0" in key or key.encode(errors="ignore").decode() != key:
        raise StorageError(f"{key!r} cannot be a key: write a relative path with '/', such as 'papers/a.pdf'")
    return key


class Storage(ABC):
    """Objects under one root. It travels to Ray workers; what cannot be done raises `StorageError`."""

    @abstractmethod
    def uri(self, key: str = "") -> str:
        """Where an object is, or the root for no key."""

    @abstractmethod
    def ensure(self) -> None:
        """Create the bucket or the folder where it is missing."""

    @abstractmethod
    def list(self, prefix: str = "") -> Listing:
        """All objects whose keys start with `prefix`, sorted by key; a folder that does not exist has none."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    @abstractmethod
    def read_bytes(self, key: str) -> bytes: ...

    @abstractmethod
    def read_if_there(self, key: str) -> bytes | None:
        """The content of an object, None where there is none."""

    @abstractmethod
    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """Store an object. One that is not `durable` survives any process, but may be lost with the machine."""

    @abstractmethod
    def upload(self, path: str | Path, key: str) -> bool:
        """Store a file of any size; False when an object with the same SHA-256 digest is already there."""

    @abstractmethod
    def download(self, key: str, path: str | Path) -> None:
        """Copy an object of any size to a file, which appears when it is complete."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def in_memory(self, keys: Iterable[str]) -> "Storage":
        """What a worker on another machine can read: a copy of these objects, or this very storage if it is S3."""
        return MemoryStorage(self.uri(), {key: self.read_bytes(key) for key in keys})

    def read_text(self, key: str) -> str:
        """A UTF-8 text with its line ends as they are."""
        try:
            return self.read_bytes(key).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.uri(key)} is not UTF-8 ({error}): save it as UTF-8 and try again") from error

    def write_text(self, key: str, text: str) -> None:
        """Store a text as UTF-8 with its line ends as they are."""
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise StorageError(f"{self.uri(key)}: the text cannot be stored as UTF-8 ({error})") from error
        self.write_bytes(key, content)

    def read_csv(self, key: str) -> "pandas.DataFrame":
        """A table of texts, exactly as they were: "007", "NA" and "" stay; a missing value comes back as ""."""
        import pandas

        text = self.read_text(key).removeprefix("\ufeff")
        csv.field_size_limit(2**31 - 1)
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except csv.Error as error:
            raise StorageError(f"{self.uri(key)} is not a CSV file ({error}): mend or replace it") from error
        header = rows[0] if rows else []
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(header):
                problem = f"row {number} has {len(row)} fields, the header (row 1) has {len(header)}"
                raise StorageError(f"{self.uri(key)}: {problem}; put quotes around text that holds a comma or a quote")
        return pandas.DataFrame(rows[1:], columns=pandas.Index(header), dtype=object)

    def write_csv(self, key: str, table: "pandas.DataFrame") -> None:
        """Store a table without its index: texts in quotes, so that line ends, quotes and zeros survive."""
        self.write_text(key, table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))

    def read_json(self, key: str) -> Any:
        return self._parse(key, self.read_text(key), "")

    def write_json(self, key: str, value: Any) -> None:
        """Store a JSON value, indented, for people to read."""
        self.write_bytes(key, _json_bytes(value, indent=2))

    def read_json_lines(self, key: str) -> Values:
        """The JSON values of a file with one in each line."""
        lines = self.read_text(key).split("\n")
        return [self._parse(key, line, f", line {n}") for n, line in enumerate(lines, start=1) if line.strip()]

    def write_json_lines(self, key: str, values: Iterable[Any]) -> None:
        self.write_bytes(key, b"".join(_json_bytes(value) for value in values))

    def _parse(self, key: str, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise StorageError(f"{self.uri(key)}{where} is not JSON ({error}): mend or delete it") from error


@dataclass(frozen=True)
class LocalStorage(Storage):
    """A folder. Symbolic links to files are followed, those to folders are not."""

    root: str

    def uri(self, key: str = "") -> str:
        return str(Path(self.root, key))

    def ensure(self) -> None:
        with local_files.explained(self.root):
            Path(self.root).mkdir(parents=True, exist_ok=True)

    def list(self, prefix: str = "") -> Listing:
        with local_files.explained(self.root):
            found = [
                found for found in local_files.walk(self.root, prefix.rpartition("/")[0]) if found[0].startswith(prefix)
            ]
        return [StoredObject(*item) for item in sorted(found)]

    def exists(self, key: str) -> bool:
        with local_files.explained(self.uri(key)):
            return self._path(key).is_file()

    def read_bytes(self, key: str) -> bytes:
        with local_files.explained(self.uri(key)):
            return self._path(key).read_bytes()

    def read_if_there(self, key: str) -> bytes | None:
        with local_files.explained(self.uri(key)):
            try:
                return self._path(key).read_bytes()
            except FileNotFoundError:
                return None

    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        local_files.write(self._path(key), [content], durable=durable)

    def upload(self, path: str | Path, key: str) -> bool:
        target = self._path(key)
        with local_files.explained(path), open(path, "rb") as source:
            if target.is_file() and local_files.digest(target) == local_files.digest(path):
                return False
            local_files.write(target, local_files.chunks(source))
        return True

    def download(self, key: str, path: str | Path) -> None:
        with local_files.explained(self.uri(key)), open(self._path(key), "rb") as source:
            local_files.write(Path(path), local_files.chunks(source))

    def delete(self, key: str) -> None:
        with local_files.explained(self.uri(key)):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return Path(self.root, check_key(key))


@dataclass(frozen=True)
class MemoryStorage(Storage):
    """Objects that travel with a task, to be read only. `origin` is where they come from."""

    origin: str
    contents: Mapping[str, bytes] = field(repr=False)

    def uri(self, key: str = "") -> str:
        return f"{self.origin}/{key}" if key else self.origin

    def ensure(self) -> None:
        """Nothing to create."""

    def list(self, prefix: str = "") -> Listing:
        return [StoredObject(key, len(self.contents[key])) for key in sorted(self.contents) if key.startswith(prefix)]

    def exists(self, key: str) -> bool:
        return check_key(key) in self.contents

    def read_bytes(self, key: str) -> bytes:
        if not self.exists(key):
            raise StorageError(f"{self.uri(key)} was not sent along; there are: {', '.join(sorted(self.contents))}")
        return self.contents[key]

    def download(self, key: str, path: str | Path) -> None:
        local_files.write(Path(path), [self.read_bytes(key)])

    def read_if_there(self, key: str) -> bytes | None:
        return self.contents.get(check_key(key))

    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        self._refuse(key)

    def upload(self, path: str | Path, key: str) -> bool:
        self._refuse(key)

    def delete(self, key: str) -> None:
        self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        raise StorageError(f"{self.uri(key)} cannot be changed: this is a copy in memory")


@dataclass(frozen=True)
class S3Storage(Storage):
    """A bucket, or what is under a prefix in it."""

    bucket: Bucket
    prefix: str = ""

    def uri(self, key: str = "") -> str:
        return "/".join(part for part in (f"s3://{self.bucket.name}", self.prefix, key) if part)

    def ensure(self) -> None:
        self.bucket.ensure()

    def list(self, prefix: str = "") -> Listing:
        root = f"{self.prefix}/" if self.prefix else ""
        # Consoles make empty objects whose key ends in "/", to show folders.
        found = [
            StoredObject(key[len(root) :], size, modified)
            for key, size, modified in self.bucket.list(root + prefix)
            if not key.endswith("/")
        ]
        return sorted(found, key=lambda item: item.key)

    def exists(self, key: str) -> bool:
        return self.bucket.head(self._full(key)) is not None

    def read_bytes(self, key: str) -> bytes:
        return b"".join(self.bucket.chunks(self._full(key)))

    def read_if_there(self, key: str) -> bytes | None:
        return self.bucket.content(self._full(key))

    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        self.bucket.put(self._full(key), content, {"sha256": hashlib.sha256(content).hexdigest()})

    def upload(self, path: str | Path, key: str) -> bool:
        full = self._full(key)
        with local_files.explained(path), open(path, "rb") as source:
            metadata = {"sha256": local_files.digest(path)}
            if self.bucket.head(full) == (local_files.size(source), metadata):
                return False
            self.bucket.put_file(full, source, metadata)
        return True

    def download(self, key: str, path: str | Path) -> None:
        local_files.write(Path(path), self.bucket.chunks(self._full(key)))

    def delete(self, key: str) -> None:
        self.bucket.delete(self._full(key))

    def in_memory(self, keys: Iterable[str]) -> "Storage":
        return self

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # A lone surrogate is no UTF-8; its backslash form is JSON for the same character.
    return text.encode(errors="backslashreplace") + b"\n"
