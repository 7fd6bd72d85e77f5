"""Reads files in parallel, with one process per CPU if there is enough to read, else in this process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from dream.documents.file_types import Reading, ReadingOptions, extension
from dream.documents.readers import read_file
from dream.documents.text_store import TextFacts, TextStore
from dream.errors import StorageError, explain
from dream.storage import Storage
from dream.storage.memory import MemoryStorage

Submit = Callable[..., "Future[Any]"]

# The usual reading time of a file by its type; a process takes half a second to start.
SECONDS_PER_MB = {".pdf": 0.2, ".txt": 0.02, ".md": 0.02, ".csv": 1.0}
OTHER_SECONDS_PER_MB = 2.0
SECONDS_FOR_PROCESSES = 3.0
PROCESSES_AT_MOST = 8
# Files in progress or waiting, per process.
IN_FLIGHT = 2
# Files in progress on the workers of a cluster.
FAR_IN_FLIGHT = 32
# CPU seconds for one file after which the operating system ends the process.
CPU_SECONDS_PER_FILE = 1200
ATTEMPTS = 2
WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class FileToRead:
    """A file of a storage; `size` in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class ReadFile:
    """The facts about a file that was read, and its text if it was not stored."""

    facts: TextFacts
    unkept: Reading | None = None


@dataclass(frozen=True)
class Readers:
    """Readers of files in a storage, with options and a store for the texts."""

    storage: Storage
    texts: TextStore
    options: ReadingOptions

    def read(self, name: str) -> ReadFile:
        """Read a file and store its text, unless it is already stored."""
        content = self.storage.read_bytes(name)
        file_digest = sha256(content).hexdigest()
        if (kept := self.texts.get(file_digest, name)) is not None:
            return ReadFile(TextFacts.of(file_digest, kept))
        return self.kept(name, file_digest, read_file(name, content, self.options))

    def kept(self, name: str, file_digest: str, reading: Reading) -> ReadFile:
        """Store a text, if possible."""
        is_kept = self.texts.put(file_digest, name, reading)
        return ReadFile(TextFacts.of(file_digest, reading), None if is_kept else reading)

    def sent(self, name: str, far: bool) -> "Readers":
        """The readers in the form that a task for one file receives.

        Args:
            far: True if the task runs on another machine, which can access S3, but no folder of this one.
        """
        if far or isinstance(self.storage, MemoryStorage):
            return Readers(self.storage.in_memory([name]), self.texts.shared() if far else self.texts, self.options)
        return self


def read_files(
    files: Sequence[FileToRead],
    readers: Readers,
    submit: Submit | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[tuple[FileToRead, ReadFile]]:
    """Read files and store their texts; yields each file as soon as it is read.

    Args:
        submit: runs tasks elsewhere (`dream.engines.Engine.submit`); by default processes of this machine, which read
            files and write texts.
        waiting: called about every second while no file is finished.
    """
    if len(files) < 2 or _seconds(files) < SECONDS_FOR_PROCESSES or (submit is None and n_processes() < 2):
        for file in files:
            yield file, readers.read(file.name)
        return
    far = submit is not None
    with _submitting(submit, n_processes(len(files))) as start:
        in_flight = FAR_IN_FLIGHT if far else n_processes(len(files)) * IN_FLIGHT
        for file, found in _in_processes(files, partial(_start, readers, start, far), in_flight, waiting):
            if far and found.unkept is not None:
                found = readers.kept(file.name, found.facts.digest, found.unkept)
            yield file, found


def _start(readers: Readers, submit: Submit, far: bool, file: FileToRead) -> "Future[ReadFile]":
    """Start to read a file, unless its text is already stored."""
    sent = readers.sent(file.name, far)
    if far and isinstance(sent.storage, MemoryStorage):
        file_digest = sha256(sent.storage.read_bytes(file.name)).hexdigest()
        if (kept := readers.texts.get(file_digest, file.name)) is not None:
            found: Future[ReadFile] = Future()
            found.set_result(ReadFile(TextFacts.of(file_digest, kept)))
            return found
    return submit(_read, file.name, sent)


def _read(name: str, readers: Readers) -> ReadFile:
    """The task."""
    return readers.read(name)


def n_processes(n_files: int = PROCESSES_AT_MOST) -> int:
    """The number of processes that read at the same time."""
    from dream.engines.choice import cpu_count

    return min(cpu_count(), PROCESSES_AT_MOST, n_files)


def _seconds(files: Sequence[FileToRead]) -> float:
    return sum(file.size / 1e6 * SECONDS_PER_MB.get(extension(file.name), OTHER_SECONDS_PER_MB) for file in files)


@contextmanager
def _submitting(submit: Submit | None, size: int) -> Iterator[Submit]:
    """A function that starts tasks, by default in `size` processes of this machine."""
    if submit is not None:
        yield submit
        return
    from dream.engines.processes import ProcessPool

    pool = ProcessPool(size)
    try:
        yield lambda task, *arguments: pool.submit(_within, CPU_SECONDS_PER_FILE, task, *arguments)
    finally:
        pool.close()


def _in_processes(
    files: Sequence[FileToRead],
    start: "Callable[[FileToRead], Future[ReadFile]]",
    in_flight: int,
    waiting: Callable[[], None],
) -> Iterator[tuple[FileToRead, ReadFile]]:
    """Read the largest files first, so that no single process is left with one at the end."""
    queue = sorted(files, key=lambda file: file.size)
    running: dict[Future[ReadFile], tuple[FileToRead, int]] = {}
    while queue or running:
        while queue and len(running) < in_flight:
            file = queue.pop()
            running[start(file)] = file, 1
        done = wait(running, WAIT_SECONDS, FIRST_COMPLETED).done
        if running and not done:
            waiting()
        for future in done:
            file, attempt = running.pop(future)
            error = future.exception()
            if error is None:
                yield file, future.result()
            elif isinstance(error, StorageError):
                raise error  # an outage is not an unreadable file
            elif attempt < ATTEMPTS:
                running[start(file)] = file, attempt + 1
            else:
                yield file, _lost(error)


def _lost(error: BaseException) -> ReadFile:
    problem = f"reading it failed {ATTEMPTS} times ({explain(error)[:200]})"
    reading = Reading(problem=problem, remedy="split it, or save it again from its source", is_repeatable=False)
    return ReadFile(TextFacts.of("", reading), reading)


def _within(cpu_seconds: int, task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task in a process of this machine, which ends if the task takes more CPU time."""
    try:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = used + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))
    except (ImportError, OSError, ValueError):  # not on every system
        pass
    return task(*arguments)
