"""Rerankers: an LLM's ratings, strictly read, and models behind an endpoint; the order of hits is theirs."""

import pytest
from cross_encoders import write_cross_encoder
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from model_servers import chat_reply

from dream.errors import DataError
from dream.models.pickers import llm_picker
from dream.rag.reranking import RerankedRetriever, reranker_of

TEXTS = ["The mast carries 42 lamps.", "Otters sleep.", "Ida Brandt tunes the harbour organ.", "The organ is old."]
QUESTION = "Who tunes the organ?"


class Hits(BaseRetriever):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text), score=1 - place / 10) for place, text in enumerate(self._texts)]


def reranked(identifier, texts=TEXTS, rerank_from=20, top_k=None):
    reranker = reranker_of(identifier, llm_picker("llm-large@relay"), "t1")
    return RerankedRetriever(Hits(texts), reranker, rerank_from, top_k).retrieve(QUESTION)


@pytest.mark.parametrize("identifier", ["llm", "rerank@relay"])
def test_the_passage_with_the_answer_comes_first(identifier, gateway):
    hits = reranked(identifier)
    assert hits[0].node.get_content() == TEXTS[2]
    assert len(hits) == 4
    assert [hit.node.get_content() for hit in reranked(identifier, top_k=1)] == [TEXTS[2]]
    assert reranked(identifier, texts=[]) == []
    assert TEXTS[2] not in [hit.node.get_content() for hit in reranked(identifier, rerank_from=2)]


def test_a_cross_encoder_of_this_process_puts_hits_into_order(gateway, tmp_path):
    write_cross_encoder(tmp_path, " ".join([*TEXTS, QUESTION]).replace(".", " .").replace("?", " ?"))
    hits = reranked(f"local:{tmp_path}", top_k=2)
    assert TEXTS[2] in [hit.node.get_content() for hit in hits] and len(hits) == 2
    assert hits[0].score > hits[1].score
    assert gateway.usage() == []  # nothing is sent


async def test_asynchronously_the_same(gateway):
    reranker = reranker_of("rerank@relay", llm_picker("llm-large"))
    retriever = RerankedRetriever(Hits(TEXTS), reranker, 20, 2)
    later = await retriever.aretrieve(QUESTION)
    assert [(hit.text, hit.score) for hit in later] == [(hit.text, hit.score) for hit in retriever.retrieve(QUESTION)]


def test_an_llm_rates_ten_passages_a_call(gateway, relay):
    hits = reranked("llm", texts=[f"Note {number} on the organ." for number in range(23)], rerank_from=23)
    assert sorted(seen.prompt.count("\nPassage ") for seen in relay.requests) == [3, 10, 10]
    assert len(hits) == 23


def test_ratings_are_read_strictly_and_a_passage_without_one_has_none(gateway, relay):
    relay.script = lambda seen: chat_reply("Passage 2: 7\n4 = 10\n**1**: 2.5")
    hits = reranked("llm")
    assert [(TEXTS.index(hit.text), hit.score) for hit in hits] == [(3, 1.0), (1, 0.7), (0, 0.25), (2, 0.0)]


@pytest.mark.parametrize("reply", ["They are all fine.", "1: 95\n2: 80", "9: 3"])
def test_ratings_that_cannot_be_read_are_a_failure(reply, gateway, relay):
    relay.script = lambda seen: chat_reply(reply)
    with pytest.raises(DataError, match="ratings of 4 passages cannot be read"):
        reranked("llm")
