"""Builds each distinct index once, in steps that run as Ray tasks over the cluster, or in this process: without Ray,
and for documents so few that starting processes would take longer than the work.

    found in storage? --no--> chunk (a step for each batch of documents) --> embed (a step for each part of the
    texts) --> finish: joined, stored, shared

One `IndexBuilder` serves all trials: whoever asks first has the index built, the others wait for it. A step whose
process or machine is lost runs again elsewhere. A failure is told to all who wait, and forgotten: whoever asks later
has it tried again. `index_access` is how trials reach it.
"""

import asyncio
import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy
import pyarrow

from dream import ray_cluster
from dream.errors import DreamError, ServiceError, StorageError, explain
from dream.indexes.chunkers import chunk, embed, no_text, texts_to_embed, together
from dream.indexes.store import IndexData, IndexSpec, join, load_index, save_index, stored_bytes
from dream.models import gateway_client
from dream.models.pickers import embed_model_picker
from dream.storage.objects import Storage

BUILDS_AT_ONCE = 3
THREADS = 4
TEXTS_A_STEP = 2048
CHARACTERS_A_BATCH = 2_000_000
# documents (packed) and kept indexes up to these sizes are the builder's own work
FEW_DOCUMENTS_BYTES, SMALL_INDEX_BYTES = 500_000, 32_000_000
LINES_WAIT_SECONDS = 0.5
STAGE = "embed"

Report = Callable[[str, Any, int], Any]


class Steps(Protocol):
    """Where steps run. A step returns what is large and stays where it is, and what is small and comes back."""

    async def run(self, step: Callable[..., tuple[Any, Any]], *arguments: Any, beside: bool = False) -> tuple: ...

    def put(self, value: Any) -> Any:
        """What steps take as the argument `value`."""
        ...

    def share(self, large: Any) -> Any:
        """What trials take as the large result of a step."""
        ...

    def report(self, builder: "IndexBuilder") -> Report: ...


class StepsHere:
    """Steps as threads of this process: its own, as the loop's look up host names for the very calls they wait for."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "dream-index-step")

    async def run(self, step: Callable[..., tuple[Any, Any]], *arguments: Any, beside: bool = False) -> tuple:
        return await asyncio.get_running_loop().run_in_executor(self._threads, step, *arguments)

    def put(self, value: Any) -> Any:
        return value

    def share(self, large: Any) -> Any:
        return large

    def report(self, builder: "IndexBuilder") -> Report:
        return builder.embedded


class StepsInActor(StepsHere):
    """Steps as threads of the builder's actor, for what is small; their data are shared through the object store."""

    async def run(self, step: Callable[..., tuple[Any, Any]], *arguments: Any, beside: bool = False) -> tuple:
        return await super().run(_on_worker, step, *arguments)

    def share(self, large: Any) -> Any:
        import ray

        return ray.put(large)


class StepsOnRay:
    """Steps as Ray tasks. They take no CPU from Ray's count, as trials that wait for them hold all of them; no more
    run at once than the cluster has CPUs. `beside` keeps a step on the builder's own machine."""

    def __init__(self) -> None:
        import ray

        self._room = asyncio.Semaphore(max(2, int(ray.cluster_resources().get("CPU", 1))))
        self._here = ray.get_runtime_context().get_node_id()

    async def run(self, step: Callable[..., tuple[Any, Any]], *arguments: Any, beside: bool = False) -> tuple:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        place = NodeAffinitySchedulingStrategy(self._here, soft=False) if beside else "SPREAD"
        async with self._room:
            options = {"name": f"dream-index-{step.__name__}", "scheduling_strategy": place}
            large, small = _worker_task().options(**options).remote(step, *arguments)
            with ray_cluster.unwrapped():
                return large, await small

    def put(self, value: Any) -> Any:
        import ray

        return ray.put(value)

    def share(self, large: Any) -> Any:
        return large  # a reference already

    def report(self, builder: "IndexBuilder") -> Report:
        import ray

        return _ReportToActor(ray.get_runtime_context().current_actor)


@lru_cache
def _worker_task() -> Any:
    import ray

    return ray.remote(num_cpus=0, num_returns=2, max_retries=3)(_on_worker)


