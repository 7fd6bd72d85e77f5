"""Auto-merging equals LlamaIndex's own, also where the caller is asynchronous; windows and budget on made-up nodes."""

import asyncio
from itertools import pairwise

import pytest
from llama_index.core import StorageContext
from llama_index.core.retrievers import AutoMergingRetriever, BaseRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from dream.rag.postprocessors import AutoMerging, ContextBudget, SentenceWindows, passages
from dream.records import Passage
from dream.tokens import count_tokens

CHILDREN = {"p1": ("a", "b", "c"), "p2": ("d", "e", "f", "g"), "top": ("p1", "p2")}


class Hits(BaseRetriever):
    """Gives leaves with falling scores; refuses to block where it is asked to wait."""

    def __init__(self, leaves: list[TextNode], only_async: bool = False) -> None:
        super().__init__()
        self._leaves, self._only_async = leaves, only_async

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        assert not self._only_async, "a blocking call in an asynchronous retrieval"
        return [NodeWithScore(node=node, score=0.9 - number / 10) for number, node in enumerate(self._leaves)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self._only_async = False
        return self._retrieve(query_bundle)


@pytest.fixture
def tree() -> tuple[dict[str, TextNode], StorageContext]:
    """Three levels: `top` over `p1` (3 leaves) and `p2` (4 leaves)."""
    nodes = {name: TextNode(id_=name, text=f"text of {name}") for name in (*CHILDREN, *"abcdefg")}
    for parent, children in CHILDREN.items():
        nodes[parent].relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id=child) for child in children]
        for child in children:
            nodes[child].relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id=parent)
    docstore = SimpleDocumentStore()
    docstore.add_documents(list(nodes.values()))
    return nodes, StorageContext.from_defaults(docstore=docstore)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("leaves", ["a", "abd", "adefb", "abcdefg", "gfa", ""])
def test_auto_merging_equals_llama_indexs(leaves, ratio, tree):
    nodes, storage = tree
    hits = [nodes[leaf] for leaf in leaves]
    expected = AutoMergingRetriever(Hits(hits), storage, simple_ratio_thresh=ratio).retrieve("question")
    merged = AutoMerging(Hits(hits), storage, simple_ratio_thresh=ratio).retrieve("question")
    later = asyncio.run(AutoMerging(Hits(hits, only_async=True), storage, ratio).aretrieve("question"))
    assert [(hit.node_id, hit.score) for hit in merged] == [(hit.node_id, hit.score) for hit in expected]
    assert [(hit.node_id, hit.score) for hit in later] == [(hit.node_id, hit.score) for hit in expected]


def test_a_parent_replaces_its_children_when_more_than_the_ratio_are_hits(tree):
    nodes, storage = tree
    hits = [nodes[leaf] for leaf in "abd"]  # two of three, one of four
    merged = AutoMerging(Hits(hits), storage, simple_ratio_thresh=0.6).retrieve("question")
    assert [hit.node_id for hit in merged] == ["p1", "d"]
    assert merged[0].score == pytest.approx((0.9 + 0.8) / 2)


def test_a_budget_keeps_the_best_that_fit():
    hits = [NodeWithScore(node=TextNode(text=text), score=1) for text in ("one two three four", "five", "six seven")]
    first = count_tokens("one two three four")
    for tokens, expected in ((1, 1), (first, 1), (first + count_tokens("five"), 2), (100, 3)):
        assert len(ContextBudget(context_tokens=tokens).postprocess_nodes(hits)) == expected


def test_a_best_passage_that_exceeds_the_budget_is_cut_and_says_so():
    text = "The mill stands at the weir. It grinds rye, and barley in the autumn. Nobody knows its age."
    metadata = {"file_name": "mill.pdf", "page_label": "3-4"}
    hits = [NodeWithScore(node=TextNode(text=text, metadata=metadata), score=0.5)]
    hits[0].node.excluded_llm_metadata_keys = list(metadata)
    (passage,) = passages(ContextBudget(context_tokens=9).postprocess_nodes(hits))
    assert (passage.text, passage.is_cut) == ("The mill stands at the weir.", True)
    assert passage.tokens == count_tokens(passage.text)
    assert (passage.file_name, passage.page_label, passage.score) == ("mill.pdf", "3-4", 0.5)
    (whole,) = passages(ContextBudget(context_tokens=100).postprocess_nodes(hits))
    assert (whole.text, whole.is_cut) == (text, False)
    assert (
        ContextBudget(context_tokens=1).postprocess_nodes(
            [NodeWithScore(node=TextNode(text="𓀀"), score=1)]  # one character of several tokens
        )
        == []
    )


