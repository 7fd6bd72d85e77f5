"""Hybrid search: ranks and scores of vectors and words fused, by hand."""

import pytest
from model_servers import pages

from dream.indexes.chunkers import build_index
from dream.models.pickers import embed_model_picker, llm_picker
from dream.rag.methods import query_engine_picker
from dream.rag.words import WordRetriever

TEXTS = [f"Buoy {number} lies {number * 3} miles off the coast." for number in range(12)] + ["The ZX-81 horn is loud."]


@pytest.fixture
def index(gateway):
    documents = [page for number, text in enumerate(TEXTS) for page in pages(f"{number}.txt", text)]
    chunking = {"chunk_size": 64, "chunk_overlap": 0}
    return build_index(documents, "overlapping_chunks", chunking, embed_model_picker("embed-small"))


def found(index, method, question, **parameters):
    engine = query_engine_picker(method, index, llm_picker("llm-large"), parameters)
    return {hit.text: hit.score for hit in engine.retrieve(question)}


def test_ranks_are_fused(index):
    question = "How far off is buoy 7?"
    lists = [index.as_retriever(similarity_top_k=6).retrieve(question), WordRetriever(index, 6).retrieve(question)]
    expected: dict[str, float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits):
            expected[hit.text] = expected.get(hit.text, 0) + 1 / (60 + rank)
    best = sorted(expected.items(), key=lambda item: -item[1])[:3]
    scores = found(index, "hybrid", question, top_k=3)
    assert list(scores.values()) == pytest.approx([score for _, score in best])


def test_scores_are_scaled_and_weighed(index):
    question = "How loud is the ZX-81 horn at buoy 3?"
    by_words = found(index, "hybrid", question, top_k=3, fusion="relative_score", vector_weight=0.1)
    assert next(iter(by_words)) == TEXTS[12]
    assert max(by_words.values()) <= 1
    assert list(by_words.values()) == sorted(by_words.values(), reverse=True)


def test_words_find_a_name_that_only_one_text_has(index):
    assert list(found(index, "bm25", "ZX 81")) == [TEXTS[12]]
