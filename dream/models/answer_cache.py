"""Model answers in storage, by the identity of their request: paid once, used by all trials and later experiments.

<cache>/answers/<endpoint and model>/<2 digits>/<key>.json    one answer, or the vector of one text
<cache>/vectors/<endpoint and model>/<id>.npz                 the vectors of one batch of texts ...
<cache>/vectors/<endpoint and model>/<id>.keys                ... and which texts they are of, written last

An entry that is cut off or was changed is not an answer: it is ignored, and replaced when the answer comes again.
"""

import asyncio
import base64
import hashlib
import io
import json
import logging
import re
import time
import uuid
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_fixed

from dream.errors import StorageError
from dream.storage import Storage, StoredObject

ANSWERS, VECTORS = "answers", "vectors"
MEMORY_BYTES = 128 << 20
THREADS = 32
# up to here each vector is an entry of its own; above, the texts of a request are stored together
MOST_SINGLE_VECTORS = 4
# an answer waits this long for its entry to be written; after that storage is slow or away, and it goes on meanwhile
WRITE_PATIENCE_SECONDS = 2.0
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A good answer: its body (or, for a text, its float32 vector), and the seconds and tokens that it took."""

    content: bytes
    seconds: float = 0.0
    prompt_tokens: float = 0
    completion_tokens: float = 0


class AnswerCache:
    """The cache of one gateway. Storage being away costs money, not answers: they are kept and written later.

    Args:
        storage: where entries are kept; None keeps them in memory alone.
    """

    def __init__(self, storage: Storage | None) -> None:
        self._storage = storage
        self._memory: OrderedDict[str, Entry] = OrderedDict()
        self._memory_bytes = 0
        self._packed: dict[str, dict[str, str]] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._unwritten: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "dream-cache")

    async def get(self, model: str, key: str) -> Entry | None:
        """The answer to a request of a model, None where it has not been paid for."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        entry = await self._read(f"{ANSWERS}/{slug(model)}/{key[:2]}/{key}.json", key)
        if entry is not None:
            self._remember({key: entry})
        return entry

    async def get_vectors(self, model: str, keys: Sequence[str]) -> dict[str, Entry]:
        """The vectors that are in memory or storage, by key."""
        packs = await self._packs(model) if len(keys) and self._storage else {}
        for pack in dict.fromkeys(packs[key] for key in keys if key in packs and key not in self._memory):
            self._remember(await self._in_thread(self._read_pack, pack))
        entries = await asyncio.gather(*(self.get(model, key) for key in keys))
        return {key: entry for key, entry in zip(keys, entries, strict=True) if entry is not None}

    async def put(self, model: str, key: str, entry: Entry) -> None:
        """Keep an answer; it is in memory at once, and in storage on return unless storage is away."""
        self._remember({key: entry})
        await self._write(self._write_entry, f"{ANSWERS}/{slug(model)}/{key[:2]}/{key}.json", key, entry)

    async def put_vectors(self, model: str, entries: Mapping[str, Entry]) -> None:
        """Keep the vectors of one request."""
        if len(entries) <= MOST_SINGLE_VECTORS:
            await asyncio.gather(*(self.put(model, key, entry) for key, entry in entries.items()))
            return
        self._remember(entries)
        pack = f"{VECTORS}/{slug(model)}/{uuid.uuid4().hex}"
        self._packed.setdefault(model, {}).update(dict.fromkeys(entries, pack))
        await self._write(self._write_pack, pack, dict(entries))

    async def flush(self) -> int:
        """Wait up to 20 s for entries that are not in storage yet; the number of those that did not get there."""
        if self._unwritten:
            await asyncio.wait(self._unwritten, timeout=10 * WRITE_PATIENCE_SECONDS)
        left = len(self._unwritten)
        for task in self._unwritten:
            task.cancel()
        self._threads.shutdown(wait=False)
        return left

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _read(self, name: str, key: str) -> Entry | None:
        if self._storage is None:
            return None
        try:
            return await self._in_thread(self._read_entry, name, key)
        except StorageError as error:
            logger.warning("the cache cannot be read, so answers may be paid again: %s", error)
            return None

    def _read_entry(self, name: str, key: str) -> Entry | None:
        assert self._storage is not None
        content = self._storage.read_if_there(name)
        return None if content is None else _entry(content, key)

    def _write_entry(self, name: str, key: str, entry: Entry) -> None:
        assert self._storage is not None
        self._storage.write_bytes(name, _entry_bytes(key, entry), durable=False)

    async def _packs(self, model: str) -> dict[str, str]:
        """The pack of each text of a model, by the text's key; read once."""
        if model not in self._reading:
            self._reading[model] = asyncio.create_task(self._read_packs(model))
        await self._reading[model]
        return self._packed[model]

    async def _read_packs(self, model: str) -> None:
        pack_of = self._packed.setdefault(model, {})
        try:
            assert self._storage is not None
            listed = await self._in_thread(self._storage.list, f"{VECTORS}/{slug(model)}/")
            names = [item.key for item in listed if item.key.endswith(".keys")]
            contents = await asyncio.gather(*(self._in_thread(self._storage.read_bytes, name) for name in names))
        except StorageError as error:
            logger.warning("the cache cannot be read, so vectors may be paid again: %s", error)
            return
        for name, content in zip(names, contents, strict=True):
            for key in content.decode(errors="replace").split():
                pack_of.setdefault(key, name.removesuffix(".keys"))

    def _read_pack(self, pack: str) -> dict[str, Entry]:
        """The vectors of a pack; one that is damaged is removed, and those of its texts are paid again."""
        import numpy

        assert self._storage is not None
        try:
            content = self._storage.read_if_there(f"{pack}.npz") or b""
            with numpy.load(io.BytesIO(content)) as arrays:
                parts = (arrays["keys"].tolist(), arrays["vectors"], arrays["tokens"].tolist())
            return {key: Entry(vector.tobytes(), prompt_tokens=n) for key, vector, n in zip(*parts, strict=True)}
        except StorageError as error:
            logger.warning("the cache cannot be read, so vectors may be paid again: %s", error)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("a batch of vectors is damaged, so they are paid again: %s", error)
            for ending in ("keys", "npz"):
                self._storage.delete(f"{pack}.{ending}")
        return {}

    def _write_pack(self, pack: str, entries: Mapping[str, Entry]) -> None:
        import numpy

        assert self._storage is not None
        content = io.BytesIO()
        vectors = [numpy.frombuffer(entry.content, numpy.float32) for entry in entries.values()]
        tokens = [float(entry.prompt_tokens) for entry in entries.values()]
        numpy.savez(content, keys=numpy.array(list(entries)), vectors=numpy.stack(vectors), tokens=numpy.array(tokens))
        self._storage.write_bytes(f"{pack}.npz", content.getvalue(), durable=False)
        self._storage.write_bytes(f"{pack}.keys", "\n".join(entries).encode(), durable=False)

    async def _write(self, write: Callable[..., None], *arguments: Any) -> None:
        if self._storage is None:
            return
        task = asyncio.create_task(self._until_written(write, *arguments))
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)
        await asyncio.wait({task}, timeout=WRITE_PATIENCE_SECONDS)

    async def _until_written(self, write: Callable[..., None], *arguments: Any) -> None:
        until_written = AsyncRetrying(
            retry=retry_if_exception_type(StorageError), wait=wait_fixed(RETRY_SECONDS), before_sleep=_warn_of_retry
        )
        await until_written(self._in_thread, write, *arguments)

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


