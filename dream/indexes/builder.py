"""Builds each distinct index once, in steps that run as Ray tasks on the cluster; without Ray, or for few documents, in
this process.

    in storage? --no--> chunk (a step for each batch of documents, whose texts it reads from storage) --> embed (a step
    for each part of the texts) --> finish: joined, stored, shared

One `IndexBuilder` serves all trials: the first request builds the index, further ones wait for it. A step whose process
or machine is lost runs again elsewhere. A failure is reported to all waiting requests; a later request tries again.
Trials reach it through `dream.indexes.client`.
"""

import asyncio
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow

from dream.documents.stored_documents import StoredDocuments
from dream.errors import ServiceError, StorageError, end_of_all, explain
from dream.indexes.chunkers import NEED_MODEL, chunk, chunk_once, embed, no_text, texts_to_embed, together
from dream.indexes.contexts import without_writer, writer_of
from dream.indexes.progress import ContextsOfIndexes, ContextsPart, ContextsReport, IndexesProgress, Message
from dream.indexes.steps import ActorSteps, LocalSteps, Machine, ProcessSteps, RaySteps, Report, Steps
from dream.indexes.store import (
    IndexData,
    IndexSpec,
    count_embedded,
    join,
    load_index,
    save_index,
    stored_bytes,
    without_vectors,
)
from dream.indexes.written_contexts import failures_told, is_incomplete, with_written_contexts
from dream.models.pickers import embed_model_picker
from dream.storage import Storage

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

BUILDS_AT_ONCE = 3
TEXTS_A_STEP = 2048
CHARACTERS_A_BATCH = 2_000_000
# the steps of packed documents and of kept indexes up to these sizes run in the builder's own process
FEW_DOCUMENTS_BYTES, SMALL_INDEX_BYTES = 500_000, 32_000_000
# from this size on, documents are chunked in other processes where there is no cluster: half a minute of CPU or more
MANY_DOCUMENTS_BYTES = 5_000_000
# batches in memory at a time, for workers without access to the documents
BATCHES_READ_AT_ONCE = 4
MESSAGES_WAIT_SECONDS = 0.5
STAGE = "embed"


@dataclass(frozen=True)
class BuiltIndex:
    """A finished index: its `IndexData`, or on Ray a reference to it. (Ray would resolve a bare reference.)"""

    data: Any


@dataclass(frozen=True)
class WholeDocuments:
    """The total size of documents that are sent in batches."""

    n_batches: int
    n_documents: int
    characters: int


@dataclass(frozen=True)
class _Batches:
    """Documents in batches, as `chunk_steps` take them: packed, or `StoredDocuments` whose texts each step reads.

    With `must_be_read`, the builder reads the texts, a few batches at a time, because workers have no access to them.
    """

    steps: Steps
    chunk_steps: Steps
    batches: list[Any]
    n_documents: int
    must_be_read: bool = False


@dataclass
class _Progress:
    """The number of texts of an index to embed, and the number that have vectors, by part of the index."""

    total: int
    parts: dict[Any, int]


