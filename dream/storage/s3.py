"""Objects in a bucket, or under a prefix in it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dream.storage import local_files
from dream.storage.base import Listing, Storage, StoredObject, check_key
from dream.storage.bucket import Bucket


@dataclass(frozen=True)
class S3Storage(Storage):
    """A bucket, or the objects under a prefix in it."""

    bucket: Bucket
    prefix: str = ""

    def uri(self, key: str = "") -> str:
        return "/".join(part for part in (f"s3://{self.bucket.name}", self.prefix, key) if part)

    def ensure(self) -> None:
        self.bucket.ensure()

    def list(self, prefix: str = "") -> Listing:
        root = f"{self.prefix}/" if self.prefix else ""
        # Web consoles create empty objects whose keys end in "/" as folders.
        objects = [
            StoredObject(key[len(root) :], size, modified, version)
            for key, size, modified, version in self.bucket.list(root + prefix)
            if not key.endswith("/")
        ]
        return sorted(objects, key=lambda item: item.key)

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