def slug(model: str) -> str:
    """An endpoint's address and a model as a folder's name.

    Example:
        >>> slug("https://api.openai.com/v1 gpt-4o-mini")
        'api.openai.com_v1_gpt-4o-mini-b45324'
    """
    readable = re.sub(r"[^A-Za-z0-9.@-]+", "_", model.split("://")[-1]).strip("_.")[:80]
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def _entry_bytes(key: str, entry: Entry) -> bytes:
    fields = {
        "content": base64.b64encode(entry.content).decode(),
        "seconds": entry.seconds,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
    }
    return json.dumps({"check": _check(key, fields), **fields}).encode()


def _entry(content: bytes, key: str) -> Entry | None:
    """The entry, None where it is cut off, changed, or another's."""
    try:
        fields = json.loads(content)
        if fields.pop("check") != _check(key, fields):
            return None
        return Entry(**{**fields, "content": base64.b64decode(fields["content"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _check(key: str, fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{key} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CachedModel:
    """The cache's entries of one model; `oldest` and `newest` in seconds since 1970."""

    model: str
    entries: int
    bytes: int
    oldest: float
    newest: float


def contents(storage: Storage) -> list[CachedModel]:
    """The contents of the cache, model by model."""
    models: dict[str, list[StoredObject]] = {}
    for item in _objects(storage):
        models.setdefault(item.key.split("/")[1], []).append(item)
    return [
        CachedModel(
            model,
            sum(not item.key.endswith(".keys") for item in items),
            sum(item.size for item in items),
            min(item.modified for item in items),
            max(item.modified for item in items),
        )
        for model, items in sorted(models.items())
    ]


def empty(storage: Storage, *, older_than_days: float = 0, model: str = "") -> int:
    """Delete entries; the number of bytes that became free.

    Args:
        older_than_days: younger ones stay; 0 for all.
        model: a part of the names that `contents` gives; "" for all.
    """
    before = time.time() - older_than_days * 86_400
    freed = 0
    for item in _objects(storage):
        if model in item.key.split("/")[1] and item.modified <= before:
            storage.delete(item.key)
            freed += item.size
    return freed


def _objects(storage: Storage) -> Iterator[StoredObject]:
    for kind in (ANSWERS, VECTORS):
        yield from storage.list(f"{kind}/")
