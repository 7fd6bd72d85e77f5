"""Contexts that an LLM writes: embedded and searched, paid once, and missing where a call fails."""

import re
from dataclasses import replace
from typing import Any

import pyarrow
import pytest
from llama_index.core.schema import MetadataMode
from model_servers import Reply, chat_reply, pages

from dream.errors import ServiceError
from dream.indexes import client as index_client
from dream.indexes.chunkers import build_index, chunk
from dream.indexes.client import get_index, index_spec
from dream.indexes.contexts import FAILURE, without_writer, writer_of
from dream.indexes.counts import texts_to_embed
from dream.indexes.store import documents_digest, is_stored, load_index
from dream.indexes.written_contexts import (
    MOST_TOKENS,
    WINDOW_TOKENS,
    Windows,
    failures_told,
    is_incomplete,
    prompt_tokens,
    with_written_contexts,
)
from dream.models.pickers import embed_model_picker
from dream.progress import Lines
from dream.rag.words import WordRetriever
from dream.storage import open_storage
from dream.tokens import count_tokens

TEXT = "# Waterworks\n" + "".join(
    f"## {part}\n{part} number {n} is looked after by {name}. It is oiled in May and painted in June.\n"
    for n, (part, name) in enumerate(zip(("Pump", "Valve", "Filter", "Gauge"), ("Ida", "Bo", "Lu", "Jo"), strict=True))
)
DOCUMENTS = pages("works.md", TEXT)
PLAIN = {"chunk_size": 30, "chunk_overlap": 0}
WRITTEN = {**PLAIN, "chunk_context": "llm", "context_llm": "llm-small@relay"}
CHUNK = re.compile(r"<chunk>\n(.*)\n</chunk>", re.DOTALL)


@pytest.fixture
def lines():
    return []


@pytest.fixture
def access(gateway, home, lines):
    with index_client.opened(home, lines.append) as opened:
        yield opened


def built(embed_model="embed-small@relay", parameters=WRITTEN):
    return get_index(DOCUMENTS, "overlapping_chunks", parameters, embed_model)


def asked(relay):
    return [seen for seen in relay.requests if "chat" in seen.path]


def chunk_of(seen):
    found = CHUNK.search(seen.prompt)
    assert found
    return found[1]


def told(seen):
    """A context that is in no document."""
    return chat_reply(f"<think>Hm.</think> Zebra {chunk_of(seen)[:9]}\nof the works.") if "chat" in seen.path else None


def test_an_llm_reads_document_and_chunk_and_its_answer_is_embedded(access, relay, gateway):
    relay.script = told
    index = built()
    nodes: Any = list(index.docstore.docs.values())
    chunks = {node.get_content() for node in nodes}
    assert {chunk_of(seen) for seen in asked(relay)} == chunks and len(asked(relay)) == len(nodes) > 3
    assert all(TEXT.strip() in seen.prompt for seen in asked(relay))
    embedded = [text for seen in relay.requests if "embeddings" in seen.path for text in seen.body["input"]]
    searched = [node.get_content(MetadataMode.EMBED) for node in nodes]
    assert sorted(embedded) == sorted(text.replace("\n", " ") for text in searched)
    assert all(text.startswith("Zebra ") and " of the works.\n\n" in text for text in searched)
    assert all(node.get_content(MetadataMode.LLM) in chunks for node in nodes)
    assert all(TEXT[node.start_char_idx : node.end_char_idx] == node.text for node in nodes)
    (row,) = [row for row in gateway.usage() if row.stage == "context"]
    assert (row.calls, row.sent, row.trial) == (len(nodes), len(nodes), "")
    planned = texts_to_embed(DOCUMENTS, "overlapping_chunks", WRITTEN)
    assert planned[0] == row.calls


def test_contexts_are_paid_once_for_all_indexes_of_the_same_chunks(access, relay, home, gateway):
    built()
    n = len(asked(relay))
    built("embed-large@relay")
    words: Any = built("")
    assert len(asked(relay)) == n
    assert len(words.vector_store.embedded_ids) == n  # without vectors, it is kept too
    spec = index_spec(documents_digest(DOCUMENTS), "overlapping_chunks", WRITTEN, "")
    assert is_stored(open_storage(home.cache_uri, home), spec)
    assert sum(row.calls for row in gateway.usage() if row.stage == "context") == 3 * n


def test_words_of_a_context_are_searched(access, relay):
    relay.script = told
    (hit,) = WordRetriever(built(""), 1).retrieve("zebra gauge")
    assert "Gauge" in hit.node.get_content() and "Zebra" not in hit.node.get_content()


def test_another_llm_makes_another_index(gateway):
    def key(**changes):
        return index_spec("documents", "overlapping_chunks", {**WRITTEN, **changes}, "embed-small").key

    assert (
        len({key(), key(context_llm="llm-large@relay"), key(context_llm="llm-small"), key(chunk_context="none")}) == 4
    )
    assert (writer_of(WRITTEN), writer_of({**WRITTEN, "chunk_context": "headings"})) == ("llm-small@relay", "")
    assert without_writer(WRITTEN) == {**PLAIN, "chunk_context": "headings"}


