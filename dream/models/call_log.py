"""The call log, opt-in (DREAM_CALL_LOG): a JSON line for each request to a model that was sent, answered from the
cache, or joined to an identical request in flight. It shows why a call was billed twice. It contains no prompt, answer
or API key.

    time               time of the line, UTC outcome            sent (a line for each attempt), hit (from the cache) or
    joined (waited for an identical request) key                the answer's key in the cache, for `dream cache show
    KEY` keys of all texts of an embedding request, shortened endpoint, model, stage, trial, repeat attempt 1, 2, ... of
    what was sent status             of HTTP; 0 without a response seconds            response time; for a hit, that of
    the original request prompt_tokens, completion_tokens error              the endpoint's message

A local file is appended to. In a folder, or in S3, each gateway writes its own objects. On a cluster, the gateway runs
on the head node, to which local paths refer.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from dream.errors import StorageError
from dream.models.openai_wire import ModelRequest
from dream.settings import Settings
from dream.storage import Storage, open_storage

GATHER_SECONDS = 1.0
# An object in a folder or in S3 is rewritten with new lines until it has this size.
OBJECT_BYTES = 2 << 20
SHORT_KEY = 16
SENT, HIT, JOINED = "sent", "hit", "joined"

logger = logging.getLogger(__name__)

# The cache keys of the request that the current task pays for.
keys_paid_for: ContextVar[Sequence[str]] = ContextVar("keys_paid_for", default=())


class Target(Protocol):
    """The destination of lines."""

    def write(self, lines: bytes) -> None:
        """Add lines at the end; a StorageError if that fails."""
        ...


@dataclass(frozen=True)
class LogFile:
    """A local file."""

    path: str

    def write(self, lines: bytes) -> None:
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            with Path(self.path).open("ab") as file:
                file.write(lines)
        except OSError as error:
            raise StorageError(f"the call log {self.path} cannot be written: {error}") from error


@dataclass
class LogFolder:
    """Objects of one gateway in a folder or in S3."""

    storage: Storage
    _name: str = field(default_factory=lambda: f"calls-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
    _part: int = 0
    _content: bytes = b""

    def write(self, lines: bytes) -> None:
        content = self._content + lines
        self.storage.write_bytes(f"{self._name}-{self._part:04}.jsonl", content, durable=False)
        self._content = content
        if len(content) >= OBJECT_BYTES:
            self._part, self._content = self._part + 1, b""


def target_of(settings: Settings) -> Target | None:
    """The target in the settings: a path with an extension, such as calls.jsonl, is a file, any other path a folder."""
    uri = settings.call_log
    if uri is None:
        return None
    if "://" not in uri and Path(uri).suffix and not Path(uri).is_dir():
        return LogFile(uri)
    storage = open_storage(uri, settings)
    storage.ensure()
    return LogFolder(storage)


class CallLog:
    """Collects lines, and writes them once per second. Its methods must be called on one event loop. Without a target,
    it does nothing."""

    def __init__(self, target: Target | None = None) -> None:
        self._target = target
        self._lines: list[bytes] = []
        self._writer: asyncio.Task[None] | None = None

    def add(self, outcome: str, request: ModelRequest, model: str, keys: Sequence[str] = (), **fields: Any) -> None:
        """Add a line; `fields` are the fields of the module's docstring that depend on the outcome."""
        if self._target is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "outcome": outcome,
            "key": keys[0] if keys else None,
            **({"keys": [key[:SHORT_KEY] for key in keys]} if len(keys) > 1 else {}),
            "endpoint": request.endpoint,
            "model": model,
            "stage": request.stage,
            "trial": request.trial,
            "repeat": request.repeat,
            **fields,
        }
        self._lines.append(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        """Write all pending lines."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self._write()

    async def _write_soon(self) -> None:
        while self._lines:
            await asyncio.sleep(GATHER_SECONDS)
            await self._write()

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if not lines or self._target is None:
            return
        writing = asyncio.ensure_future(asyncio.to_thread(self._target.write, b"".join(lines)))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # neither lost nor written twice
            raise
        except StorageError as error:
            logger.warning("%d lines of the call log are lost: %s", len(lines), error)
