"""Chunks by the meaning of sentences: cut between topics, bounded, in every language; paid as planned."""

import numpy
import pytest
from llama_index.core import MockEmbedding
from llama_index.core.base.embeddings.base import BaseEmbedding
from model_servers import pages
from texts_of_languages import TEXTS

from dream.errors import ConfigurationError
from dream.indexes.chunkers import chunk
from dream.indexes.counts import texts_to_embed
from dream.tokens import count_tokens

TOPICS = {
    "pump": "The pump lifts water from the deep well.",
    "bee": "The bee brings honey home to the hive.",
    "loom": "The loom weaves wool into a heavy carpet.",
}


class Topics(BaseEmbedding):
    """The vector of a text is that of its topic, turned a little by its length."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [*(float(topic in text.lower()) for topic in TOPICS), 0.01 * (len(text) % 3) + 0.01]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def semantic(text: str, chunk_size: int, model: BaseEmbedding | None = None) -> list[dict]:
    table = chunk(pages("a.txt", text), "semantic", {"chunk_size": chunk_size}, model or Topics())
    return table.to_pylist()


def test_borders_are_those_of_topics():
    lengths = {"pump": 5, "bee": 7, "loom": 4}
    text = "\n".join(" ".join([TOPICS[topic]] * n) for topic, n in lengths.items())
    chunks = semantic(text, 80)
    assert [(row["text"].split()[1], row["text"].count(".")) for row in chunks] == [*lengths.items()]
    assert [text[row["start"] : row["end"]] for row in chunks] == [row["text"] for row in chunks]


def test_what_fits_is_not_cut():
    text = " ".join(TOPICS.values())
    assert [row["text"] for row in semantic(text, 80)] == [text]


@pytest.mark.parametrize("language", list(TEXTS))
def test_chunks_of_every_language_have_the_size_and_all_of_the_text(language):
    text = TEXTS[language]
    chunks = semantic(text, 64, MockEmbedding(embed_dim=3))
    assert all(0 < count_tokens(row["text"]) <= 64 + 8 for row in chunks)
    assert "".join("".join(row["text"] for row in chunks).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["a", "One sentence alone.", "\n\n  One.\n\n\n", "x" * 3000, "1 2 3 " * 500])
def test_awkward_texts(text):
    chunks = semantic(text, 50)
    assert "".join("".join(row["text"] for row in chunks).split()) == "".join(text.split())


def test_a_chunk_is_not_a_scrap_where_all_sentences_differ_alike():
    text = " ".join(f"The {'pump' if i % 2 else 'bee'} number {i} has been oiled and painted." for i in range(60))
    sizes = [count_tokens(row["text"]) for row in semantic(text, 100)]
    assert min(sizes) >= 20 and max(sizes) <= 100 and numpy.mean(sizes) >= 45


def test_without_a_model_it_is_refused():
    with pytest.raises(ConfigurationError, match="semantic needs an embedding model"):
        chunk(pages("a.txt", "Text."), "semantic", {"chunk_size": 50})


def test_the_plan_counts_sentences_and_chunks():
    text = " ".join(
        f"The {'pump' if i % 40 < 20 else 'bee'} number {i} has been oiled and painted." for i in range(400)
    )
    asked: list[str] = []

    class Counted(Topics):
        def _get_text_embedding(self, text: str) -> list[float]:
            asked.append(text)
            return super()._get_text_embedding(text)

    asked += [row["text"] for row in semantic(text, 200, Counted())]
    n_texts, n_tokens = texts_to_embed(pages("a.txt", text), "semantic", {"chunk_size": 200})
    assert n_texts == pytest.approx(len(asked), rel=0.1)
    assert n_tokens == pytest.approx(sum(map(count_tokens, asked)), rel=0.1)