def test_a_text_inside_another_hit_is_dropped_and_of_equal_ones_the_second():
    texts = ("the bees", "when the bees swarm", "when the bees swarm")
    hits = [NodeWithScore(node=TextNode(id_=str(number), text=text), score=1) for number, text in enumerate(texts)]
    assert [hit.node_id for hit in ContextBudget(context_tokens=100).postprocess_nodes(hits)] == ["1"]


def linked(*nodes: TextNode) -> SimpleDocumentStore:
    for before, after in pairwise(nodes):
        before.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id=after.node_id)
        after.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id=before.node_id)
    docstore = SimpleDocumentStore()
    docstore.add_documents(nodes)
    return docstore


def windows_of(texts: list[str], hit: int, window_size: int = 1, context_tokens: int = 1000) -> tuple[Passage, ...]:
    """The passages for one hit in a text of these sentences, the first of which is on page 1, and so on."""
    nodes, offset = [], 0
    for number, text in enumerate(texts, start=1):
        node = TextNode(text=text, start_char_idx=offset, end_char_idx=offset + len(text))
        node.metadata = {"page_label": str(number)}
        node.excluded_llm_metadata_keys = ["page_label"]
        nodes.append(node)
        offset += len(text)
    windows = SentenceWindows(window_size=window_size, context_tokens=context_tokens, docstore=linked(*nodes))
    return passages(windows.postprocess_nodes([NodeWithScore(node=nodes[hit], score=0.5)]))


def test_a_window_that_exceeds_the_budget_becomes_smaller_and_a_sentence_is_cut():
    texts = [f"The mill number {number} stands at the weir. " for number in range(7)]
    size = count_tokens("".join(texts[2:5]).strip())
    (passage,) = windows_of(texts, 3, window_size=3, context_tokens=size)
    assert (passage.text, passage.page_label, passage.is_cut) == ("".join(texts[2:5]).strip(), "3-5", False)
    (passage,) = windows_of(texts, 3, window_size=3, context_tokens=size - 1)
    assert (passage.text, passage.page_label) == (texts[3].strip(), "4")
    (passage,) = windows_of(texts, 3, window_size=3, context_tokens=6)
    assert passage.is_cut
    assert texts[3].startswith(passage.text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["雨が降る。", "風が吹く。", "雪。"], "雨が降る。風が吹く。雪。"),
        (["Ice melts.\n", "Bees fly.  ", "Why?"], "Ice melts. Bees fly. Why?"),
        (["May | 17\n", "June | 19\n", "July | 21"], "May | 17\nJune | 19\nJuly | 21"),
    ],
)
def test_sentences_are_joined_as_they_are_in_the_document(texts, expected):
    (passage,) = windows_of(texts, 1)
    assert (passage.text, passage.page_label) == (expected, "1-3")


def test_windows_that_touch_become_one_passage():
    nodes = [
        TextNode(id_=str(n), text=f"Sentence {n}.", start_char_idx=10 * n, end_char_idx=10 * n + 9) for n in range(9)
    ]
    windows = SentenceWindows(window_size=1, context_tokens=1000, docstore=linked(*nodes))
    hits = [NodeWithScore(node=nodes[number], score=score) for number, score in ((7, 0.9), (1, 0.5), (3, 0.8))]
    found = windows.postprocess_nodes(hits)
    assert [passage.text for passage in found] == [
        "Sentence 6. Sentence 7. Sentence 8.",
        "Sentence 0. Sentence 1. Sentence 2. Sentence 3. Sentence 4.",
    ]
    assert [passage.score for passage in found] == [0.9, 0.8]
    assert [(passage.start, passage.end) for passage in passages(found)] == [(60, 89), (0, 49)]
