"""Texts to embed are counted once for each file, and are as many as an index has."""

import numpy
import pytest

from dream.documents import load_documents
from dream.indexes import counts
from dream.indexes.chunkers import chunk_once
from dream.indexes.counts import texts_to_embed, uncounted_characters
from dream.rag.methods import RAG_METHODS
from dream.storage import LocalStorage
from dream.tokens import count_tokens

TEXT = " ".join(f"Buoy {number} lies {number * 3} miles off the coast of Kell." for number in range(400))
FILES = {"a.txt": TEXT[:9000], "b.txt": TEXT[200:4000], "c.txt": TEXT[:3000], "scrap.txt": "1 2 3"}
REQUEST = ("overlapping_chunks", {"chunk_size": 64, "chunk_overlap": 8})


@pytest.fixture
def folder(tmp_path) -> LocalStorage:
    folder = LocalStorage(str(tmp_path / "documents"))
    for name, text in FILES.items():
        folder.write_text(name, text)
    return folder


@pytest.fixture
def stored(folder, tmp_path):
    return lambda: load_documents(folder, cache=LocalStorage(str(tmp_path / "cache"))).documents


@pytest.fixture
def chunked(monkeypatch) -> list[list[str]]:
    """The files of each batch that is chunked."""
    batches: list[list[str]] = []

    def chunk(documents, chunker, parameters):
        batches.append([document.metadata["file_name"] for document in documents])
        return chunk_once(documents, chunker, parameters)

    monkeypatch.setattr(counts, "chunk_once", chunk)
    return batches


@pytest.mark.parametrize("method", RAG_METHODS.values(), ids=list(RAG_METHODS))
def test_the_counts_are_those_of_the_nodes_of_an_index(method, stored):
    request = method.chunker, method.split(method.defaults)[0]
    nodes = chunk_once(list(stored()), *request)
    texts = nodes.filter(nodes["embedded"])["text"].to_pylist()
    expected = (int(numpy.count_nonzero(nodes["embedded"].to_numpy())), sum(map(count_tokens, texts)))
    assert texts_to_embed(stored(), *request) == texts_to_embed(list(stored()), *request) == expected
    assert texts_to_embed(stored(), *request) == expected


def test_only_what_is_new_is_chunked(stored, folder, chunked, monkeypatch):
    monkeypatch.setattr(counts, "CHARACTERS_A_BATCH", 10_000)
    assert uncounted_characters(stored(), *REQUEST) == sum(map(len, FILES.values()))
    first = texts_to_embed(stored(), *REQUEST)
    assert chunked == [["a.txt", "b.txt"], ["c.txt", "scrap.txt"]]
    assert uncounted_characters(stored(), *REQUEST) == 0
    assert texts_to_embed(stored(), *REQUEST) == first
    folder.write_text("b.txt", "Another text. " * 30)
    folder.write_text("renamed.txt", FILES["b.txt"])
    assert texts_to_embed(stored(), *REQUEST) > first
    folder.delete("b.txt")
    assert texts_to_embed(stored(), *REQUEST) == first
    assert chunked[2:] == [["b.txt"]]
    texts_to_embed(stored(), "overlapping_chunks", {"chunk_size": 32, "chunk_overlap": 8})
    assert len(chunked) == 5


def test_another_version_of_the_chunkers_counts_again(stored, chunked, monkeypatch):
    texts_to_embed(stored(), *REQUEST)
    monkeypatch.setattr(counts, "_code_version", lambda: "another")
    assert uncounted_characters(stored(), *REQUEST) > 0
    texts_to_embed(stored(), *REQUEST)
    assert len(chunked) == 2


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"x.txt": 1}'])
def test_damaged_counts_are_made_again(stored, chunked, tmp_path, damage):
    first = texts_to_embed(stored(), *REQUEST)
    cache = LocalStorage(str(tmp_path / "cache"))
    (key,) = [item.key for item in cache.list("texts/counts/")]
    cache.write_bytes(key, damage)
    assert texts_to_embed(stored(), *REQUEST) == first
    assert len(chunked) == 2
