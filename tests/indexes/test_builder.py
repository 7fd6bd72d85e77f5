"""Indexes are built once, kept in storage, and shared: in one process, without Ray.

Covers `client` and `steps` too: they are what the builder is reached by and works with.
"""

import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from model_servers import Reply, pages

from dream.documents import load_documents
from dream.engines.processes import ProcessPool
from dream.errors import DataError, ServiceError, StorageError
from dream.indexes import builder, client as index_client
from dream.indexes.chunkers import build_index
from dream.indexes.client import LocalIndexes, get_index, index_spec
from dream.indexes.nodes import vector_index
from dream.indexes.steps import LocalSteps, Machine
from dream.indexes.store import (
    FOLDER,
    MANIFEST,
    NODES,
    VECTORS,
    IndexSpec,
    documents_digest,
    is_stored,
    load_index,
    save_index,
)
from dream.models.pickers import embed_model_picker
from dream.progress import Lines
from dream.rag.methods import find_rag_method
from dream.rag.search_space import DEFAULT_METHODS
from dream.services import LocalService
from dream.settings import Settings
from dream.storage import LocalStorage, open_storage

METHODS = {name: find_rag_method(name) for name in DEFAULT_METHODS}
TEXT = " ".join(f"Buoy {number} lies {number * 3} miles off the coast of Kell." for number in range(240))
SPEC = IndexSpec("digest", "hierarchy", {"chunk_sizes": (512, 128)}, "embed-small@relay", "host:1/v1")


@pytest.fixture
def documents():
    return [*pages("a.txt", TEXT[:9000], TEXT[9000:]), *pages("b.txt", TEXT[200:4000]), *pages("c.txt", TEXT[:3000])]


@pytest.fixture
def lines():
    return []


@pytest.fixture
def access(gateway, home, lines):
    with index_client.opened(home, lines.append) as opened:
        yield opened


@pytest.fixture
def storage(home):
    return open_storage(home.cache_uri, home)


def ask(documents, embed_model="embed-small@relay", trial=""):
    return get_index(documents, "overlapping_chunks", {"chunk_size": 64, "chunk_overlap": 8}, embed_model, trial=trial)


def distinct(index):
    """Different vectors: a text that stands twice in the documents is embedded once."""
    return len({row.tobytes() for row in index.vector_store.client})


def embedded_texts(relay):
    return [text for seen in relay.requests for text in seen.body["input"]]


def content(index):
    nodes = [
        (node.text, node.start_char_idx, node.end_char_idx, node.metadata, node.relationships)
        for node in index.docstore.docs.values()
    ]
    return nodes, index.vector_store.embedded_ids


def test_the_same_name_at_another_endpoint_is_another_model_but_offline_models_are_the_same_anywhere(
    gateway, model_server, relay
):
    here, there = (index_spec("d", "sentences", {}, name).endpoint for name in ("embed-small", "embed-small@relay"))
    assert here != there
    offline = index_spec("d", "sentences", {}, "offline/embed-small").endpoint
    assert not any(part in offline for part in ("127.0.0.1", "localhost", ":"))


@pytest.mark.parametrize("method", list(METHODS))
def test_what_is_kept_is_what_was_built(method, access, home, documents, storage):
    rag_method = METHODS[method]
    request = (rag_method.chunker, rag_method.split(rag_method.defaults)[0])
    plain = build_index(documents, *request, embed_model_picker("embed-small"))
    built = get_index(documents, *request, "embed-small")
    kept = load_index(storage, index_spec(documents_digest(documents), *request, "embed-small"))
    assert content(built) == content(plain)
    assert numpy.array_equal(built.vector_store.client, plain.vector_store.client)
    assert numpy.array_equal(kept.vectors, plain.vector_store.client)


def test_small_steps_give_the_same_index(access, documents, monkeypatch):
    monkeypatch.setattr(builder, "CHARACTERS_A_BATCH", 1000)
    monkeypatch.setattr(builder, "TEXTS_A_STEP", 5)
    for method in METHODS.values():
        request = (method.chunker, method.split(method.defaults)[0])
        plain = build_index(documents, *request, embed_model_picker("embed-small"))
        in_steps = get_index(documents, *request, "embed-small")
        assert len(in_steps.vector_store.client) > 5
        assert described(in_steps) == described(plain)


