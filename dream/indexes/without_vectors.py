"""`index_without_vectors`: the nodes of documents for methods that search by words, or do not search."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core import MockEmbedding, VectorStoreIndex

from dream.indexes.chunkers import chunk_once, no_text, texts_to_embed
from dream.indexes.nodes import vector_index
from dream.indexes.store import IndexData, without_vectors

if TYPE_CHECKING:
    from llama_index.core import Document


def index_without_vectors(
    documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any]
) -> VectorStoreIndex:
    """An index whose docstore has all nodes, and whose vector store is empty.

    Raises:
        DataError: when the documents yield no node.
    """
    nodes = chunk_once(documents, chunker, parameters)
    if not texts_to_embed(nodes):
        raise no_text(len(documents), chunker, parameters)
    return word_index(without_vectors([nodes]))


def word_index(data: IndexData) -> VectorStoreIndex:
    """The LlamaIndex index over nodes without vectors."""
    return vector_index(data, MockEmbedding(embed_dim=1))
