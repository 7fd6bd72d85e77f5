"""The messages of the index builder about its progress, and their display."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dream.progress import Reporter, Task


@dataclass(frozen=True)
class IndexesProgress:
    """The progress of all indexes: `embedded` of `texts` have vectors, `ready` of `indexes` are ready.

    `texts` is None until all documents are chunked. Texts of stored indexes do not count.
    """

    embedded: int
    texts: int | None
    ready: int
    indexes: int


@dataclass(frozen=True)
class ContextsProgress:
    """The progress of contexts that LLMs write, for all indexes: `written` of `chunks` are written, or failed.

    `chunks` is None until all documents are chunked.
    """

    written: int
    chunks: int | None


@dataclass(frozen=True)
class ContextsPart:
    """One of the `batches` of an index's documents, with the number of its chunks that get a context."""

    batch: int
    batches: int
    chunks: int


@dataclass(frozen=True)
class ContextsReport:
    """Reports to the builder the written contexts of one of `batches` (`dream.indexes.steps.Report`)."""

    report: Callable[[str, Any, int], Any]
    key: str
    batch: int
    batches: int

    def __call__(self, written: int, chunks: int) -> None:
        self.report(self.key, ContextsPart(self.batch, self.batches, chunks), written)


@dataclass
class ContextsOfIndexes:
    """The progress of the contexts that LLMs write for several indexes, by the index's key."""

    _written: dict[str, dict[ContextsPart, int]] = field(default_factory=dict)

    def expect(self, keys: Iterable[str]) -> None:
        """Count these indexes too."""
        for key in keys:
            self._written.setdefault(key, {})

    def add(self, key: str, part: ContextsPart, n_written: int) -> ContextsProgress:
        """Record the number of written contexts of a part. A restarted part counts from 0 again."""
        of_index = self._written.setdefault(key, {})
        of_index[part] = max(n_written, of_index.get(part, 0))
        is_known = all(parts and len(parts) == next(iter(parts)).batches for parts in self._written.values())
        chunks = sum(each.chunks for parts in self._written.values() for each in parts)
        written = sum(n for parts in self._written.values() for n in parts.values())
        return ContextsProgress(written, chunks if is_known else None)

    def kept(self, key: str) -> None:
        """Forget an index that was loaded from storage."""
        if not self._written.get(key, True):
            del self._written[key]


Message = str | IndexesProgress | ContextsProgress


class ProgressOfIndexes:
    """Shows the builder's messages: lines unchanged, written contexts and embedded texts as tasks. Thread-safe."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._tasks: dict[type, Task] = {}

    def show(self, message: Message) -> None:
        """Show a message; the task of embedding begins with the first text to embed and ends when all indexes are
        ready, that of contexts when all are written."""
        if isinstance(message, str):
            self._reporter.line(message)
            return
        with self._lock:
            if isinstance(message, ContextsProgress):
                self._advance(message, "writing contexts", "chunks", message.written, message.chunks)
                is_done = message.written == message.chunks
            else:
                ready = f"{message.ready} of {message.indexes}"
                self._advance(message, "embedding documents", "texts", message.embedded, message.texts, indexes=ready)
                is_done = message.ready == message.indexes
            if is_done:
                self._tasks.pop(type(message)).finish()

    def _advance(self, message: Message, title: str, unit: str, done: int, total: int | None, **facts: str) -> None:
        """Update the task of a kind of messages; the first message begins it."""
        kind = type(message)
        if kind not in self._tasks:
            self._tasks[kind] = self._reporter.task(title, total, unit, done=done)
        task = self._tasks[kind]
        task.total = total
        task.advance(done - task.done, **facts)

    def finish(self) -> None:
        """End the tasks, if there are any."""
        with self._lock:
            for task in self._tasks.values():
                task.finish()
            self._tasks.clear()
