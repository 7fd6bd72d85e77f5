"""Files on disk: whole or not at all, and every error says where and what to do."""

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dream.errors import StorageError

# A writer that was killed leaves a file of this name behind; nobody ever lists it.
PARTIAL = ".dream-partial-"
CHUNK_BYTES = 1 << 20

_RIGHTS = "give this user the right to it, or choose another folder (DREAM_HOME)"
_ROOM = "make room, or choose a folder on another disk (DREAM_HOME)"
_ADVICE = {
    errno.ENOENT: "check the name, or put it there first",
    errno.ENOTDIR: "part of this path is a file, not a folder; choose a folder",
    errno.EEXIST: "it is a file, not a folder; choose a folder",
    errno.EISDIR: "it is a folder, not a file; name a file in it",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "choose a folder that can be written (DREAM_HOME)",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write(path: Path, content: Iterable[bytes], *, durable: bool = True) -> None:
    """Write beside the target, then rename, so that the target is never half written.

    With `durable` the content has reached the disk on return, and survives the machine's end.
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
    """The content of an open file, a piece at a time."""
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def size(file: IO[bytes]) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def digest(path: str | Path) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk(root: str | Path, below: str = "") -> Iterator[tuple[str, int, float]]:
    """Relative path with "/", size and time of change of each file under a folder; none if there is no folder.

    `below` is a path from the root on, to look at that folder alone.

    Symbolic links to files are followed, those to folders are not.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, _, names in os.walk(Path(root, below), onerror=refuse):
        for path in (Path(folder, name) for name in names if not name.startswith(PARTIAL)):
            if (found := _stat_of_regular(path)) is not None:
                yield path.relative_to(root).as_posix(), found.st_size, found.st_mtime


def _stat_of_regular(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        # Deleted meanwhile, or a link to nothing.
        return None
    return found if stat.S_ISREG(found.st_mode) else None


@contextmanager
def explained(place: str | Path) -> Iterator[None]:
    """Turn errors of the file system into `StorageError`s."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        path, reason = error.filename or place, error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0)
        raise StorageError(f"{path}: {reason}: {advice}" if advice else f"{path}: {reason}") from error
