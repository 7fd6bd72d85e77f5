"""Contexts of chunks: file and headings, embedded and searched, never read by the LLM."""

import numpy
from llama_index.core.schema import MetadataMode
from model_servers import pages

from dream.indexes.chunkers import chunk, texts_to_embed
from dream.indexes.contexts import MOST_TOKENS, with_context
from dream.indexes.counts import texts_to_embed as counted
from dream.indexes.nodes import NodeTable
from dream.indexes.store import IndexSpec, join, load_index, save_index
from dream.indexes.without_vectors import index_without_vectors
from dream.rag.words import WordRetriever
from dream.storage import LocalStorage
from dream.tokens import count_tokens

TEXT = "\n".join(
    [
        "Nothing stands above this line.",
        "# Waterworks",
        "The works serve the town. " * 6,
        "## Pumps",
        "They are oiled in May. " * 6,
        "### Seals",
        "They are changed in June. " * 6,
        "## Staff",
        "Nine people. " * 6,
    ]
)
SIZES = {"chunk_size": 30, "chunk_overlap": 0}
CONTEXTUAL = {**SIZES, "chunk_context": "headings"}
DOCUMENTS = pages("town/water_works.md", TEXT)


def context_of(words: str) -> str:
    rows = chunk(DOCUMENTS, "overlapping_chunks", CONTEXTUAL).to_pylist()
    return next(row["context"] for row in rows if row["text"].startswith(words))


def test_a_context_is_the_file_and_the_headings_above_the_start():
    assert context_of("Nothing") == "town > water works"
    assert context_of("They are oiled") == "town > water works > Waterworks > Pumps"
    assert context_of("They are changed") == "town > water works > Waterworks > Pumps > Seals"
    assert context_of("Nine people") == "town > water works > Waterworks > Staff"


def test_chunks_are_the_same_with_and_without_context():
    plain = chunk(DOCUMENTS, "overlapping_chunks", SIZES)
    contextual = chunk(DOCUMENTS, "overlapping_chunks", CONTEXTUAL)
    assert contextual.drop_columns("context").equals(plain)


def test_what_is_embedded_and_counted_has_the_context():
    table = chunk(DOCUMENTS, "overlapping_chunks", CONTEXTUAL)
    rows, texts = table.to_pylist(), texts_to_embed(table)
    assert texts == [with_context(row["text"], row["context"]) for row in rows]
    assert counted(DOCUMENTS, "overlapping_chunks", CONTEXTUAL) == (len(rows), sum(map(count_tokens, texts)))


def test_a_node_shows_the_llm_its_text_alone():
    table = chunk(DOCUMENTS, "overlapping_chunks", CONTEXTUAL)
    for node, text in zip(NodeTable(table).values(), texts_to_embed(table), strict=True):
        assert node.get_content(MetadataMode.EMBED) == text
        assert node.get_content(MetadataMode.LLM) == node.get_content() in text


def test_long_paths_lose_their_outermost_headings():
    deep = "\n".join(f"{'#' * level} {'words of a long heading ' * 5}{level}" for level in range(1, 7))
    rows = chunk(pages("a.md", f"{deep}\nText of the end."), "headings", CONTEXTUAL).to_pylist()
    assert rows[-1]["context"].endswith(" 6") and rows[-1]["context"].startswith("a > ")
    assert all(count_tokens(row["context"]) <= MOST_TOKENS for row in rows)


def test_only_leaves_of_a_hierarchy_have_contexts():
    parameters = {"chunk_sizes": [60, 30], "chunk_context": "headings"}
    rows = chunk(DOCUMENTS, "hierarchy", parameters).to_pylist()
    assert {bool(row["context"]) for row in rows if row["embedded"]} == {True}
    assert {bool(row["context"]) for row in rows if not row["embedded"]} == {False}


def test_an_index_with_contexts_is_kept_and_found(tmp_path):
    spec = IndexSpec("documents", "overlapping_chunks", CONTEXTUAL, "offline/embed-small", "offline")
    tables = [chunk(DOCUMENTS, spec.chunker, spec.parameters), chunk(pages("b.md", TEXT), spec.chunker, CONTEXTUAL)]
    data = join(tables, [numpy.eye(64, dtype=numpy.float32)[: len(texts_to_embed(table))] for table in tables])
    save_index(LocalStorage(tmp_path), spec, data)
    loaded = load_index(LocalStorage(tmp_path), spec)
    assert loaded is not None and loaded.nodes.equals(data.nodes)


def test_a_question_that_names_the_heading_finds_the_chunk():
    found = []
    for parameters in (SIZES, CONTEXTUAL):
        index = index_without_vectors(DOCUMENTS, "overlapping_chunks", parameters)
        hits = WordRetriever(index, 10).retrieve("seals")
        found.append({hit.node.get_content().split(".")[0] for hit in hits})
    assert "They are changed in June" not in found[0] and "They are changed in June" in found[1]
