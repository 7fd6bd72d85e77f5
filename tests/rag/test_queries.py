"""Transformed queries: what is searched for, and fused hits."""

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from model_servers import chat_reply

from dream.errors import DataError
from dream.models.pickers import llm_picker
from dream.rag.queries import TransformedRetriever, fused

QUESTION = "Who tunes the organ and when was the salt mill rebuilt?"


class Noting(BaseRetriever):
    """Notes what it is asked; finds one text of each query, and one that all share."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[QueryBundle] = []

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        texts = (f"about {query_bundle.query_str}", "common")
        return [NodeWithScore(node=TextNode(text=text), score=0.9 - place / 10) for place, text in enumerate(texts)]


def retrieve(transform, n_queries=3):
    noting = Noting()
    hits = TransformedRetriever(noting, llm_picker("llm-large@relay"), transform, n_queries).retrieve(QUESTION)
    return noting.asked, hits


def test_hyde_searches_for_an_invented_passage_and_the_question(gateway):
    (asked,), hits = retrieve("hyde")
    passage, question = asked.embedding_strs
    assert question == asked.query_str == QUESTION
    assert passage.startswith("This passage is about")
    assert len(hits) == 2


def test_several_wordings_are_searched_for_and_fused_by_rank(gateway, relay):
    asked, hits = retrieve("multi_query", 4)
    assert len(asked) == 5 and asked[0].query_str == QUESTION
    assert len(relay.requests) == 1
    assert hits[0].node.get_content() == "common"  # second of five lists
    assert hits[0].score == pytest.approx(5 / 61)
    assert {hit.score for hit in hits[1:]} == {1 / 60}


def test_a_question_is_broken_into_its_parts(gateway):
    asked, _ = retrieve("decompose")
    assert [bundle.query_str for bundle in asked] == [
        QUESTION,
        "Who tunes the organ?",
        "When was the salt mill rebuilt?",
    ]


def test_markers_of_lists_are_left_out_and_no_more_than_n_are_searched_for(gateway, relay):
    relay.script = lambda seen: chat_reply("1. Wo?\n- Wann?\n\n2) Wer?\n3: Warum?")
    asked, _ = retrieve("multi_query", 3)
    assert [bundle.query_str for bundle in asked[1:]] == ["Wo?", "Wann?", "Wer?"]


def test_a_reply_without_a_query_is_a_failure(gateway, relay):
    relay.script = lambda seen: chat_reply("``` ```")
    with pytest.raises(DataError, match="wrote no search query for multi_query"):
        retrieve("multi_query")


def test_reciprocal_rank_fusion_by_hand():
    first, second = Noting(), Noting()
    hits = fused([first, second], FUSION_MODES.RECIPROCAL_RANK).retrieve("x")
    assert {hit.node.get_content(): round(hit.score or 0, 6) for hit in hits} == {
        "about x": round(2 / 60, 6),
        "common": round(2 / 61, 6),
    }
    assert len(fused([first, second], FUSION_MODES.RECIPROCAL_RANK, top_k=1).retrieve("x")) == 1
