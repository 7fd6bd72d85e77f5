"""`get_index`: how a trial gets its index, wherever it runs. Built by whoever needs it first; the others wait for it.

trial --get_index--> builder: one named actor on Ray, an object in this process without
"""

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dream import ray_cluster
from dream.errors import DreamError
from dream.event_loop import run_async
from dream.indexes.builder import IndexBuilder, pack
from dream.indexes.store import FOLDER, IndexData, IndexSpec, documents_digest
from dream.models.gateway_client import door
from dream.models.pickers import embed_model_picker, split_identifier
from dream.settings import OFFLINE, Settings
from dream.storage.objects import Storage, open_storage

if TYPE_CHECKING:
    from llama_index.core import Document, VectorStoreIndex

ACTOR_NAME = "dream-indexes"
QUERY_STAGE = "query"
LOSSES_ALLOWED = 3
GONE_SECONDS = 10.0

# a chunker's name, its parameters, an embedding model
Request = tuple[str, Mapping[str, Any], str]


def get_index(
    documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any], embed_model: str, *, trial: str = ""
) -> "VectorStoreIndex":
    """The index of documents: from storage, from another trial, or built now; each distinct one once for all.

    Args:
        chunker: a name in `CHUNKERS`; `parameters` are its keyword arguments.
        embed_model: its identifier. Texts are embedded on nobody's account in the meter (stage "embed", trial ""),
            as the index is shared; questions on the trial's (stage "query").

    Raises:
        DataError: when the documents yield no node to embed.
        ServiceError: when the embedding model fails; a later call tries again.
    """
    from dream.indexes.nodes import vector_index

    spec = index_spec(documents_digest(documents), chunker, parameters, embed_model)
    data = _access().get(spec, documents)
    return vector_index(data, embed_model_picker(embed_model, stage=QUERY_STAGE, trial=trial))


def index_spec(documents: str, chunker: str, parameters: Mapping[str, Any], embed_model: str) -> IndexSpec:
    """What an index depends on; its `key` is the index's name. `documents` is their `documents_digest`."""
    return IndexSpec(documents, chunker, dict(parameters), embed_model, _place(embed_model))


def _place(embed_model: str) -> str:
    """Where a model is, so that the same name elsewhere is another model. The offline ones come with DREAM."""
    endpoint, _ = split_identifier(embed_model)
    if endpoint == OFFLINE:
        return f"{OFFLINE} {version('dream-rag')}"
    url = urlsplit(door().call("base_url", endpoint))
    return url.netloc + url.path


class IndexAccess(ABC):
    """Reaches the builder. `call` is safe from any thread."""

    @abstractmethod
    def call(self, method: str, *arguments: Any) -> Any: ...

    def get(self, spec: IndexSpec, documents: Sequence["Document"]) -> IndexData:
        """The index; its documents are sent along only when the builder needs them."""
        return self._ask(spec, documents)[0]

    def start(self, documents: Sequence["Document"], requests: Iterable[Request]) -> int:
        """Begin to build all indexes of an experiment before trials ask for them; the number of distinct ones."""
        digest = documents_digest(documents)
        specs = {spec.key: spec for spec in (index_spec(digest, *request) for request in requests)}
        if any(self.call("kept_bytes", spec) is None for spec in specs.values()):
            self.call("take_documents", digest, *pack(documents))
        self.call("expect", list(specs.values()))
        return len(specs)

    def _ask(self, spec: IndexSpec, documents: Sequence["Document"]) -> list[Any]:
        while (found := self.call("get", spec)) is None:
            self.call("take_documents", spec.documents, *pack(documents))
        return found


class AccessHere(IndexAccess):
    """A builder in this process, on DREAM's own event loop."""

    def __init__(self, storage: Storage, show: Callable[[str], Any] | None = None) -> None:
        self._builder = IndexBuilder(storage, show=show)

    def call(self, method: str, *arguments: Any) -> Any:
        return run_async(getattr(self._builder, method)(*arguments))


class AccessOnRay(IndexAccess):
    """The builder as a named Ray actor, shared by all workers of this job; data come from the object store."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def call(self, method: str, *arguments: Any) -> Any:
        import ray

        with ray_cluster.unwrapped():
            return ray.get(getattr(self._actor, method).remote(*arguments))

    def get(self, spec: IndexSpec, documents: Sequence["Document"]) -> IndexData:
        """The index; where its data went with a lost machine, it is loaded or built again."""
        import ray
        from ray.exceptions import ObjectLostError

        for _ in range(LOSSES_ALLOWED):
            try:
                return ray.get(self._ask(spec, documents)[0])
            except ObjectLostError:
                self.call("forget", spec.key)
        return ray.get(self._ask(spec, documents)[0])

    def close(self) -> None:
        """End the actor and wait until its name is free."""
        import ray

        ray.kill(self._actor)
        give_up = time.monotonic() + GONE_SECONDS
        while _find_actor() is not None and time.monotonic() < give_up:
            time.sleep(0.02)


_opened: IndexAccess | None = None
_by_cache: dict[str, IndexAccess] = {}


@contextmanager
def opened(settings: Settings, show: Callable[[str], Any] | None = None) -> Iterator[IndexAccess]:
    """A builder for the length of a `with` block, on the Ray cluster if this process is connected to one.

    Args:
        show: takes a line of progress at a time.
    """
    global _opened
    existing = _opened or _find_actor()
    if existing is not None:
        yield existing
        return
    storage = open_storage(settings.cache_uri, settings)
    storage.ensure()
    with _on_cluster(storage, show) if ray_cluster.on_ray() else nullcontext(AccessHere(storage, show)) as access:
        _opened = access
        try:
            yield access
        finally:
            _opened = None


def _access() -> IndexAccess:
    """The builder opened before, else the cluster's, else one in this process with the storage of its environment."""
    found = _opened or _find_actor()
    if found is not None:
        return found
    settings = Settings.from_environment()
    if settings.cache_uri not in _by_cache:
        _by_cache[settings.cache_uri] = AccessHere(open_storage(settings.cache_uri, settings))
    return _by_cache[settings.cache_uri]


@contextmanager
def _on_cluster(storage: Storage, show: Callable[[str], Any] | None) -> Iterator[IndexAccess]:
    """The actor. A file lies in the cache meanwhile, by which it knows whether a folder there is the folder here."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_concurrency": 1000, "max_restarts": -1, "max_task_retries": -1}
    mark = f"{FOLDER}/opened-{uuid.uuid4().hex}"
    storage.write_bytes(mark, b"")
    actor = ray.remote(IndexBuilder).options(name=ACTOR_NAME, scheduling_strategy=here, **options)
    access = AccessOnRay(actor.remote(storage, on_ray=True, mark=mark))
    try:
        with _showing(access, show) if show else nullcontext():
            yield access
    finally:
        access.close()
        with suppress(DreamError):
            storage.delete(mark)


@contextmanager
def _showing(access: IndexAccess, show: Callable[[str], Any]) -> Iterator[None]:
    """Show the builder's lines from a thread; at the end those that are left."""
    stop = threading.Event()

    def deliver() -> None:
        while not stop.is_set():
            try:
                for line in access.call("lines"):
                    show(line)
            except Exception:  # noqa: BLE001 - a builder that is away for a moment; what is wrong, its askers learn
                stop.wait(1)

    teller = threading.Thread(target=deliver, name="dream-index-lines", daemon=True)
    teller.start()
    try:
        yield
    finally:
        stop.set()
        teller.join()


def _find_actor() -> AccessOnRay | None:
    actor = ray_cluster.find_actor(ACTOR_NAME)
    return AccessOnRay(actor) if actor else None
