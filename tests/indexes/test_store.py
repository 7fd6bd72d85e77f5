"""Stored indexes: the key names everything that an index depends on."""

from dataclasses import replace

import numpy
import pyarrow
import pytest
from model_servers import pages

from dream.errors import ServiceError
from dream.indexes.store import (
    NOWHERE,
    SCHEMA,
    IndexData,
    IndexSpec,
    documents_digest,
    join,
    load_index,
    save_index,
)
from dream.storage import LocalStorage

SPEC = IndexSpec("digest", "hierarchy", {"chunk_sizes": (512, 128)}, "embed-small@relay", "host:1/v1")


@pytest.mark.parametrize(
    "change",
    [
        {"documents": "another"},
        {"chunker": "sentences"},
        {"parameters": {"chunk_sizes": (512, 64)}},
        {"embed_model": "embed-large@relay"},
        {"endpoint": "host:2/v1"},
    ],
)
def test_the_key_changes_with_whatever_an_index_depends_on(change):
    assert replace(SPEC, **change).key != SPEC.key


def test_the_key_is_that_of_the_values_and_of_the_builders_version(monkeypatch):
    assert replace(SPEC, parameters={"chunk_sizes": [512, 128]}).key == SPEC.key
    before = SPEC.key
    monkeypatch.setattr("dream.indexes.store.BUILDER_VERSION", 10_000)
    assert SPEC.key != before


def test_only_the_key_of_chunks_that_follow_headings_changes_with_how_headings_are_found(monkeypatch):
    def keys() -> list[str]:
        sizes = {"chunk_size": 512, "chunk_overlap": 64}
        return [IndexSpec("d", name, sizes, "m", "e").key for name in ("overlapping_chunks", "headings")]

    before = keys()
    monkeypatch.setattr("dream.indexes.headings.VERSION", 10_000)
    assert [now == then for now, then in zip(keys(), before, strict=True)] == [True, False]


def test_documents_differ_by_text_name_page_and_order():
    first, second = pages("a.txt", "first", "second")
    assert documents_digest([first, second]) == documents_digest(pages("a.txt", "first", "second"))
    others = [[second, first], [first], pages("b.txt", "first", "second"), pages("a.txt", "first", "2nd")]
    assert len({documents_digest(documents) for documents in [[first, second], *others]}) == 5


def table_of_texts(*texts: str) -> pyarrow.Table:
    """Nodes of these texts, all embedded."""
    n = len(texts)
    columns = {
        "text": texts,
        "start": [0] * n,
        "end": [0] * n,
        **{label: ["a"] * n for label in ("file_name", "file_digest", "page_label")},
        **{link: [NOWHERE] * n for link in ("parent", "previous", "next")},
        "embedded": [True] * n,
    }
    return pyarrow.table({name: pyarrow.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names})


TEXTS = ("the mast", "the well", "the herons")
UNIT = numpy.array([[1, 0], [0, 1], [0.6, 0.8]], numpy.float32)
NOT_VECTORS = {
    "one is missing": (UNIT[:2], "there are 2 vectors for 3 texts"),
    "NaN": (numpy.array([[1, 0], [numpy.nan, 1], [0, 1]], numpy.float32), "1 vectors have no direction"),
    "zeros": (numpy.array([[1, 0], [0, 0], [0, 0]], numpy.float32), "2 vectors have no direction"),
    "not normalised": (UNIT * 3, "3 vectors have no direction"),
    "of length 0": (numpy.zeros((3, 0), numpy.float32), "all vectors need the same length"),
    "all equal": (UNIT[[0, 0, 0]], "all 3 texts have the same vector"),
}


@pytest.mark.parametrize("habit", NOT_VECTORS)
def test_vectors_that_cannot_be_those_of_the_texts_are_not_joined(habit: str):
    vectors, words = NOT_VECTORS[habit]
    with pytest.raises(ServiceError, match=words):
        join([table_of_texts(*TEXTS)], [vectors])


def test_parts_of_an_index_have_vectors_of_one_length():
    parts = [UNIT[:2], numpy.array([[1, 0, 0]], numpy.float32)]
    with pytest.raises(ServiceError, match="all vectors need the same length, above 0, but the lengths are: 2, 3"):
        join([table_of_texts(*TEXTS[:2]), table_of_texts(TEXTS[2])], parts)


@pytest.mark.parametrize("habit", NOT_VECTORS)
def test_an_index_that_an_earlier_version_kept_with_such_vectors_is_none(habit: str, tmp_path):
    storage = LocalStorage(str(tmp_path))
    save_index(storage, SPEC, IndexData(UNIT, table_of_texts(*TEXTS)))
    assert load_index(storage, SPEC) is not None
    save_index(storage, SPEC, IndexData(NOT_VECTORS[habit][0], table_of_texts(*TEXTS)))
    assert load_index(storage, SPEC) is None


def test_equal_texts_may_have_equal_vectors():
    assert len(join([table_of_texts("The mast", "the mast.")], [UNIT[[0, 0]]]).vectors) == 2