def _on_worker(step: Callable[..., tuple[Any, Any]], *arguments: Any) -> tuple[Any, Any]:
    gateway_client.forget_door()
    return step(*arguments)


@dataclass(frozen=True)
class _ReportToActor:
    actor: Any

    def __call__(self, key: str, part: Any, done: int) -> None:
        self.actor.embedded.remote(key, part, done)


@dataclass
class _Progress:
    """How many texts of an index are to be embedded, and how many of each part are."""

    total: int
    parts: dict[Any, int]


class IndexBuilder:
    """An ordinary class: its async methods must be called on one event loop (a Ray actor, or `index_access`)."""

    def __init__(
        self, storage: Storage, *, on_ray: bool = False, mark: str = "", show: Callable[[str], Any] | None = None
    ) -> None:
        """`mark` is an object in `storage`: where it is not to be seen, the folder is one of another machine."""
        self._steps: Steps = StepsOnRay() if on_ray else StepsHere()
        self._own_steps: Steps = StepsInActor() if on_ray else self._steps
        # A folder is seen on its own machine alone; S3 everywhere (`in_memory` then gives back the storage itself).
        self._beside = storage.in_memory(()) is not storage
        self._builds: dict[str, asyncio.Task] = {}
        self._documents: dict[str, tuple[Steps, list[Any], int]] = {}
        self._numbers: dict[str, int] = {}
        self._progress: dict[str, _Progress] = {}
        self._lines: list[str] = []
        self._show = show or self._lines.append
        self._room = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._storage: Storage | None = storage
        if self._beside and mark and not storage.exists(mark):
            self._storage, self._beside = None, False
            self._show(f"  indexes are not kept: the cluster does not see {storage.uri()}; set DREAM_CACHE_URI to S3")

    async def get(self, spec: IndexSpec) -> list[Any] | None:
        """The index as `[IndexData]`, or on Ray as `[reference to it]`; None when its documents must be given first."""
        if spec.key not in self._builds:
            self._builds[spec.key] = asyncio.ensure_future(self._build(spec))
            self._builds[spec.key].add_done_callback(lambda done: self._forget_failed(spec.key, done))
        found = await asyncio.shield(self._builds[spec.key])
        return None if found is None else [found]

    async def take_documents(self, digest: str, batches: Sequence[bytes], n_documents: int) -> None:
        """Keep documents, packed by `pack`, for the indexes that will be made of them."""
        if digest not in self._documents:
            steps = self._own_steps if sum(map(len, batches)) <= FEW_DOCUMENTS_BYTES else self._steps
            self._documents[digest] = steps, [steps.put(batch) for batch in batches], n_documents

    async def expect(self, specs: Sequence[IndexSpec]) -> None:
        """Number the indexes of an experiment and begin to build them in this order, before anybody asks."""
        for spec in specs:
            self._numbers.setdefault(spec.key, len(self._numbers) + 1)
        for spec in specs:
            asked = asyncio.ensure_future(self.get(spec))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def forget(self, key: str) -> None:
        """Drop an index whose data was lost with a machine, unless it is being built again already."""
        if key in self._builds and self._builds[key].done():
            del self._builds[key]

    async def lines(self) -> list[str]:
        """The lines of progress since the last call; waits a moment when there is none."""
        if not self._lines:
            await asyncio.sleep(LINES_WAIT_SECONDS)
        taken, self._lines[:] = list(self._lines), []
        return taken

    def embedded(self, key: str, part: Any, done: int) -> None:
        """Told by a step how many texts of its part have their vectors; a step that was begun anew counts anew."""
        progress = self._progress.get(key)
        if progress is None:
            return
        before = sum(progress.parts.values())
        progress.parts[part] = max(done, progress.parts.get(part, 0))
        now = sum(progress.parts.values())
        if now * 5 // progress.total > before * 5 // progress.total:
            self._tell(key, f"{now:,} of {progress.total:,} texts")

    async def kept_bytes(self, spec: IndexSpec) -> int | None:
        """The size of an index that is in storage already, so that its documents are not needed; None where none is."""
        return None if self._storage is None else await asyncio.to_thread(stored_bytes, self._storage, spec)

    def _forget_failed(self, key: str, done: asyncio.Task) -> None:
        if done.cancelled() or done.exception() or done.result() is None:
            self._builds.pop(key, None)

    def _tell(self, key: str, what: str) -> None:
        number = self._numbers.setdefault(key, len(self._numbers) + 1)
        self._show(f"  index {number} of {len(self._numbers)}: {what}")

    async def _build(self, spec: IndexSpec) -> Any:
        async with self._room:
            if (kept := await self.kept_bytes(spec)) is not None:
                steps = self._own_steps if kept <= SMALL_INDEX_BYTES else self._steps
                data, n_texts = await steps.run(load_step, self._storage, spec, beside=self._beside)
                if n_texts is not None:
                    self._tell(spec.key, f"{n_texts:,} texts, kept from before")
                    return steps.share(data)
            if spec.documents not in self._documents:
                return None
            return await self._make(spec)

    async def _make(self, spec: IndexSpec) -> Any:
        started = time.monotonic()
        steps, batches, n_documents = self._documents[spec.documents]
        chunked = await together(steps.run(chunk_step, batch, spec) for batch in batches)
        total = sum(n_texts for _, n_texts in chunked)
        if not total:
            raise no_text(n_documents, spec.chunker, spec.parameters)
        self._progress[spec.key] = _Progress(total, {})
        report = steps.report(self)
        embedded = await together(
            steps.run(embed_step, nodes, spec, start, report, i)
            for i, (nodes, n_texts) in enumerate(chunked)
            for start in range(0, n_texts, TEXTS_A_STEP)
        )
        large = [nodes for nodes, _ in chunked] + [vectors for vectors, _ in embedded]
        data, problem = await steps.run(finish_step, self._storage, spec, len(chunked), *large, beside=self._beside)
        self._tell(spec.key, f"{total:,} texts, built in {time.monotonic() - started:.1f} s{problem}")
        return steps.share(data)


