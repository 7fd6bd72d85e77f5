"""Stored indexes: the key names everything that an index depends on."""

from dataclasses import replace

import pytest
from model_servers import pages

from dream.indexes.store import IndexSpec, documents_digest

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


def test_documents_differ_by_text_name_page_and_order():
    first, second = pages("a.txt", "first", "second")
    assert documents_digest([first, second]) == documents_digest(pages("a.txt", "first", "second"))
    others = [[second, first], [first], pages("b.txt", "first", "second"), pages("a.txt", "first", "2nd")]
    assert len({documents_digest(documents) for documents in [[first, second], *others]}) == 5
