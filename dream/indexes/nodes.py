"""LlamaIndex's view of a compact index: a docstore and a vector store over one table and one array.

Nodes are created from their rows on demand, so an index needs little more memory than the shared table and vectors.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, cast

import faiss
import numpy
import pyarrow
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, RelatedNodeType, TextNode
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr

from dream.errors import ServiceError
from dream.indexes.contexts import COLUMN
from dream.indexes.store import NORM_TOLERANCE, NOWHERE, SCHEMA, IndexData

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

METADATA = ("file_name", "file_digest", "page_label")
_LINKS = {
    "parent": NodeRelationship.PARENT,
    "previous": NodeRelationship.PREVIOUS,
    "next": NodeRelationship.NEXT,
}


def table_of(nodes: Sequence[TextNode], embedded: Sequence[TextNode]) -> pyarrow.Table:
    """The nodes as a table; links to other nodes are dropped."""
    rows = {node.node_id: row for row, node in enumerate(nodes)}
    with_vector = {node.node_id for node in embedded}
    linked = {
        column: [rows.get(link.node_id, NOWHERE) if link else NOWHERE for link in map(_link(kind), nodes)]
        for column, kind in _LINKS.items()
    }
    located = [node.start_char_idx is not None for node in nodes]
    columns = {
        "text": [node.text for node in nodes],
        "start": [node.start_char_idx if there else NOWHERE for node, there in zip(nodes, located, strict=True)],
        "end": [node.end_char_idx if there else NOWHERE for node, there in zip(nodes, located, strict=True)],
        **{label: [node.metadata[label] for node in nodes] for label in METADATA},
        **linked,
        "embedded": [node.node_id in with_vector for node in nodes],
    }
    return pyarrow.table({name: pyarrow.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names})


def _link(kind: NodeRelationship) -> Any:
    return lambda node: node.relationships.get(kind)


def vector_index(data: IndexData, embed_model: "BaseEmbedding") -> VectorStoreIndex:
    """The LlamaIndex index over shared data; `embed_model` embeds the questions."""
    nodes = NodeTable(data.nodes)
    context = StorageContext.from_defaults(
        docstore=TableDocstore(nodes), vector_store=SharedVectorStore(data.vectors, nodes)
    )
    return VectorStoreIndex(nodes=[], storage_context=context, embed_model=embed_model)


class NodeTable(Mapping[str, BaseNode]):
    """The nodes by their ids, each created on demand.

    A node's id is `<first 16 digits of the file's SHA-256>-<number of its row>`.
    """

    def __init__(self, table: pyarrow.Table) -> None:
        whole = table if all(column.num_chunks == 1 for column in table.columns) else table.combine_chunks()
        self._columns = {name: whole[name].chunk(0) for name in whole.column_names}
        self._links = {name: self._columns[name].to_numpy() for name in _LINKS}
        self._relationships_of: dict[int, dict[NodeRelationship, RelatedNodeType]] = {}

    def __len__(self) -> int:
        return len(self._columns["text"])

    def __iter__(self) -> Iterator[str]:
        return map(self.id_of, range(len(self)))

    def __getitem__(self, node_id: str) -> BaseNode:
        number = node_id.rpartition("-")[2]
        row = int(number) if number.isdecimal() else len(self)
        if row >= len(self) or self.id_of(row) != node_id:
            raise KeyError(node_id)
        return self.node(row)

    def id_of(self, row: int) -> str:
        return f"{self._value('file_digest', row)[:16]}-{row}"

    def node(self, row: int) -> TextNode:
        """The node of a row, as the chunker made it: text, span, links, metadata that no prompt contains, and the
        context with which it is embedded and searched."""
        start = self._value("start", row)
        metadata = {label: self._value(label, row) for label in METADATA}
        if COLUMN.name in self._columns and (context := self._value(COLUMN.name, row)):
            metadata[COLUMN.name] = context
        return TextNode(
            id_=self.id_of(row),
            text=self._value("text", row),
            metadata=metadata,
            metadata_template="{value}",
            excluded_embed_metadata_keys=list(METADATA),
            excluded_llm_metadata_keys=[*METADATA, COLUMN.name],
            start_char_idx=None if start == NOWHERE else start,
            end_char_idx=None if start == NOWHERE else self._value("end", row),
            relationships={**self._relationships(row)},
        )

    @cached_property
    def embedded_rows(self) -> numpy.ndarray:
        """The row number of each vector's node."""
        return numpy.flatnonzero(self._columns["embedded"].to_numpy(zero_copy_only=False))

    def _relationships(self, row: int) -> dict[NodeRelationship, RelatedNodeType]:
        """The cached links of a row's node, as they take a third of the time to create a node."""
        if row not in self._relationships_of:
            self._relationships_of[row] = self._make_relationships(row)
        return self._relationships_of[row]

    def _make_relationships(self, row: int) -> dict[NodeRelationship, RelatedNodeType]:
        links: dict[NodeRelationship, RelatedNodeType] = {
            kind: self._info(linked) for name, kind in _LINKS.items() if (linked := self._links[name][row]) != NOWHERE
        }
        if children := [self._info(child) for child in self._children(row)]:
            links[NodeRelationship.CHILD] = children
        return links

    def _children(self, row: int) -> numpy.ndarray:
        order, parents = self._by_parent
        first, end = numpy.searchsorted(parents, [row, row + 1])
        return order[first:end]

    @cached_property
    def _by_parent(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        order = numpy.argsort(self._links["parent"], kind="stable")
        return order, self._links["parent"][order]

    def _info(self, row: int) -> RelatedNodeInfo:
        return RelatedNodeInfo(node_id=self.id_of(int(row)))

    def _value(self, column: str, row: int) -> Any:
        return self._columns[column][row].as_py()


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("a built index cannot be changed: build a new one")


async def _refuse_later(*_: Any, **__: Any) -> NoReturn:
    _refuse()


class TableDocstore(BaseDocumentStore):
    """A read-only docstore for LlamaIndex.

    LlamaIndex's KVDocumentStore over a read-only key-value store needs less code, but turns each node into a dictionary
    and back when it is read, and makes all nodes to count them: with 10,000 nodes, 5.5 ms against 2.0 ms of CPU for
    100 `get_document`, and 670 ms and 37 MB against 0.01 ms and 0.1 MB for `len(docs)`; both open in under 1 ms.
    """

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes

    @property
    def docs(self) -> dict[str, BaseNode]:
        """All nodes by id, created on demand."""
        return cast("dict[str, BaseNode]", self._nodes)

    def get_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        node = self._nodes.get(doc_id)
        if node is None and raise_error:
            raise ValueError(f"node {doc_id!r} is not in this index; ids are <digits of the file's digest>-<row>")
        return node

    async def aget_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        return self.get_document(doc_id, raise_error)

    def document_exists(self, doc_id: str) -> bool:
        return doc_id in self._nodes

    async def adocument_exists(self, doc_id: str) -> bool:
        return doc_id in self._nodes

    def get_document_hash(self, doc_id: str) -> str | None:
        return None

    async def aget_document_hash(self, doc_id: str) -> str | None:
        return None

    def get_all_document_hashes(self) -> dict[str, str]:
        return {}

    async def aget_all_document_hashes(self) -> dict[str, str]:
        return {}

    def get_all_ref_doc_info(self) -> None:
        return None

    async def aget_all_ref_doc_info(self) -> None:
        return None

    def get_ref_doc_info(self, ref_doc_id: str) -> None:
        return None

    async def aget_ref_doc_info(self, ref_doc_id: str) -> None:
        return None

    add_documents = delete_document = delete_ref_doc = set_document_hash = set_document_hashes = _refuse
    async_add_documents = adelete_document = adelete_ref_doc = aset_document_hash = _refuse_later
    aset_document_hashes = _refuse_later


class SharedVectorStore(BasePydanticVectorStore):
    """Exact search by inner product (of unit vectors: the cosine) over an array that is never copied."""

    stores_text: bool = True
    _vectors: numpy.ndarray = PrivateAttr()
    _nodes: NodeTable = PrivateAttr()

    def __init__(self, vectors: numpy.ndarray, nodes: NodeTable) -> None:
        super().__init__(stores_text=True)
        self._vectors, self._nodes = vectors, nodes

    @classmethod
    def class_name(cls) -> str:
        return "SharedVectorStore"

    @property
    def client(self) -> numpy.ndarray:
        """The unit vectors."""
        return self._vectors

    @property
    def embedded_ids(self) -> list[str]:
        """The id of each vector's node."""
        return [self._nodes.id_of(int(row)) for row in self._nodes.embedded_rows]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nearest nodes with their inner products, the nearest first."""
        if query.filters or query.node_ids or query.doc_ids or query.mode != VectorStoreQueryMode.DEFAULT:
            raise ValueError("this index only supports vector search over all nodes: no filters, ids or other modes")
        question = _unit_vector(query.query_embedding, self._vectors.shape[1])
        count = min(query.similarity_top_k, len(self._vectors))
        products, positions = faiss.knn(question, self._vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
        nodes = [self._nodes.node(int(row)) for row in self._nodes.embedded_rows[positions[0]]]
        return VectorStoreQueryResult(nodes=nodes, similarities=products[0].tolist(), ids=[n.node_id for n in nodes])

    add = delete = _refuse


def _unit_vector(embedding: Sequence[float] | None, length: int) -> numpy.ndarray:
    """The vector of a question as one row with norm 1, so that inner products are cosines.

    Raises:
        ServiceError: if its length differs from that of the index's vectors, or if it has no direction.
    """
    vector = numpy.asarray([embedding or []], dtype=numpy.float32)
    if vector.shape[1] != length:
        raise ServiceError(
            f"the embedding model returned a vector of length {vector.shape[1]} for a question, but the index has "
            f"vectors "
            f"of length {length}: the model behind this name has changed, or its server returns other vectors for "
            f"single texts than for batches. Check it with `dream doctor`; if the model has changed, empty the cache "
            "(`dream cache --empty`)"
        )
    norm = float(numpy.linalg.norm(vector))
    if not 0 < norm < numpy.inf:  # also for NaN
        raise ServiceError("the embedding model returned a vector of zeros, or without finite numbers, for a question")
    return vector if abs(norm - 1) < NORM_TOLERANCE else vector / numpy.float32(norm)