class IndexBuilder:
    """Builds indexes for all trials. Its coroutines must run on one event loop, which `dream.services` ensures.

    Args:
        storage: where indexes are stored; None stores none.
        steps: run the steps of large indexes; `small_steps` those of small ones.
        chunk_steps: chunk documents from `MANY_DOCUMENTS_BYTES` on; by default `steps`.
        steps_see_folders: False if `steps` run on machines without access to local folders of this one.
        show: takes the messages about progress; by default they wait until `messages` takes them.
    """

    def __init__(
        self,
        storage: Storage | None,
        steps: Steps,
        small_steps: Steps | None = None,
        show: Callable[[Message], Any] | None = None,
        chunk_steps: Steps | None = None,
        steps_see_folders: bool = True,
    ) -> None:
        self._storage = storage
        self._steps, self._small_steps, self._chunk_steps = steps, small_steps or steps, chunk_steps or steps
        # A folder is accessible only on its own machine, S3 everywhere (`in_memory` then returns the storage itself).
        is_folder = storage is not None and storage.in_memory(()) is not storage
        self._storage_machine = Machine.OF_BUILDER if is_folder else Machine.ANY
        self._builds: dict[str, asyncio.Task] = {}
        self._documents: dict[str, _Batches] = {}
        self._parts: dict[str, dict[int, Any]] = {}
        self._steps_see_folders = steps_see_folders
        self._reading = asyncio.Semaphore(BATCHES_READ_AT_ONCE)
        self._numbers: dict[str, int] = {}
        self._progress: dict[str, _Progress] = {}
        self._contexts = ContextsOfIndexes()
        self._ready: set[str] = set()
        self._messages: list[Message] = []
        self._show = show or self._messages.append
        self._build_permits = asyncio.Semaphore(BUILDS_AT_ONCE)

    async def get(self, spec: IndexSpec) -> BuiltIndex | None:
        """The index; None when the documents must be sent first."""
        if spec.key not in self._builds:
            self._builds[spec.key] = asyncio.ensure_future(self._build(spec))
            self._builds[spec.key].add_done_callback(lambda done: self._forget_failed(spec.key, done))
        return await asyncio.shield(self._builds[spec.key])

    async def take_reference(self, digest: str, documents: StoredDocuments) -> bool:
        """Register documents for later indexes; their texts are read when needed.

        Returns:
            False if this process has no access to the texts; then `take_batch` must be called for each batch.
        """
        if digest not in self._documents:
            if not await asyncio.to_thread(documents.can_be_read_here):
                return False
            steps, chunk_steps = self._steps_for(documents.characters)
            is_far = chunk_steps is self._steps and not self._steps_see_folders
            batches: list[Any] = list(documents.batches(CHARACTERS_A_BATCH))
            must_be_read = is_far and not documents.is_shared
            self._documents[digest] = _Batches(steps, chunk_steps, batches, len(documents), must_be_read)
        return True

    async def take_documents(self, digest: str, batches: Sequence[bytes], n_documents: int) -> None:
        """Register documents, packed by `pack`, for later indexes."""
        if digest not in self._documents:
            steps, chunk_steps = self._steps_for(sum(map(len, batches)))
            put = [chunk_steps.put(batch) for batch in batches]
            self._documents[digest] = _Batches(steps, chunk_steps, put, n_documents)

    async def take_batch(self, digest: str, number: int, batch: bytes, whole: WholeDocuments) -> None:
        """Register a batch, packed by `packed`, of documents to whose texts this process has no access."""
        if digest in self._documents:
            return
        steps, chunk_steps = self._steps_for(whole.characters)
        parts = self._parts.setdefault(digest, {})
        parts[number] = chunk_steps.put(batch)
        if len(parts) == whole.n_batches:
            batches = [parts[i] for i in range(whole.n_batches)]
            self._documents[digest] = _Batches(steps, chunk_steps, batches, whole.n_documents)
            del self._parts[digest]

    def _steps_for(self, size: int) -> tuple[Steps, Steps]:
        """The steps for documents of `size` bytes, and those that chunk them."""
        steps = self._small_steps if size <= FEW_DOCUMENTS_BYTES else self._steps
        return steps, self._chunk_steps if size >= MANY_DOCUMENTS_BYTES else steps

    async def expect(self, specs: Sequence[IndexSpec]) -> None:
        """Number the indexes of an experiment, and begin to build them in this order before trials ask."""
        for spec in specs:
            self._numbers.setdefault(spec.key, len(self._numbers) + 1)
        self._contexts.expect(spec.key for spec in specs if writer_of(spec.parameters))
        for spec in specs:
            build = asyncio.ensure_future(self.get(spec))
            build.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def forget(self, key: str) -> None:
        """Forget an index whose data was lost with a machine, unless it is already being rebuilt."""
        if key in self._builds and self._builds[key].done():
            del self._builds[key]
            self._ready.discard(key)

    async def messages(self) -> list[Message]:
        """The messages about progress since the last call; waits up to 0.5 s when there is none."""
        if not self._messages:
            await asyncio.sleep(MESSAGES_WAIT_SECONDS)
        pending, self._messages[:] = list(self._messages), []
        return pending

    def embedded(self, key: str, part: Any, n_texts: int) -> None:
        """Record a step's report of the number of texts of its part that have vectors, or contexts. A restarted step
        counts from 0 again, and reports may arrive after the step's result."""
        if isinstance(part, ContextsPart):
            self._show(self._contexts.add(key, part, n_texts))
        elif key in self._progress and key not in self._ready:
            parts = self._progress[key].parts
            parts[part] = max(n_texts, parts.get(part, 0))
            self._tell_progress()

    async def kept_bytes(self, spec: IndexSpec) -> int | None:
        """The size in bytes of an index in storage; None if it is not in storage."""
        return None if self._storage is None else await asyncio.to_thread(stored_bytes, self._storage, spec)

    async def close(self) -> None:
        """End all builds, so that a stopped experiment requests no more vectors."""
        builds = [build for build in self._builds.values() if not build.done()]
        for build in builds:
            build.cancel()
        for steps in (self._steps, self._small_steps, self._chunk_steps):
            if isinstance(steps, LocalSteps):
                steps.close()
        await asyncio.gather(*builds, return_exceptions=True)

    def warn(self, message: str) -> None:
        """Show a line about all indexes."""
        self._show(f"  {message}")

    def _forget_failed(self, key: str, done: asyncio.Task) -> None:
        if done.cancelled() or done.exception() or done.result() is None:
            self._builds.pop(key, None)

    def _tell_ready(self, key: str, message: str) -> None:
        self._ready.add(key)
        self._show(f"  index {self._numbers[key]} of {len(self._numbers)}: {message}")
        self._tell_progress()

    def _tell_progress(self) -> None:
        """Report the number of texts with vectors, once there are texts to embed."""
        if self._progress:
            builds = self._progress.values()
            all_chunked = self._numbers.keys() <= self._progress.keys() | self._ready
            texts = sum(build.total for build in builds) if all_chunked else None
            embedded = sum(sum(build.parts.values()) for build in builds)
            self._show(IndexesProgress(embedded, texts, len(self._ready), len(self._numbers)))

    async def _build(self, spec: IndexSpec) -> BuiltIndex | None:
        self._numbers.setdefault(spec.key, len(self._numbers) + 1)
        async with self._build_permits:
            if (size := await self.kept_bytes(spec)) is not None:
                steps = self._small_steps if size <= SMALL_INDEX_BYTES else self._steps
                data, n_texts = await steps.run(load_step, self._storage, spec, machine=self._storage_machine)
                if n_texts is not None:
                    self._contexts.kept(spec.key)
                    self._tell_ready(spec.key, f"{n_texts:,} texts, loaded from storage")
                    return BuiltIndex(steps.share(data))
            if spec.documents not in self._documents:
                return None
            return await self._make(spec, self._documents[spec.documents])

    async def _chunk(self, documents: _Batches, number: int, spec: IndexSpec) -> tuple[Any, int]:
        """The nodes of a batch, which stay where they were made, and the number of nodes to embed."""
        batch = documents.batches[number]
        # models are called by the steps that embed
        writer, on_written = writer_of(spec.parameters), None
        steps = documents.steps if writer or spec.chunker in NEED_MODEL else documents.chunk_steps
        if writer:
            on_written = ContextsReport(steps.report(self), spec.key, number, len(documents.batches))
        if not documents.must_be_read:
            return await steps.run(chunk_step, batch, spec, on_written)
        async with self._reading:
            sent = documents.chunk_steps.put(await asyncio.to_thread(packed, batch))
            return await steps.run(chunk_step, sent, spec, on_written)

    async def _make(self, spec: IndexSpec, documents: _Batches) -> BuiltIndex:
        started = time.monotonic()
        steps = documents.steps
        if writer := writer_of(spec.parameters):
            numbers = f"index {self._numbers[spec.key]} of {len(self._numbers)}"
            self._show(f"  {numbers}: {writer} writes a context for each chunk")
        chunked = await together(self._chunk(documents, number, spec) for number in range(len(documents.batches)))
        total = sum(n_texts for _, n_texts in chunked)
        if not total:
            raise no_text(documents.n_documents, spec.chunker, spec.parameters)
        self._progress[spec.key] = _Progress(total, {})
        self._tell_progress()
        report = steps.report(self)
        embedded = await together(
            steps.run(embed_step, nodes, spec, start, report, i)
            for i, (nodes, n_texts) in enumerate(chunked)
            for start in range(0, n_texts if spec.embed_model else 0, TEXTS_A_STEP)
        )
        large = [nodes for nodes, _ in chunked] + [vectors for vectors, _ in embedded]
        finish = steps.run(finish_step, self._storage, spec, len(chunked), *large, machine=self._storage_machine)
        data, problem = await finish
        self._progress[spec.key] = _Progress(total, {"all": total})
        self._tell_ready(spec.key, f"{total:,} texts, built in {time.monotonic() - started:.1f} s{problem}")
        return BuiltIndex(steps.share(data))


