"""The messages of the index builder about its progress, and their display."""

import threading
from dataclasses import dataclass

from dream.progress import Reporter, Task


@dataclass(frozen=True)
class IndexesProgress:
    """The progress of all indexes together: `embedded` of `texts` have vectors, `ready` of `indexes` are ready.

    `texts` is None until all documents are chunked. Texts of indexes that were kept from before do not count.
    """

    embedded: int
    texts: int | None
    ready: int
    indexes: int


Message = str | IndexesProgress


class ProgressOfIndexes:
    """Shows the builder's messages: lines as they are, texts embedded as a task. Safe from several threads."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._task: Task | None = None

    def show(self, message: Message) -> None:
        """Show a message; the task begins with the first text to embed and ends when all indexes are ready."""
        if isinstance(message, str):
            self._reporter.line(message)
            return
        with self._lock:
            if self._task is None:
                self._task = self._reporter.task("embedding documents", message.texts, "texts", done=message.embedded)
            self._task.total = message.texts
            ready = f"{message.ready} of {message.indexes}"
            self._task.advance(message.embedded - self._task.done, indexes=ready)
            if message.ready == message.indexes:
                self._finish()

    def finish(self) -> None:
        """End the task, if there is one."""
        with self._lock:
            self._finish()

    def _finish(self) -> None:
        if self._task is not None:
            self._task.finish()
            self._task = None
