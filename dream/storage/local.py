"""Objects in a local folder."""

from dataclasses import dataclass
from pathlib import Path

from dream.storage import local_files
from dream.storage.base import Listing, Storage, StoredObject, check_key


@dataclass(frozen=True)
class LocalStorage(Storage):
    """The files in a folder and its subfolders. Symbolic links to files are followed, links to folders are not."""

    root: str

    def uri(self, key: str = "") -> str:
        return str(Path(self.root, key))

    def ensure(self) -> None:
        with local_files.explained(self.root):
            Path(self.root).mkdir(parents=True, exist_ok=True)

    def list(self, prefix: str = "") -> Listing:
        with local_files.explained(self.root):
            files = sorted(local_files.walk(self.root, prefix.rpartition("/")[0]))
        return [StoredObject(*file) for file in files if file[0].startswith(prefix)]

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
