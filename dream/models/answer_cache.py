"""Cache of model answers in storage, keyed by request: each answer is billed once, and reused by all trials and later
experiments.

Answers that arrive within `GATHER_SECONDS` are written as one object; the objects of a run are merged when they exceed
4 MB, and at its end (`cache_format` has the format). A damaged entry is ignored, and replaced by the next answer to its
request. Invalid answers that earlier versions stored are ignored too (`Read`).
"""

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_fixed

from dream.errors import StorageError
from dream.models.cache_format import (
    ANSWERS,
    VECTORS,
    Entry as Entry,
    read_answers,
    read_pack,
    slug,
    write_entries,
    write_lines,
    write_pack,
)
from dream.storage import Storage

MEMORY_BYTES = 128 << 20
THREADS = 32
# the vectors of a request with more texts are stored as one batch
MOST_SINGLE_VECTORS = 4
# Answers that arrive within this time are written together; a killed process loses at most those.
GATHER_SECONDS = 0.1
# the approximate size limit of an object of answers, which is read as a whole
OBJECT_BYTES = 4 << 20
# the longest wait for unwritten entries at the end of a run
FLUSH_SECONDS = 20.0
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A function that reads an entry of an earlier run as an answer; None if it is not one.
Read = Callable[[Entry], Entry | None]


@dataclass
class _ModelAnswers:
    """The answers of one model: the objects that contain each key, if there were any at first, and the entries of this
    run."""

    objects: dict[str, list[str]]
    had_any: bool
    unwritten: dict[str, Entry] = field(default_factory=dict)
    writer: "asyncio.Task[None] | None" = None
    # the small objects of this run, with the keys and lines in each
    written: dict[str, dict[str, bytes]] = field(default_factory=dict)


