"""Files are read by as many processes as there are CPUs where there is enough to read, else in this process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dream.documents.file_types import Reading, ReadingOptions, extension
from dream.documents.readers import read_file
from dream.errors import explain

Submit = Callable[..., "Future[Any]"]

# What a file takes at most times, by its type; a process takes half a second to start.
SECONDS_PER_MB = {".pdf": 0.2, ".txt": 0.02, ".md": 0.02, ".csv": 1.0}
OTHER_SECONDS_PER_MB = 2.0
SECONDS_FOR_PROCESSES = 3.0
PROCESSES_AT_MOST = 8
# Files that are in memory or on their way to a process, for each process.
IN_FLIGHT = 2
# A process that reads one file for so long is ended by the operating system.
CPU_SECONDS_PER_FILE = 1200
ATTEMPTS = 2
WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class FileToRead:
    """A file; `content` is called when a process is free for it, and returns None if there is nothing to read."""

    name: str
    size: int
    content: Callable[[], bytes | None]


def read_files(
    files: Sequence[FileToRead],
    options: ReadingOptions,
    submit: Submit | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[tuple[FileToRead, Reading]]:
    """Each file that was read with its text, in the order in which they are finished.

    Args:
        submit: runs tasks elsewhere (`dream.engines.Engine.submit`); by default processes of this machine.
        waiting: called about every second while no file is finished.
    """
    if len(files) < 2 or _seconds(files) < SECONDS_FOR_PROCESSES or (submit is None and n_processes() < 2):
        for file in files:
            if (content := file.content()) is not None:
                yield file, read_file(file.name, content, options)
        return
    with _submitting(submit, n_processes(len(files))) as start:
        yield from _in_processes(files, options, start, n_processes(len(files)) * IN_FLIGHT, waiting)


def n_processes(n_files: int = PROCESSES_AT_MOST) -> int:
    """How many processes read at the same time."""
    from dream.engines.choice import cpu_count

    return min(cpu_count(), PROCESSES_AT_MOST, n_files)


def _seconds(files: Sequence[FileToRead]) -> float:
    return sum(file.size / 1e6 * SECONDS_PER_MB.get(extension(file.name), OTHER_SECONDS_PER_MB) for file in files)


@contextmanager
def _submitting(submit: Submit | None, size: int) -> Iterator[Submit]:
    """A function that starts tasks, by default in as many processes of this machine as `size` says."""
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
    files: Sequence[FileToRead], options: ReadingOptions, submit: Submit, in_flight: int, waiting: Callable[[], None]
) -> Iterator[tuple[FileToRead, Reading]]:
    """The largest files first, so that no process is left alone with one at the end."""
    queue = sorted(files, key=lambda file: file.size)
    running: dict[Future[Reading], tuple[FileToRead, bytes, int]] = {}

    def start(file: FileToRead, content: bytes, attempt: int) -> None:
        running[submit(read_file, file.name, content, options)] = (file, content, attempt)

    while queue or running:
        while queue and len(running) < in_flight:
            file = queue.pop()
            if (content := file.content()) is not None:
                start(file, content, 1)
        done = wait(running, WAIT_SECONDS, FIRST_COMPLETED).done
        if running and not done:
            waiting()
        for future in done:
            file, content, attempt = running.pop(future)
            if (error := future.exception()) is None:
                yield file, future.result()
            elif attempt < ATTEMPTS:
                start(file, content, attempt + 1)
            else:
                yield file, _lost(error)


def _lost(error: BaseException) -> Reading:
    problem = f"reading it failed {ATTEMPTS} times ({explain(error)[:200]})"
    return Reading(problem=problem, remedy="split it, or save it again from its source", is_repeatable=False)


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
