"""ragas' TestsetGenerator writes questions from documents and from chunks."""

import re

import pytest
from llama_index.core import Document
from nordhaven import DOCUMENTS
from ragas.embeddings import OpenAIEmbeddings
from ragas.llms import llm_factory
from ragas.testset import TestsetGenerator

from dream.offline.phrasing import phrase
from dream.offline.questions import ask
from dream.offline.terms import headlines, names, themes
from dream.offline.text import analyse_sentence

SYNTHESIZERS = {
    "single_hop_specific_query_synthesizer",
    "multi_hop_abstract_query_synthesizer",
    "multi_hop_specific_query_synthesizer",
}


def halves(text):
    parts = [part for part in re.split(r"\n\n", text) if len(part.split()) > 20]
    return ["\n\n".join(parts[: len(parts) // 2]), "\n\n".join(parts[len(parts) // 2 :])]


@pytest.fixture
def generator(models):
    client = models.async_client()
    return TestsetGenerator(
        llm=llm_factory("judge", client=client), embedding_model=OpenAIEmbeddings(client=client, model="embed-large")
    )


def assert_good(rows, size):
    assert len(rows) == size
    assert {row["synthesizer_name"] for row in rows} == SYNTHESIZERS
    assert len({row["user_input"] for row in rows}) >= size * 0.75
    for row in rows:
        contexts = " ".join(" ".join(row["reference_contexts"]).replace("-\n", "").split())
        missing = analyse_sentence(row["reference"]).bag - analyse_sentence(contexts).bag
        assert len(missing) <= 1, (row["reference"], missing)
        hops = len(row["reference_contexts"])
        assert hops == 1 if row["synthesizer_name"].startswith("single") else hops >= 1


@pytest.mark.whole
def test_from_chunks(generator):
    chunks = [chunk for text in DOCUMENTS.values() for chunk in halves(text)]
    rows = generator.generate_with_chunks(chunks, testset_size=12).to_list()
    assert_good(rows, 12)
    assert max(len(row["reference_contexts"]) for row in rows) >= 2
    assert len({persona.name for persona in generator.persona_list}) >= 2


@pytest.mark.whole
def test_from_documents(generator):
    documents = [
        Document(text=f"{one}\n{other}")
        for one, other in zip(DOCUMENTS.values(), [*DOCUMENTS.values()][1:], strict=False)
    ]
    assert_good(generator.generate_with_llamaindex_docs(documents, testset_size=6).to_list(), 6)


@pytest.mark.whole
def test_from_short_documents(generator):
    documents = [Document(text=part) for text in DOCUMENTS.values() for part in halves(text)]
    assert_good(generator.generate_with_llamaindex_docs(documents, testset_size=6).to_list(), 6)


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("The park covers 14 percent of the demand.", "What percentage of the demand does the park cover?"),
        ("Since 2019, losses dropped from 14 to 6 litres.", "Since when did losses drop from 14 to 6 litres?"),
        ("Sheep graze there because mowers would damage the cables.", "Why do Sheep graze there?"),
        ("The pipes are eleven kilometres long.", "How long are the pipes?"),
        ("Boats are banned within 500 metres of the pipe.", "Within how many metres of the pipe are Boats banned?"),
        ("The tower was designed by Gustave Eiffel.", "Who was the tower designed by?"),
        ("The gateway keeps every answer in a cache.", "What does the gateway keep in a cache?"),
        ("The capital of France is Paris.", "What is the capital of France?"),
        ("Six wind turbines stand on the breakwater.", "Where do six wind turbines stand?"),
        ("Engineers found that the network saves 76 tonnes.", "How many tonnes does the network save?"),
    ],
)  # fmt: skip
def test_questions(sentence, question):
    assert ask(sentence) == question


def test_styles_and_lengths_differ():
    question = "When was the battery store beside the Solar Park Ilsen completed?"
    styles = ["Perfect grammar", "Poor grammar", "Misspelled queries", "Web search like queries"]
    said = [phrase(question, style, length, "Engineer") for style in styles for length in ("short", "long")]
    assert said[0] == question
    assert "an Engineer" in said[1]
    assert len(set(said)) >= 6


def test_extraction():
    text = DOCUMENTS["transport"]
    assert {"Harbour Council", "Lake Ilsen", "Aurelia"} <= set(names(text, 10))
    assert "bicycle routes" in themes(text, 10)
    found = headlines(text, 5)
    places = [text.find(headline) for headline in found]
    assert len(found) == 5 and places == sorted(places) and min(places) > 0
    assert names("the cat sat on the mat while the dog dug a hole in the garden.", 10)
