"""Objects in memory, for workers that cannot read the driver's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from dream.errors import StorageError
from dream.storage import local_files
from dream.storage.base import Listing, Storage, StoredObject, check_key


@dataclass(frozen=True)
class MemoryStorage(Storage):
    """Read-only copies of objects, which are pickled with a task. `origin` is the URI of the copied storage."""

    origin: str
    contents: Mapping[str, bytes] = field(repr=False)

    def uri(self, key: str = "") -> str:
        return f"{self.origin}/{key}" if key else self.origin

    def ensure(self) -> None:
        """Do nothing: there is nothing to create."""

    def list(self, prefix: str = "") -> Listing:
        return [StoredObject(key, len(self.contents[key])) for key in sorted(self.contents) if key.startswith(prefix)]

    def exists(self, key: str) -> bool:
        return check_key(key) in self.contents

    def read_bytes(self, key: str) -> bytes:
        if not self.exists(key):
            raise StorageError(
                f"{self.uri(key)} was not copied for this task; available: {', '.join(sorted(self.contents))}"
            )
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