def local_builder(
    storage: Storage, show: Callable[[Message], Any], submit: Callable[..., Any] | None = None
) -> IndexBuilder:
    """A builder for this process, without Ray. With `submit`, other processes chunk many documents."""
    chunk_steps = None if submit is None else ProcessSteps(submit)
    return IndexBuilder(storage, LocalSteps(), show=show, chunk_steps=chunk_steps)


def ray_builder(storage: Storage, mark: str) -> IndexBuilder:
    """A builder for the services' process on Ray.

    Args:
        mark: an object that the driver has put into `storage`. A process that cannot find it is on a machine with
            another folder of the same name, and stores no indexes.
    """
    is_visible = storage.in_memory(()) is storage or storage.exists(mark)
    kept = storage if is_visible else None
    builder = IndexBuilder(kept, RaySteps(), ActorSteps(), steps_see_folders=False)
    if not is_visible:
        builder.warn(
            f"indexes are not stored: the cluster has no access to {storage.uri()}; set DREAM_CACHE_URI to an S3 "
            f"location"
        )
    return builder


def pack(documents: Sequence[Any]) -> tuple[list[bytes], int]:
    """Documents in batches of whole files, one per chunking step, and the number of documents."""
    by_file: dict[str, list[Any]] = {}
    for document in documents:
        by_file.setdefault(document.metadata["file_digest"], []).append(document)
    batches: list[list[Any]] = [[]]
    characters_left = CHARACTERS_A_BATCH
    for pages in by_file.values():
        if characters_left <= 0:
            batches.append([])
            characters_left = CHARACTERS_A_BATCH
        batches[-1] += pages
        characters_left -= sum(len(page.text) for page in pages)
    return [packed(batch) for batch in batches], len(documents)