def test_a_chunker_that_asks_the_model_asks_it_where_vectors_are_asked_for(gateway, home, documents, monkeypatch):
    monkeypatch.setattr(builder, "MANY_DOCUMENTS_BYTES", 1)  # other chunkers would be sent to other processes
    request = ("semantic", {"chunk_size": 64, "chunk_context": "headings"})
    with index_client.opened(home, submit=lambda *step: pytest.fail(f"{step} is sent to another process")):
        built = get_index(documents, *request, "embed-small")
    assert described(built) == described(build_index(documents, *request, embed_model_picker("embed-small")))


def test_a_failure_of_the_model_that_a_chunker_asks_is_told(access, documents):
    with pytest.raises(ServiceError, match="does not have the model"):
        get_index(documents, "semantic", {"chunk_size": 64}, "nothing@relay")


@pytest.mark.whole
def test_many_documents_are_chunked_in_other_processes_into_the_same_index(gateway, home, documents, monkeypatch):
    monkeypatch.setattr(builder, "MANY_DOCUMENTS_BYTES", 1)
    monkeypatch.setattr(builder, "CHARACTERS_A_BATCH", 1000)
    pool, submitted = ProcessPool(2), []

    def submit(step, *arguments):
        submitted.append(step)
        return pool.submit(step, *arguments)

    try:
        with index_client.opened(home, submit=submit):
            for method in METHODS.values():
                request = (method.chunker, method.split(method.defaults)[0])
                plain = build_index(documents, *request, embed_model_picker("embed-small"))
                assert described(get_index(documents, *request, "embed-small")) == described(plain)
    finally:
        pool.close()
    assert submitted == [builder.chunk_step] * 3 * len(METHODS)  # three files, each a batch


@pytest.fixture
def stored(storage, tmp_path):
    """Documents of three files whose texts are kept in the cache."""
    folder = LocalStorage(str(tmp_path / "documents"))
    for name, text in {"a.txt": TEXT[:9000], "b.txt": TEXT[200:4000], "c.txt": TEXT[:3000]}.items():
        folder.write_text(name, text)
    return load_documents(folder, cache=storage).documents


def small_batches(monkeypatch):
    monkeypatch.setattr(builder, "CHARACTERS_A_BATCH", 1000)
    monkeypatch.setattr(index_client, "CHARACTERS_A_BATCH", 1000)


def test_texts_in_storage_are_read_by_the_steps_into_the_same_index(access, stored, storage, monkeypatch):
    small_batches(monkeypatch)
    monkeypatch.setattr(index_client, "packed", None)
    assert index_spec(documents_digest(stored), "sentences", {}, "embed-small") == spec_of_list(stored)
    for method in METHODS.values():
        request = (method.chunker, method.split(method.defaults)[0])
        plain = build_index(list(stored), *request, embed_model_picker("embed-small"))
        assert described(get_index(stored, *request, "embed-small")) == described(plain)
        assert is_stored(storage, index_spec(documents_digest(list(stored)), *request, "embed-small"))


def spec_of_list(documents):
    return index_spec(documents_digest(list(documents)), "sentences", {}, "embed-small")


@pytest.mark.whole
def test_other_processes_read_texts_from_storage_themselves(gateway, home, stored, monkeypatch):
    monkeypatch.setattr(builder, "MANY_DOCUMENTS_BYTES", 1)
    small_batches(monkeypatch)
    pool, taken = ProcessPool(2), []

    def submit(step, batch, *arguments):
        taken.append(len(pickle.dumps(batch)))
        return pool.submit(step, batch, *arguments)

    try:
        with index_client.opened(home, submit=submit):
            plain = build_index(list(stored), "sentences", {}, embed_model_picker("embed-small"))
            assert described(get_index(stored, "sentences", {}, "embed-small")) == described(plain)
    finally:
        pool.close()
    assert len(taken) == 3
    assert max(taken) < 1500