def test_a_chunk_that_is_refused_has_no_context_and_the_index_says_so(access, relay, home, lines):
    refused = Reply(400, {"error": {"message": "content filter: sk-secret", "code": "content_filter"}})
    relay.script = lambda seen: refused if "chat" in seen.path and "Valve number" in chunk_of(seen) else told(seen)
    contexts = [node.metadata.get("context", "") for node in built().docstore.docs.values()]
    assert (contexts.count(""), len(contexts) > 3) == (1, True)
    reason = "1 chunk(s) have no context (refused: BadRequestError, HTTP 400)"
    assert any(line.endswith(reason) for line in lines)
    spec = index_spec(documents_digest(DOCUMENTS), "overlapping_chunks", WRITTEN, "embed-small@relay")
    kept = load_index(open_storage(home.cache_uri, home), spec)
    assert kept is not None and failures_told(kept.nodes) == f"; {reason}"
    assert not is_incomplete(kept.nodes)  # it would be refused again


def test_contexts_are_counted_while_they_are_written_also_those_that_fail(gateway, home, relay):
    refused = Reply(400, {"error": {"message": "content filter", "code": "content_filter"}})
    relay.script = lambda seen: refused if "chat" in seen.path and "Valve number" in chunk_of(seen) else told(seen)
    lines: list[str] = []
    with index_client.opened(home, Lines(lines.append, every_seconds=0)):
        n = len(built().docstore.docs)
    written = [line.split(" in ")[0] for line in lines if line.startswith("writing contexts")]
    assert written[0] == f"writing contexts: 0 of {n} chunks" and written[-1] == f"writing contexts: {n} of {n} chunks"
    assert f"writing contexts: 1 of {n} chunks" in written
    assert [line for line in lines if line.startswith("embedding")]


def test_an_empty_answer_is_a_failure(access, relay):
    relay.script = lambda seen: chat_reply("<think>Hm.</think>") if "chat" in seen.path else None
    with pytest.raises(ServiceError, match=r"failed on 2 of \d, more than 10% .*name another LLM \(context_llm\)"):
        built()


def test_an_index_without_some_contexts_for_an_outage_is_not_complete():
    nodes = chunk(DOCUMENTS, "overlapping_chunks", without_writer(WRITTEN))
    failures = pyarrow.array(["service: APIConnectionError", *[""] * (len(nodes) - 1)])
    nodes = nodes.append_column(FAILURE, failures.dictionary_encode())
    assert is_incomplete(nodes)
    assert failures_told(nodes).endswith("the index is not stored, so they are requested again")


def test_nothing_is_asked_where_no_llm_is_to_write():
    nodes = chunk(DOCUMENTS, "overlapping_chunks", PLAIN)
    assert with_written_contexts(nodes, DOCUMENTS, PLAIN) is nodes


def test_only_what_is_searched_has_a_context(gateway, relay):
    parameters = {"chunk_sizes": (60, 30), "chunk_context": "llm", "context_llm": "llm-small@relay"}
    index: Any = build_index(DOCUMENTS, "hierarchy", parameters, embed_model_picker("embed-small"))
    nodes, leaves = index.docstore.docs, set(index.vector_store.embedded_ids)
    assert {name for name, node in nodes.items() if node.metadata.get("context")} == leaves
    assert len(asked(relay)) == len(leaves) < len(nodes)


def test_a_long_answer_is_cut(gateway, relay):
    relay.script = lambda seen: chat_reply("So it is, and so it will be. " * 200)
    index = build_index(DOCUMENTS, "overlapping_chunks", WRITTEN, embed_model_picker("embed-small"))
    sizes = [count_tokens(node.metadata["context"]) for node in index.docstore.docs.values()]
    assert 0.8 * MOST_TOKENS < max(sizes) <= MOST_TOKENS


@pytest.mark.parametrize("word", ["pump {x} ", "水道のポンプは五月に油を差す。", "насос "])
def test_a_window_is_bounded_around_the_chunk_and_shared_by_neighbours(word):
    text = "".join(f"{n} {word}" for n in range(9000))
    windows = Windows(text)
    places = range(0, len(text) - 400, 200)
    found = [windows.around(place, place + 400) for place in places]
    assert all(0.5 * WINDOW_TOKENS < count_tokens(window) <= WINDOW_TOKENS + 2 for window in found)
    assert all(text[place : place + 400] in window for place, window in zip(places, found, strict=True))
    assert len(set(found)) < len(found) / 2
    assert Windows("Short.").around(-1, -1) == "Short." and windows.around(-1, -1) == found[0]


def test_the_tokens_of_prompts_are_estimated(gateway, relay):
    documents = [*DOCUMENTS, *pages("long.md", *(TEXT.replace("Ida", f"Ida{n}") for n in range(60)))]
    parameters = {**WRITTEN, "chunk_size": 120}
    nodes = chunk(documents, "overlapping_chunks", without_writer(parameters))
    with_written_contexts(nodes, documents, parameters)
    actual = sum(count_tokens(seen.prompt) for seen in asked(relay))
    n_texts, n_tokens = texts_to_embed(documents, "overlapping_chunks", parameters)
    assert n_texts == len(asked(relay))
    assert prompt_tokens(documents, n_texts, n_tokens) == pytest.approx(actual, rel=0.1)


def test_an_llm_with_another_address_is_another_one(gateway, relay):
    spec = index_spec("documents", "overlapping_chunks", WRITTEN, "embed-small")
    assert spec.endpoint.count(" ") == 1 and spec.key != replace(spec, endpoint=spec.endpoint.split()[0]).key