def pack(documents: Sequence[Any]) -> tuple[list[bytes], int]:
    """Documents in batches of whole files, each to be chunked by a step of its own, and how many they are."""
    by_file: dict[str, list[Any]] = {}
    for document in documents:
        by_file.setdefault(document.metadata["file_digest"], []).append(document)
    batches: list[list[Any]] = [[]]
    room = CHARACTERS_A_BATCH
    for pages in by_file.values():
        if room <= 0:
            batches.append([])
            room = CHARACTERS_A_BATCH
        batches[-1] += pages
        room -= sum(len(page.text) for page in pages)
    return [pickle.dumps(batch) for batch in batches], len(documents)


def load_step(storage: Storage, spec: IndexSpec) -> tuple[IndexData | None, int | None]:
    """An index from storage, and how many vectors it has; twice None where there is none that is whole."""
    data = load_index(storage, spec)
    return data, None if data is None else len(data.vectors)


def chunk_step(packed: bytes, spec: IndexSpec) -> tuple[pyarrow.Table, int]:
    """The nodes of a batch of documents, and how many of them are to be embedded."""
    nodes = chunk(pickle.loads(packed), spec.chunker, spec.parameters)
    return nodes, int(numpy.count_nonzero(nodes["embedded"].to_numpy()))


def embed_step(nodes: pyarrow.Table, spec: IndexSpec, start: int, report: Report, batch: int) -> tuple[Any, None]:
    """The vectors of `TEXTS_A_STEP` texts of a batch, from the one with number `start` on."""
    texts = texts_to_embed(nodes)[start : start + TEXTS_A_STEP]
    try:
        model = embed_model_picker(spec.embed_model, stage=STAGE)
        return embed(texts, model, lambda done: report(spec.key, (batch, start), done)), None
    except DreamError:
        raise
    except Exception as error:  # noqa: BLE001
        # others' exceptions may not survive the way back
        raise ServiceError(f"the embedding model {spec.embed_model} failed: {explain(error)}") from None


def finish_step(storage: Storage | None, spec: IndexSpec, n_tables: int, *large: Any) -> tuple[IndexData, str]:
    """The whole index, put into storage if there is one, and a remark where that did not succeed."""
    data = join(large[:n_tables], large[n_tables:])
    if storage is not None:
        try:
            save_index(storage, spec, data)
        except StorageError as error:
            return data, f", but not kept: {explain(error)}"
    return data, ""