def test_texts_that_the_builder_does_not_see_are_sent_in_batches(access, stored, storage, monkeypatch):
    small_batches(monkeypatch)
    documents_digest(stored)
    sent = []
    monkeypatch.setattr(index_client, "packed", lambda batch: sent.append(batch.files) or builder.packed(batch))
    plain = build_index(list(stored), "sentences", {}, embed_model_picker("embed-small"))
    for item in storage.list("texts/"):
        storage.delete(item.key)
    assert described(get_index(stored, "sentences", {}, "embed-small")) == described(plain)
    assert [[file.name for file in files] for files in sent] == [["a.txt"], ["b.txt"], ["c.txt"]]


def test_workers_that_see_no_folder_get_batches_that_the_builder_reads(gateway, stored, storage, monkeypatch):
    """As on Ray, where steps run on any machine, and the texts are in a folder of the builder's."""
    small_batches(monkeypatch)
    taken = []

    class FarSteps(LocalSteps):
        async def run(self, step, *arguments, machine=Machine.ANY):
            taken.extend(argument for argument in arguments[:1] if step is builder.chunk_step)
            return await super().run(step, *arguments)

    monkeypatch.setattr(builder, "FEW_DOCUMENTS_BYTES", 0)
    far = builder.IndexBuilder(storage, FarSteps(), LocalSteps(), steps_see_folders=False)
    indexes = LocalIndexes.__new__(LocalIndexes)
    index_client.IndexClient.__init__(indexes, LocalService(far))
    try:
        data = indexes.get(spec_of_list(stored), stored)
    finally:
        indexes.close()
    plain = build_index(list(stored), "sentences", {}, embed_model_picker("embed-small"))
    assert described(vector_index(data, embed_model_picker("embed-small"))) == described(plain)
    assert [type(batch) for batch in taken] == [bytes] * 3


def described(index):
    """Each node with its neighbours, by their texts: ids tell the row, which differs with the batches."""
    nodes = index.docstore.docs
    embedded = set(index.vector_store.embedded_ids)

    def text(link):
        return nodes[link.node_id].text if link else ""

    return sorted(
        (
            node.metadata["file_name"],
            node.start_char_idx,
            node.text,
            node.metadata["page_label"],
            node.node_id in embedded,
            *map(text, (node.parent_node, node.prev_node, node.next_node)),
            tuple(map(text, node.child_nodes or ())),
        )
        for node in nodes.values()
    )


def test_many_askers_at_once_have_it_built_once(access, documents, relay, lines):
    with ThreadPoolExecutor(8) as pool:
        indexes = list(pool.map(lambda n: ask(documents, trial=f"t{n}"), range(8)))
    assert len({id(index.vector_store.client) for index in indexes}) == 1
    assert len(embedded_texts(relay)) == distinct(indexes[0])
    assert lines[-1].startswith(f"  index 1 of 1: {len(indexes[0].vector_store.client):,} texts, built in ")


def test_the_texts_embedded_are_shown_while_an_index_is_built(gateway, home, documents):
    lines = []
    with index_client.opened(home, Lines(lines.append, every_seconds=0)):
        n = len(ask(documents).vector_store.client)
    assert re.match(rf"embedding documents: 0 of {n} texts in \d+ s, indexes 0 of 1$", lines[0])
    assert any(line.startswith(f"  index 1 of 1: {n} texts, built in ") for line in lines)
    assert re.match(rf"embedding documents: {n} of {n} texts in \d+ s, indexes 1 of 1$", lines[-1])


def test_later_experiments_load_it(gateway, home, documents, relay, lines):
    for _ in range(2):
        with index_client.opened(home, lines.append):
            index = ask(documents)
    assert len(embedded_texts(relay)) == distinct(index)
    assert lines[-1].endswith("texts, loaded from storage")


def test_an_experiment_begins_with_all_of_its_indexes(access, documents, relay, lines):
    requests = [
        ("overlapping_chunks", {"chunk_size": size, "chunk_overlap": 8}, "embed-small@relay") for size in (64, 90)
    ]
    assert access.start(documents, [*requests, *requests]) == 2
    indexes = [get_index(documents, *request) for request in requests]
    assert len(embedded_texts(relay)) == sum(map(distinct, indexes))
    assert sum(" of 2: " in line and "built in" in line for line in lines) == 2


def test_texts_are_embedded_for_all_and_questions_for_their_trial(access, documents, gateway):
    ask(documents, trial="t7").as_retriever().retrieve("Where is buoy 7?")
    stages = {(row.stage, row.trial) for row in gateway.usage()}
    assert stages == {("embed", ""), ("query", "t7")}