class AnswerCache:
    """The answer cache of one gateway.

    If storage fails, answers stay available in memory, and writing is retried. Storage is listed once per model:
    answers that another process adds later are not found.

    Args:
        storage: None keeps entries only in memory.
    """

    def __init__(self, storage: Storage | None) -> None:
        self._storage = storage
        self._memory: OrderedDict[str, Entry] = OrderedDict()
        self._memory_bytes = 0
        self._listing: dict[tuple[str, str], asyncio.Task[dict[str, list[str]]]] = {}
        self._answers: dict[str, _ModelAnswers] = {}
        self._reading: dict[str, asyncio.Task[dict[str, Entry]]] = {}
        self._unwritten: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "dream-cache")

    async def get(self, model: str, key: str, read: Read = lambda entry: entry) -> Entry | None:
        """The cached answer to a request; None if there is none that `read` accepts."""
        if key in self._memory:
            self._memory.move_to_end(key)
            if (entry := self._read_once(key, self._memory[key], read)) is not None:
                return entry
        if self._storage is None:
            return None
        answers = await self._of_model(model)
        if (entry := answers.unwritten.get(key)) is not None:
            return self._read_once(key, entry, read)
        return await self._read(answers.objects.get(key, ()), key, read)

    def _read_once(self, key: str, entry: Entry, read: Read) -> Entry | None:
        """The entry as `read` accepts it, kept in memory."""
        if entry.is_read:
            return entry
        accepted = read(entry)
        if accepted is None:
            logger.debug("the cached answer %s is not usable, so its request is sent again", key)
            return None
        accepted = replace(accepted, is_read=True)
        self._remember({key: accepted})
        return accepted

    async def has_earlier(self, model: str) -> bool:
        """True if there was any answer of a model in storage when this cache first looked."""
        return self._storage is not None and (await self._of_model(model)).had_any

    async def has_any(self, model: str) -> bool:
        """True if there is any answer of a model."""
        return self._storage is not None and bool(await self._objects_of(ANSWERS, model))

    async def get_vectors(self, model: str, keys: Sequence[str], read: Read = lambda entry: entry) -> dict[str, Entry]:
        """The cached vectors by key, without missing ones, and without those that `read` does not accept."""
        objects = await self._objects_of(VECTORS, model) if len(keys) and self._storage else {}
        packs = [objects[key] for key in keys if key in objects and key not in self._memory]
        for pack in dict.fromkeys(pack for packs_of_key in packs for pack in packs_of_key):
            self._remember_stored(await self._in_thread(read_pack, self._storage, pack))
        entries = await asyncio.gather(*(self.get(model, key, read) for key in keys))
        return {key: entry for key, entry in zip(keys, entries, strict=True) if entry is not None}

    async def put(self, model: str, key: str, entry: Entry) -> None:
        """Add an answer: to memory at once, to storage in the background."""
        self._remember({key: entry})
        if self._storage is None:
            return
        answers = await self._of_model(model)
        answers.unwritten[key] = entry
        if answers.writer is None or answers.writer.done():
            answers.writer = self._start(self._write_answers(model, answers))

    async def put_vectors(self, model: str, entries: Mapping[str, Entry]) -> None:
        """Add the vectors of one request."""
        if len(entries) <= MOST_SINGLE_VECTORS:
            for key, entry in entries.items():
                await self.put(model, key, entry)
            return
        self._remember(entries)
        if self._storage is None:
            return
        pack = f"{VECTORS}/{slug(model)}/{uuid.uuid4().hex}"
        for key in entries:
            (await self._objects_of(VECTORS, model)).setdefault(key, []).append(pack)
        self._start(self._until_written(write_pack, self._storage, pack, dict(entries)))

    async def flush(self) -> int:
        """Wait up to `FLUSH_SECONDS` for unwritten entries, merge the objects of this run, and close the cache.

        Returns:
            The number of writes that did not finish in time.
        """
        if self._unwritten:
            await asyncio.wait(self._unwritten, timeout=FLUSH_SECONDS)
        left = len(self._unwritten)
        for task in self._unwritten:
            task.cancel()
        for model, answers in self._answers.items():
            try:
                await self._join(model, answers)
            except StorageError as error:
                logger.warning("many small objects of the cache could not be merged: %s", error)
        self._answers.clear()
        self._threads.shutdown(wait=False)
        return left

    def _start(self, writing: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(writing)
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)
        return task

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _of_model(self, model: str) -> _ModelAnswers:
        if model not in self._answers:
            objects = await self._objects_of(ANSWERS, model)
            self._answers.setdefault(model, _ModelAnswers(objects, had_any=bool(objects)))
        return self._answers[model]

    async def _objects_of(self, kind: str, model: str) -> dict[str, list[str]]:
        """The objects that contain each key of a model, without their file extensions; listed once."""
        task = self._listing.get((kind, model))
        if task is None:
            task = self._listing[kind, model] = asyncio.create_task(self._list(kind, model))
        return await asyncio.shield(task)

    async def _list(self, kind: str, model: str) -> dict[str, list[str]]:
        objects: dict[str, list[str]] = {}
        try:
            assert self._storage is not None
            listed = await self._in_thread(self._storage.list, f"{kind}/{slug(model)}/")
            names = [item.key for item in listed if item.key.endswith(".keys")]
            contents = await asyncio.gather(*(self._in_thread(self._storage.read_bytes, name) for name in names))
        except StorageError as error:
            logger.warning("the cache cannot be read, so %s may be billed again: %s", kind, error)
            return objects
        for item in listed:
            if kind == ANSWERS and item.key.endswith(".json"):
                objects[item.key.rpartition("/")[2].removesuffix(".json")] = [item.key]
        for name, content in zip(names, contents, strict=True):
            for key in content.decode(errors="replace").split():
                objects.setdefault(key, []).append(name.removesuffix(".keys"))
        return objects

    async def _read(self, objects: Sequence[str], key: str, read: Read) -> Entry | None:
        """The first entry of a key that `read` accepts, from the objects that contain it; all entries of an object are
        kept in memory."""
        for name in objects:
            if name not in self._reading:
                self._reading[name] = asyncio.create_task(self._in_thread(read_answers, self._storage, name))
            task = self._reading[name]
            try:
                entries = await asyncio.shield(task)
            except StorageError as error:
                logger.warning("the cache cannot be read, so answers may be billed again: %s", error)
                continue
            finally:
                self._reading.pop(name, None)
            self._remember_stored(entries)
            if key in entries and (entry := self._read_once(key, entries[key], read)) is not None:
                return entry
        return None

    async def _write_answers(self, model: str, answers: _ModelAnswers) -> None:
        """Write the unwritten answers of a model, one object per `GATHER_SECONDS`, until none is left."""
        while answers.unwritten:
            await asyncio.sleep(GATHER_SECONDS)
            entries = dict(answers.unwritten)
            name = f"{ANSWERS}/{slug(model)}/{uuid.uuid4().hex}"
            answers.written[name] = await self._until_written(write_entries, self._storage, name, entries)
            for key, entry in entries.items():
                answers.objects.setdefault(key, []).append(name)
                if answers.unwritten.get(key) is entry:
                    del answers.unwritten[key]
            if sum(len(line) for lines in answers.written.values() for line in lines.values()) > OBJECT_BYTES:
                with contextlib.suppress(StorageError):  # retried with the next answers
                    await self._join(model, answers)

    async def _join(self, model: str, answers: _ModelAnswers) -> None:
        """Merge the small objects of this run into one, then delete them."""
        small, answers.written = answers.written, {}
        if len(small) < 2:
            return
        assert self._storage is not None
        name = f"{ANSWERS}/{slug(model)}/{uuid.uuid4().hex}"
        lines = {key: line for lines in small.values() for key, line in lines.items()}
        await self._in_thread(write_lines, self._storage, name, lines)
        answers.objects.update({key: [name] for key in lines})
        names = [f"{old}.{ending}" for ending in ("keys", "jsonl") for old in small]
        await asyncio.gather(*(self._in_thread(self._storage.delete, old) for old in names))

    async def _until_written(self, write: Callable[..., T], *arguments: Any) -> T:
        until_written = AsyncRetrying(
            retry=retry_if_exception_type(StorageError), wait=wait_fixed(RETRY_SECONDS), before_sleep=_warn_of_retry
        )
        return await until_written(self._in_thread, write, *arguments)

    def _remember_stored(self, entries: Mapping[str, Entry]) -> None:
        """Keep entries of an object in memory, unless the key is already there with a newer or validated entry."""
        self._remember({key: entry for key, entry in entries.items() if key not in self._memory})

    def _remember(self, entries: Mapping[str, Entry]) -> None:
        for key, entry in entries.items():
            replaced = self._memory.pop(key, None)
            self._memory[key] = entry
            self._memory_bytes += len(entry.content) - (len(replaced.content) if replaced else 0)
        while self._storage is not None and self._memory_bytes > MEMORY_BYTES:
            self._memory_bytes -= len(self._memory.popitem(last=False)[1].content)


def _warn_of_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning("the cache cannot be written, retrying every %g s: %s", RETRY_SECONDS, error)
