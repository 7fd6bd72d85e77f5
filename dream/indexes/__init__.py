"""Documents become vector indexes: chunking, embedding, storing and searching.

An index is identified by its inputs, built once by the first trial that needs it, and loaded from storage afterwards.
"""

from dream.indexes.chunkers import (
    CHUNKERS as CHUNKERS,
    build_index as build_index,
    chunk as chunk,
    texts_to_embed as texts_to_embed,
)
from dream.indexes.client import IndexRequest as IndexRequest, get_index as get_index, index_spec as index_spec
from dream.indexes.store import documents_digest as documents_digest, is_stored as is_stored
