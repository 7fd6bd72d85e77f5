"""`get_index`: the index of a trial. The first trial that needs an index has it built; others wait for it.

trial --get_index--> IndexClient --> IndexBuilder, an object of this process or of one on Ray
"""

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from dream.documents.stored_documents import StoredDocuments
from dream.errors import DreamError
from dream.indexes.builder import (
    CHARACTERS_A_BATCH,
    BuiltIndex,
    IndexBuilder,
    WholeDocuments,
    local_builder,
    pack,
    packed,
    ray_builder,
)
from dream.indexes.contexts import writer_of
from dream.indexes.progress import Message, ProgressOfIndexes
from dream.indexes.steps import INDEXES
from dream.indexes.store import FOLDER, IndexData, IndexSpec, documents_digest
from dream.models.gateway_client import current_gateway
from dream.models.pickers import embed_model_picker, split_identifier
from dream.progress import Reporter, Show, reporter_for
from dream.services import LocalService, OnRay, RayService, Service, host, session
from dream.settings import OFFLINE, Settings
from dream.storage import Storage, open_storage

if TYPE_CHECKING:
    from llama_index.core import Document, VectorStoreIndex

Submit = Callable[..., Future[Any]]
QUERY_STAGE = "query"
LOSSES_ALLOWED = 3


class IndexRequest(NamedTuple):
    """The index that a trial needs: `parameters` are keyword arguments of the chunker, a name in `CHUNKERS`."""

    chunker: str
    parameters: Mapping[str, Any]
    embed_model: str


def get_index(
    documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any], embed_model: str, *, trial: str = ""
) -> "VectorStoreIndex":
    """The index of documents: from storage, from another trial, or built now. Each distinct index is built once for all
    trials.

    Args:
        chunker: a name in `CHUNKERS`; `parameters` are its keyword arguments.
        embed_model: a model identifier; "" for an index without vectors, which is chunked in this process unless an LLM
            writes contexts. Embedding documents and writing contexts is not attributed to any trial in the usage
            (stages "embed" and "context", trial ""), because the index is shared; questions are attributed to `trial`
            (stage "query").

    Raises:
        DataError: if the documents contain no text to embed.
        ServiceError: if the embedding model fails; a later call tries again.
    """
    from dream.indexes.nodes import vector_index
    from dream.indexes.without_vectors import index_without_vectors, word_index

    if not embed_model and not writer_of(parameters):
        return index_without_vectors(documents, chunker, parameters)
    spec = index_spec(documents_digest(documents), chunker, parameters, embed_model)
    data = current_indexes().get(spec, documents)
    if not embed_model:
        return word_index(data)
    return vector_index(data, embed_model_picker(embed_model, stage=QUERY_STAGE, trial=trial))


def index_spec(documents: str, chunker: str, parameters: Mapping[str, Any], embed_model: str) -> IndexSpec:
    """Everything that an index depends on; its `key` is the index's name. `documents` is the digest by
    `documents_digest`."""
    models = [model for model in (embed_model, writer_of(parameters)) if model]
    return IndexSpec(documents, chunker, dict(parameters), embed_model, " ".join(map(_model_address, models)))


def _model_address(identifier: str) -> str:
    """The URL of the model's server, because the same name elsewhere may be another model; empty for offline models."""
    endpoint, _ = split_identifier(identifier)
    if endpoint == OFFLINE:
        return f"{OFFLINE} {version('dream-rag')}"
    url = urlsplit(current_gateway().base_url(endpoint))
    return url.netloc + url.path


class IndexClient(ABC):
    """Access to the index builder. All methods are thread-safe."""

    def __init__(self, service: Service[IndexBuilder]) -> None:
        self._service = service

    @abstractmethod
    def get(self, spec: IndexSpec, documents: Sequence["Document"]) -> IndexData:
        """The index; its documents are sent to the builder only if it needs them."""

    def start(self, documents: Sequence["Document"], requests: Iterable[IndexRequest]) -> int:
        """Begin to build all indexes of an experiment before trials request them; returns the number of distinct
        ones."""
        digest = documents_digest(documents)
        specs = {spec.key: spec for spec in (index_spec(digest, *request) for request in requests)}
        if any(self._service.call(IndexBuilder.kept_bytes, spec) is None for spec in specs.values()):
            self._send(digest, documents)
        self._service.call(IndexBuilder.expect, list(specs.values()))
        return len(specs)

    def messages(self) -> list[Message]:
        """The builder's messages about progress since the last call; waits up to 0.5 s when there is none."""
        return self._service.call(IndexBuilder.messages)

    def _built(self, spec: IndexSpec, documents: Sequence["Document"]) -> BuiltIndex:
        while (index := self._service.call(IndexBuilder.get, spec)) is None:
            self._send(spec.documents, documents)
        return index

    def _send(self, digest: str, documents: Sequence["Document"]) -> None:
        """Send the builder a reference to the documents, or all texts in batches if it has no access to them."""
        if not isinstance(documents, StoredDocuments):
            self._service.call(IndexBuilder.take_documents, digest, *pack(documents))
        elif not self._service.call(IndexBuilder.take_reference, digest, documents):
            batches = documents.batches(CHARACTERS_A_BATCH)
            whole = WholeDocuments(len(batches), len(documents), documents.characters)
            for number, batch in enumerate(batches):
                self._service.call(IndexBuilder.take_batch, digest, number, packed(batch), whole)


