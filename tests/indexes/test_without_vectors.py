"""An index without vectors: all nodes, no call of an embedding model."""

import pytest
from model_servers import pages

from dream.errors import DataError
from dream.indexes.client import get_index

TEXT = "The mast carries 42 lamps. The otters sleep under the ferry. Ida Brandt tunes the organ in May."


def test_its_docstore_has_the_chunks_and_no_model_is_asked(gateway, relay):
    index = get_index(pages("a.txt", TEXT), "sentences", {}, "")
    texts = [node.get_content().strip() for node in index.docstore.docs.values()]
    assert " ".join(texts) == TEXT
    assert index.vector_store.embedded_ids == list(index.docstore.docs)
    assert gateway.usage() == [] and relay.requests == []


def test_documents_without_text_are_told():
    with pytest.raises(DataError, match=r"1 document\(s\) contain no text"):
        get_index(pages("a.txt", "  "), "sentences", {}, "")
