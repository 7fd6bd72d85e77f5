"""Maximal marginal relevance against its definition."""

import numpy
import pytest
from model_servers import pages

from dream.indexes.chunkers import build_index
from dream.models.pickers import embed_model_picker
from dream.rag.diversity import DiverseRetriever

TEXTS = [
    "The mast carries 42 lamps.",
    "The mast carries many red lamps and a bell.",
    "How many lamps the north mast carries, nobody counts.",
    "Lamps of the ferry are green.",
    "The otters sleep under the ferry.",
    "Ida Brandt tunes the harbour organ in May.",
    "Does the mill carry flour?",
    "Seven masts stood in the harbour when the salt mill burnt.",
]
QUESTION = "How many lamps does the mast carry?"


@pytest.fixture
def index(gateway):
    documents = [page for number, text in enumerate(TEXTS) for page in pages(f"{number}.txt", text)]
    return build_index(documents, "sentences", {}, embed_model_picker("embed-large"))


@pytest.mark.parametrize("relevance", [0.0, 0.3, 0.5, 0.8])
def test_each_choice_is_that_of_the_definition(index, relevance):
    """Carbonell and Goldstein (1998): argmax of relevance * sim(d, q) - (1 - relevance) * max sim(d, chosen)."""
    question = numpy.array(embed_model_picker("embed-large").get_query_embedding(QUESTION))
    vectors = index.vector_store.client
    near = vectors @ (question / numpy.linalg.norm(question))
    chosen: list[int] = []
    while len(chosen) < 4:
        left = [row for row in range(len(vectors)) if row not in chosen]
        values = {
            row: relevance * near[row] - (1 - relevance) * max((vectors[row] @ vectors[c] for c in chosen), default=0)
            for row in left
        }
        if relevance or chosen:
            chosen.append(max(left, key=lambda row: values[row]))
        else:
            chosen.append(int(near.argmax()))
    hits = DiverseRetriever(index, len(TEXTS), 4, relevance).retrieve(QUESTION)
    assert [hit.text for hit in hits] == [list(index.docstore.docs.values())[row].text for row in chosen]


def test_with_relevance_alone_it_is_the_usual_search(index):
    nearest = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    assert [hit.node_id for hit in DiverseRetriever(index, 8, 3, 1.0).retrieve(QUESTION)] == [
        hit.node_id for hit in nearest
    ]


async def test_asynchronously_the_same_and_fewer_hits_than_asked_for(index):
    retriever = DiverseRetriever(index, 50, 50, 0.5)
    later = await retriever.aretrieve(QUESTION)
    assert len(later) == len(TEXTS)
    assert [hit.node_id for hit in later] == [hit.node_id for hit in retriever.retrieve(QUESTION)]