class LocalIndexes(IndexClient):
    """A builder in this process, on DREAM's own event loop."""

    def __init__(self, storage: Storage, progress: ProgressOfIndexes, submit: Submit | None = None) -> None:
        super().__init__(LocalService(local_builder(storage, progress.show, submit)))

    def get(self, spec: IndexSpec, documents: Sequence["Document"]) -> IndexData:
        return self._built(spec, documents).data

    def close(self) -> None:
        """End running builds."""
        self._service.call(IndexBuilder.close)


class RayIndexes(IndexClient):
    """The builder in the services' process on Ray, shared by all workers; data come from the object store."""

    def __init__(self, service: RayService[IndexBuilder]) -> None:
        super().__init__(service)

    def get(self, spec: IndexSpec, documents: Sequence["Document"]) -> IndexData:
        """The index; data that was lost with a machine is loaded or rebuilt, up to 3 times."""
        import ray
        from ray.exceptions import ObjectLostError

        for _ in range(LOSSES_ALLOWED):
            try:
                return ray.get(self._built(spec, documents).data)
            except ObjectLostError:
                self._service.call(IndexBuilder.forget, spec.key)
        return ray.get(self._built(spec, documents).data)


def current_indexes() -> IndexClient:
    """The open builder, else that of the Ray job, else a new one in this process with the cache of the environment's
    settings."""
    if (opened_before := _existing()) is not None:
        return opened_before
    settings = Settings.from_environment()

    def open_local() -> LocalIndexes:
        return LocalIndexes(open_storage(settings.cache_uri, settings), ProgressOfIndexes(Reporter()))

    return session().get_or_open(LocalIndexes, open_local, settings.cache_uri)


@contextmanager
def opened(settings: Settings, show: Show = None, submit: Submit | None = None) -> Iterator[IndexClient]:
    """A builder for a `with` block, on the Ray cluster if there is one; an open builder is reused.

    Args:
        show: shows progress (see `dream.progress`).
        submit: runs tasks in other processes, if there is no cluster (`dream.engines.Engine.submit`).
    """
    if (opened_before := _existing()) is not None:
        yield opened_before
        return
    storage = open_storage(settings.cache_uri, settings)
    storage.ensure()
    progress = ProgressOfIndexes(reporter_for(show))
    try:
        with _started(storage, progress, submit) as indexes:
            session().get_or_open(IndexClient, lambda: indexes)
            try:
                yield indexes
            finally:
                session().take_out(IndexClient)
    finally:
        progress.finish()


def _existing() -> IndexClient | None:
    if (indexes := session().get(IndexClient)) is not None:
        return indexes
    service = host().find(INDEXES)
    return RayIndexes(service) if isinstance(service, RayService) else None


def _started(
    storage: Storage, progress: ProgressOfIndexes, submit: Submit | None
) -> AbstractContextManager[IndexClient]:
    here = host()
    if isinstance(here, OnRay):
        return _on_ray(here, storage, progress)
    return closing(LocalIndexes(storage, progress, submit))


@contextmanager
def _on_ray(cluster: OnRay, storage: Storage, progress: ProgressOfIndexes) -> Iterator[IndexClient]:
    """The builder on Ray. A temporary file in the cache shows it whether it has access to the same folder."""
    mark = f"{FOLDER}/opened-{uuid.uuid4().hex}"
    storage.write_bytes(mark, b"")
    service = cluster.start(INDEXES, partial(ray_builder, storage, mark))
    indexes = RayIndexes(service)
    try:
        with _showing(indexes, progress):
            yield indexes
    finally:
        with suppress(DreamError):
            service.call(IndexBuilder.close)
        service.end()
        with suppress(DreamError):
            storage.delete(mark)


@contextmanager
def _showing(indexes: IndexClient, progress: ProgressOfIndexes) -> Iterator[None]:
    """Show the builder's messages from a thread."""
    stop = threading.Event()

    def deliver() -> None:
        while not stop.is_set():
            try:
                for message in indexes.messages():
                    progress.show(message)
            except Exception:  # noqa: BLE001 - the builder is away for a moment; trials that wait for it learn why
                stop.wait(1)

    thread = threading.Thread(target=deliver, name="dream-index-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
