"""Retrieval by itself: the same passages as with an answer, and no LLM is asked."""

import pytest
from llama_index.core.query_engine import CustomQueryEngine
from model_servers import pages

from dream.errors import ConfigurationError
from dream.indexes.chunkers import build_index
from dream.models.pickers import embed_model_picker, llm_picker
from dream.rag.answers import query_engine_picker
from dream.rag.methods import own_system, rag_method
from dream.rag.retrievals import NOT_ASKED, retrieval_of, retrieving, why_no_retrieval
from dream.records import Trial

TEXT = " ".join(f"Lamp {number} of the mast burns since {1900 + number}." for number in range(60))
FACTORS = {"system_prompt": "Be short.", "temperature": 0.5, "max_tokens": 9, "prompt": "{context_str} {query_str}"}


async def test_passages_are_those_of_an_answer_and_no_llm_is_asked(gateway, relay):
    chunking = {"chunk_size": 32, "chunk_overlap": 0}
    index = build_index(pages("a.txt", TEXT), "overlapping_chunks", chunking, embed_model_picker("embed-small"))
    values = {"top_k": 4, "context_tokens": 90}
    whole = query_engine_picker("chunks_with_overlap", index, llm_picker("llm-small@relay"), values)
    answered = await whole.aquery("Since when does lamp 7 burn?")
    relay.requests.clear()
    alone = await retrieving(whole).aquery("Since when does lamp 7 burn?")
    assert relay.requests == []
    assert alone.response == NOT_ASKED
    assert [hit.node.get_content() for hit in alone.source_nodes] == [
        hit.node.get_content() for hit in answered.source_nodes
    ]


def test_an_engine_that_only_answers_is_refused():
    class Answers(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return "yes"

    with pytest.raises(ConfigurationError, match="a Answers cannot retrieve without answering"):
        retrieving(Answers())


def test_the_llm_and_its_factors_play_no_part_unless_it_rewrites_or_ranks():
    plain = Trial("hybrid", "gpt-4o", "bge", {"top_k": 3, **FACTORS})
    assert retrieval_of(plain) == Trial("hybrid", "", "bge", {"top_k": 3})
    written = {"chunk_context": "llm"}
    retrieved = retrieval_of(Trial("mmr", "gpt-4o", "bge", written))
    assert (retrieved.llm_identifier, retrieved.parameters["context_llm"]) == ("", "gpt-4o")
    for factor in ({"query_transform": "hyde"}, {"reranker": "llm"}):
        assert retrieval_of(Trial("hybrid", "gpt-4o", "bge", factor)) == Trial("hybrid", "gpt-4o", "bge", factor)
    reranked = {"reranker": "bge-reranker@tei", "rerank_from": 30}
    assert retrieval_of(Trial("hybrid", "gpt-4o", "bge", reranked)) == Trial("hybrid", "", "bge", reranked)


def test_retrieval_of_ones_own_method_may_ask_the_llm():
    @rag_method("sentences", top_k=2, temperature=0.3)
    def own(index, llm, *, top_k: int, temperature: float): ...

    @own_system
    def service(question):
        return "", []

    trial = Trial("own", "gpt-4o", "bge", {"top_k": 2, "temperature": 0.3})
    assert retrieval_of(trial) == trial  # the factor is none that methods share
    assert why_no_retrieval(trial) == ""
    assert why_no_retrieval(Trial("service", "", "")) == "it is an existing system, which only returns answers"
