"""Files on disk: atomic writes, and errors that name the path and the remedy."""

import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dream.errors import StorageError

# The prefix of incomplete files, which a killed writer leaves behind; listings skip them.
PARTIAL = ".dream-partial-"
CHUNK_BYTES = 1 << 20
# Clocks of file systems are no coarser than this.
CLOCK_SECONDS = 2.0

_RIGHTS = "give this user the permission, or choose another folder (DREAM_HOME)"
_DISK_FULL = "free some space, or choose a folder on another disk (DREAM_HOME)"
_ADVICE = {
    errno.ENOENT: "check the name, or create it first",
    errno.ENOTDIR: "part of this path is a file, not a folder; choose a folder",
    errno.EEXIST: "it is a file, not a folder; choose a folder",
    errno.EISDIR: "it is a folder, not a file; name a file in it",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "choose a folder that can be written (DREAM_HOME)",
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write(path: Path, content: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a file atomically: to a temporary file in the same folder, which is then renamed.

    With `durable` the content is flushed to the disk, so that it survives a crash of the machine.
    """
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "xb") as file:
                file.writelines(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The content of an open file in chunks of `CHUNK_BYTES`."""
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def size(file: IO[bytes]) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def digest(path: str | Path) -> str:
    """The SHA-256 of a file's content in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk(root: str | Path, below: str = "") -> Iterator[tuple[str, int, float, str]]:
    """The files under a folder: path relative to `root` with "/", size in bytes, modification time (since 1970), and
    version (see `StoredObject`).

    A missing folder has no files. Symbolic links to files are followed, links to folders are not.

    Args:
        below: a path relative to the root, to list only that subfolder.
    """

    def raise_unless_missing(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, _, names in os.walk(Path(root, below), onerror=raise_unless_missing):
        for path in (Path(folder, name) for name in names if not name.startswith(PARTIAL)):
            if (status := _stat_of_regular(path)) is not None:
                yield path.relative_to(root).as_posix(), status.st_size, status.st_mtime, _version(status)


def _version(status: os.stat_result) -> str:
    """A text that changes with the file; "" just after a change, when the clock may not show the next one."""
    if time.time() - status.st_ctime < CLOCK_SECONDS:
        return ""
    return f"{status.st_dev}-{status.st_ino}-{status.st_ctime_ns}-{status.st_mtime_ns}"


def _stat_of_regular(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        # Deleted since the listing, or a broken link.
        return None
    return status if stat.S_ISREG(status.st_mode) else None


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Convert `OSError`s to `StorageError`s with a remedy; `path` is named if the error names no file."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}"
        advice = _ADVICE.get(error.errno or 0)
        raise StorageError(f"{message}: {advice}" if advice else message) from error