def packed(documents: Sequence[Any]) -> bytes:
    """Documents in the form that `chunk_step` accepts on any machine."""
    return pickle.dumps(list(documents))


def load_step(storage: Storage, spec: IndexSpec) -> tuple[IndexData | None, int | None]:
    """An index from storage, and the number of its texts; (None, None) if it is missing or damaged."""
    data = load_index(storage, spec)
    return data, None if data is None else count_embedded(data.nodes)


def chunk_step(
    batch: bytes | StoredDocuments, spec: IndexSpec, on_written: ContextsReport | None = None
) -> tuple[pyarrow.Table, int]:
    """The nodes of a batch of documents, and the number of nodes to embed."""
    documents = pickle.loads(batch) if isinstance(batch, bytes) else list(batch)
    if spec.chunker in NEED_MODEL:
        with _model_of(spec) as model:
            nodes = chunk(documents, spec.chunker, spec.parameters, model)
    else:
        nodes = chunk_once(documents, spec.chunker, without_writer(spec.parameters))
    return with_written_contexts(nodes, documents, spec.parameters, on_written), count_embedded(nodes)


def embed_step(nodes: pyarrow.Table, spec: IndexSpec, start: int, report: Report, batch: int) -> tuple[Any, None]:
    """The vectors of `TEXTS_A_STEP` texts of a batch, from number `start` on."""
    texts = texts_to_embed(nodes)[start : start + TEXTS_A_STEP]
    with _model_of(spec) as model:
        return embed(texts, model, lambda done: report(spec.key, (batch, start), done)), None


@contextmanager
def _model_of(spec: IndexSpec) -> "Iterator[BaseEmbedding]":
    """The embedding model of an index; its errors are raised as a `ServiceError`."""
    try:
        yield embed_model_picker(spec.embed_model, stage=STAGE)
    except Exception as error:  # noqa: BLE001
        if (end := end_of_all(error)) is not None:
            raise end from None
        # exceptions of other libraries may not be picklable
        raise ServiceError(f"the embedding model {spec.embed_model} failed: {explain(error)}") from None


def finish_step(storage: Storage | None, spec: IndexSpec, n_tables: int, *large: Any) -> tuple[IndexData, str]:
    """The whole index, written to `storage` unless that is None, and a remark if it could not be stored."""
    tables, vectors = large[:n_tables], large[n_tables:]
    data = join(tables, vectors) if spec.embed_model else without_vectors(tables)
    remark = failures_told(data.nodes)
    if storage is not None and not is_incomplete(data.nodes):
        try:
            save_index(storage, spec, data)
        except StorageError as error:
            return data, f", but not stored: {explain(error)}{remark}"
    return data, remark