def _cut(storage: LocalStorage, key: str) -> None:
    storage.write_bytes(key, storage.read_bytes(key)[:-100])


def _turn_a_bit(storage: LocalStorage, key: str) -> None:
    content = bytearray(storage.read_bytes(key))
    content[len(content) // 2] ^= 1
    storage.write_bytes(key, bytes(content))


def _remove(storage: LocalStorage, key: str) -> None:
    storage.delete(key)


def _write_nonsense(storage: LocalStorage, key: str) -> None:
    storage.write_bytes(key, b"[1, 2]")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        *((damage, name) for damage in (_cut, _remove, _write_nonsense) for name in (VECTORS, NODES, MANIFEST)),
        *((_turn_a_bit, name) for name in (VECTORS, NODES)),
    ],
)
def test_what_is_damaged_is_ignored_and_replaced(damage, name, gateway, home, documents, storage):
    def build():
        with index_client.opened(home):
            return ask(documents, "embed-small")

    whole = content(build())
    (folder,) = {item.key.rpartition("/")[0] for item in storage.list(FOLDER)}
    damage(storage, f"{folder}/{name}")
    spec = spec_of(documents, "embed-small")
    assert load_index(storage, spec) is None
    assert content(build()) == whole
    assert load_index(storage, spec) is not None


def spec_of(documents, embed_model):
    parameters = {"chunk_size": 64, "chunk_overlap": 8}
    return index_spec(documents_digest(documents), "overlapping_chunks", parameters, embed_model)


def test_half_written_is_not_there(gateway, documents, storage, monkeypatch):
    """The writer is lost between the files and the manifest."""

    class Cut(LocalStorage):
        def write_json(self, key, value):
            raise StorageError("gone")

    index = build_index(documents, "sentences", {}, embed_model_picker("embed-small"))
    spec = index_spec(documents_digest(documents), "sentences", {}, "embed-small")
    data = builder.IndexData(index.vector_store.client, builder.chunk_once(documents, "sentences", {}))
    save_index(storage, spec, data)
    with pytest.raises(StorageError, match="gone"):
        save_index(Cut(storage.root), spec, data)
    assert not is_stored(storage, spec)
    assert load_index(storage, spec) is None


def test_a_failure_reaches_all_who_wait_and_is_not_remembered(access, documents, relay):
    refused = Reply(400, {"error": {"message": "the model is being replaced"}})
    relay.first(*[refused] * 500)
    with ThreadPoolExecutor(4) as pool:
        failures = [future.exception() for future in [pool.submit(ask, documents) for _ in range(4)]]
    for failure in failures:
        assert isinstance(failure, ServiceError)
        assert str(failure).startswith("the embedding model embed-small@relay failed: ")
        assert "the model is being replaced" in str(failure)
    asked = len(relay.requests)
    assert asked < 100
    relay.reset()
    assert distinct(ask(documents)) == len(embedded_texts(relay))


def test_documents_without_text_are_refused(access):
    with pytest.raises(DataError, match=r"1 document\(s\) contain no text to embed with overlapping_chunks"):
        ask(pages("a.txt", " "))


def test_an_index_that_cannot_be_kept_is_used_all_the_same(access, documents, home, lines):
    folder = Path(home.cache_uri, FOLDER)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    assert len(ask(documents).vector_store.client) > 50
    assert "but not stored: " in lines[-1]


def test_without_a_builder_the_environments_cache_is_used(gateway, documents, relay, monkeypatch, tmp_path):
    monkeypatch.setenv("DREAM_CACHE_URI", str(tmp_path / "kept"))
    index = ask(documents)
    spec = spec_of(documents, "embed-small@relay")
    assert is_stored(open_storage(str(tmp_path / "kept"), Settings.from_environment({})), spec)
    assert ask(documents).vector_store.client is index.vector_store.client


def test_an_index_is_read_only(access, documents):
    index = ask(documents)
    with pytest.raises(NotImplementedError, match="build a new one"):
        index.insert(documents[0])
    with pytest.raises(ValueError, match="is not in this index"):
        index.docstore.get_node("nobody-7")
    assert index.docstore.get_node("nobody", raise_error=False) is None
    assert threading.active_count() < 200
