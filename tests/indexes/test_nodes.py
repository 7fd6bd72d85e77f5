"""A table of nodes is a docstore and a vector store as LlamaIndex wants them, and refuses to be changed."""

import asyncio
import inspect

import numpy
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from dream.errors import ServiceError
from dream.indexes.nodes import NodeTable, SharedVectorStore, TableDocstore, table_of

DIGEST = "0123456789abcdef" * 4
METADATA = {"file_name": "a.txt", "file_digest": DIGEST, "page_label": "1"}


def identifier(row: int) -> str:
    return f"0123456789abcdef-{row}"


@pytest.fixture
def nodes() -> list[TextNode]:
    """A parent and its two children, which follow one another; the children alone are embedded."""
    parent, first, second = (TextNode(id_=name, text=f"text of {name}", metadata=METADATA) for name in "pab")
    first.start_char_idx, first.end_char_idx = 0, 9
    parent.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id=name) for name in "ab"]
    for child in (first, second):
        child.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="p")
    first.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="b")
    second.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id="a")
    second.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="in another index")
    return [parent, first, second]


@pytest.fixture
def table(nodes: list[TextNode]) -> NodeTable:
    return NodeTable(table_of(nodes, nodes[1:]))


def test_nodes_come_back_with_text_span_and_links(table):
    parent, first, second = (table[identifier(row)] for row in range(3))
    assert [node.get_content() for node in (parent, first, second)] == ["text of p", "text of a", "text of b"]
    assert [child.node_id for child in parent.child_nodes] == [identifier(1), identifier(2)]
    assert first.parent_node.node_id == second.parent_node.node_id == identifier(0)
    assert (first.next_node.node_id, second.prev_node.node_id) == (identifier(2), identifier(1))
    assert second.next_node is None
    assert (first.start_char_idx, first.end_char_idx, parent.start_char_idx) == (0, 9, None)
    assert list(table) == [identifier(row) for row in range(3)]


@pytest.mark.parametrize("unknown", [identifier(3), "fedcba9876543210-0", "0123456789abcdef-x", "", "-1"])
def test_an_unknown_id_is_none_or_an_error_that_names_it(unknown, table):
    docstore = TableDocstore(table)
    assert docstore.get_document(unknown, raise_error=False) is None
    assert not docstore.document_exists(unknown)
    with pytest.raises(ValueError, match=f"{unknown!r} is not in this index"):
        docstore.get_document(unknown)


CHANGES = ("add", "set", "delete")


def called(docstore: TableDocstore, name: str):
    """The answer of a docstore's method, given row 1's id for each argument that it needs."""
    parameters = inspect.signature(getattr(BaseDocumentStore, name)).parameters.values()
    needed = [identifier(1) for parameter in parameters if parameter.default is parameter.empty][1:]
    answer = getattr(docstore, name)(*needed)
    return asyncio.run(answer) if inspect.isawaitable(answer) else answer


def test_a_docstore_refuses_every_change(table):
    names = [name for name in BaseDocumentStore.__abstractmethods__ if any(word in name for word in CHANGES)]
    assert len(names) == 10
    for name in names:
        with pytest.raises(NotImplementedError, match="cannot be changed"):
            called(TableDocstore(table), name)


def test_a_docstore_answers_every_question(table):
    names = BaseDocumentStore.__abstractmethods__ - {"docs"}
    answers = {name: called(TableDocstore(table), name) for name in names if not any(word in name for word in CHANGES)}
    for name, answer in answers.items():
        expected = {"get_document": identifier(1), "document_exists": True, "get_all_document_hashes": {}}
        given = answer.node_id if isinstance(answer, TextNode) else answer
        assert given == expected.get(name.removeprefix("a")), name


def test_the_nearest_vectors_are_found_and_their_nodes_given(table):
    store = SharedVectorStore(numpy.array([[1, 0], [0.6, 0.8]], numpy.float32), table)
    result = store.query(VectorStoreQuery(query_embedding=[0.0, 1.0], similarity_top_k=5))
    assert result.ids == store.embedded_ids[::-1] == [identifier(2), identifier(1)]
    assert result.similarities == pytest.approx([0.8, 0])
    with pytest.raises(ValueError, match="no filters, ids or other modes"):
        store.query(VectorStoreQuery(query_embedding=[0.0, 1.0], mode=VectorStoreQueryMode.HYBRID))
    with pytest.raises(NotImplementedError, match="cannot be changed"):
        store.add([])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 37.5])
def test_the_similarity_of_a_question_is_the_cosine_whatever_the_length_of_its_vector(scale, table):
    store = SharedVectorStore(numpy.array([[1, 0], [0.6, 0.8]], numpy.float32), table)
    result = store.query(VectorStoreQuery(query_embedding=[0.0, scale], similarity_top_k=5))
    assert result.similarities == pytest.approx([0.8, 0])


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ([1.0], "of length 1 for a question, but the index has vectors of length 2"),
        ([1.0, 0.0, 0.0], "of length 3 for a question"),
        ([], "of length 0"),
        (None, "of length 0"),
        ([0.0, 0.0], "vector of zeros"),
        ([numpy.nan, 1.0], "without finite numbers"),
    ],
)
def test_a_question_needs_a_vector_that_fits_the_index(vector, words, table):
    store = SharedVectorStore(numpy.array([[1, 0], [0.6, 0.8]], numpy.float32), table)
    with pytest.raises(ServiceError, match=words):
        store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=5))
