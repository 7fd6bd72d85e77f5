"""Documents that stay in storage: the same as in memory, wherever they are read, and never all at once."""

import pickle
from pathlib import Path

import pytest
from sample_files import GOOD, pdf

from dream.documents import load_documents
from dream.documents.stored_documents import StoredDocuments
from dream.documents.text_store import TextStore
from dream.errors import DataError
from dream.records import digest
from dream.storage import LocalStorage

LONG = pdf([f"Page {n} of a longer file." for n in range(1, 13)])
FILES = {
    "a.txt": b"alpha",
    "b.pdf": GOOD,
    "bad.pdf": b"%PDF-1.7",
    "c.pdf": LONG,
    "d.txt": b"delta",
    "same.txt": b"delta",
}


@pytest.fixture
def folder(tmp_path: Path) -> LocalStorage:
    folder = LocalStorage(str(tmp_path / "documents"))
    for name, content in FILES.items():
        folder.write_bytes(name, content)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "cache"))


@pytest.fixture
def stored(folder, cache) -> StoredDocuments:
    return load_documents(folder, cache=cache).documents


def shown(documents):
    return [(document.id_, document.text, document.metadata) for document in documents]


def test_they_are_a_sequence(folder, stored):
    everything = list(load_documents(folder).documents)
    assert shown(stored) == shown(everything)
    assert len(stored) == len(everything) == 17
    for index in (0, 3, 16, -1):
        assert shown([stored[index]]) == shown([everything[index]])
    assert shown(stored[2:9:3]) == shown(everything[2:9:3])
    assert [document.metadata["file_name"] for document in stored[:3]] == ["a.txt", "b.pdf", "b.pdf"]
    with pytest.raises(IndexError):
        stored[17]
    assert stored.characters == sum(len(document.text) for document in everything)


def test_their_digests_are_those_of_lists(folder, cache, stored):
    ids_and_texts = sorted([document.id_, document.text] for document in stored)
    names = ("file_name", "page_label", "file_digest")
    in_order = [[document.text, *(document.metadata[name] for name in names)] for document in stored]
    for documents in (stored, load_documents(folder, cache=cache).documents, load_documents(folder).documents):
        assert documents.digest == digest(ids_and_texts)
        assert documents.digest_with_names == digest(in_order)


def test_what_travels_is_small_and_reads_the_same_elsewhere(cache, stored):
    packed = pickle.dumps(stored)
    assert all(document.text.encode() not in packed for document in stored)
    there = pickle.loads(packed)
    assert there.can_be_read_here()
    assert there == stored
    assert shown(there) == shown(stored)


def test_texts_that_are_not_kept_travel_along_with_their_files_alone(folder):
    held = load_documents(folder).documents
    assert not held.texts.is_shared
    some = pickle.loads(pickle.dumps(held.only(["d.txt"])))
    assert some.can_be_read_here()
    assert [document.text for document in some] == ["delta"]
    assert b"alpha" not in pickle.dumps(some)


def test_batches_are_whole_files(stored):
    batches = stored.batches(20)
    assert [[file.name for file in batch.files] for batch in batches] == [["a.txt", "b.pdf"], ["c.pdf"], ["d.txt"]]
    assert shown(document for batch in batches for document in batch) == shown(stored)
    assert len(stored.batches(10**6)) == 1


def test_a_text_that_is_gone_is_read_again_from_the_same_file(folder, cache, stored):
    for item in cache.list("texts"):
        cache.delete(item.key)
    assert not stored.can_be_read_here()
    assert shown(stored) == shown(load_documents(folder).documents)
    assert stored.can_be_read_here()


def test_a_file_that_has_changed_meanwhile_is_an_error(folder, cache, stored):
    for item in cache.list("texts"):
        cache.delete(item.key)
    folder.write_bytes("d.txt", b"other")
    with pytest.raises(DataError, match=r"d\.txt in .* has changed since it was read: start again"):
        list(stored)


def test_one_text_is_in_memory_at_a_time(stored, monkeypatch):
    read: list[str] = []
    original = TextStore.get
    monkeypatch.setattr(TextStore, "get", lambda store, key, name: read.append(name) or original(store, key, name))
    pages = iter(stored)
    assert next(pages).text == "alpha"
    assert read == ["a.txt"]
    next(pages)
    assert read == ["a.txt", "b.pdf"]
    assert [document.text for document in (stored[-1], stored[-1])] == ["delta", "delta"]
    assert read == ["a.txt", "b.pdf", "d.txt"]
