"""Indexes over the real PDFs: no text lost, only leaves embedded, only text sent, every page label right."""

import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from llama_index.core.schema import MetadataMode
from model_servers import pages

from dream.documents.loading import merge_pages
from dream.documents.readers import read_file
from dream.errors import ConfigurationError, DataError
from dream.indexes.chunkers import build_index, chunk
from dream.indexes.sentence_splitting import LEAST_WORDS, MOST_TOKENS
from dream.models.pickers import embed_model_picker
from dream.rag.methods import RAG_METHODS
from dream.rag.search_space import DEFAULT_METHODS
from dream.records import pages_of
from dream.tokens import count_tokens

PDFS = Path(__file__).resolve().parents[2] / "notebooks/sample_documents"
METHODS = list(DEFAULT_METHODS)


def letters(text: str) -> str:
    """A text without white space and punctuation, which PDF readers may render differently."""
    return re.sub(r"[\W_]+", "", text)


def nodes_of(index):
    return list(index.docstore.docs.values())


@pytest.fixture(scope="module")
def pdf_pages():
    """Letters of each page without header and footer: `pdf_pages[file name][page label]`."""
    return {
        path.name: {str(n): letters(text) for n, text in read_file(path.name, path.read_bytes()).pages}
        for path in PDFS.glob("*.pdf")
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_node_is_on_the_pages_that_its_label_names(method, gateway, sample_index, pdf_pages):
    wrong, several = [], 0
    for node in nodes_of(sample_index(method)):
        file, text, labels = node.metadata["file_name"], letters(node.text), pages_of(node.metadata["page_label"])
        begins, ends = pdf_pages[file][labels[0]], pdf_pages[file][labels[-1]]
        inner = "".join(pdf_pages[file][label] for label in labels)
        several += len(labels) > 1
        if not (text in inner and (len(labels) == 1 or (begins.endswith(text[:9]) or text[:9] in begins))):
            wrong.append((file, labels, node.text[:80]))
        if len(labels) > 1 and not (text not in begins and text not in ends and text[-1:] in ends):
            wrong.append((file, labels, node.text[-80:]))
    assert wrong == []
    assert several or method == "sentence_window"


def test_a_chunk_names_all_its_pages(gateway):
    sentences = [f"This sentence stands on page {number} of the book alone." for number in range(1, 7)]
    documents = [page for page in pages("a.pdf", *sentences) if page.metadata["page_label"] != "4"]  # a page of no text
    index = build_index(
        documents, "overlapping_chunks", {"chunk_size": 40, "chunk_overlap": 0}, embed_model_picker("embed-small")
    )
    named = {node.metadata["page_label"]: re.findall(r"page (\d)", node.text) for node in nodes_of(index)}
    assert named == {"1-3": ["1", "2", "3"], "5-6": ["5", "6"]}


@pytest.mark.parametrize("method", METHODS)
def test_no_text_is_lost(method, gateway, sample_index, sample_documents):
    leaves = [node for node in nodes_of(sample_index(method)) if not node.child_nodes]
    by_file = defaultdict(list)
    for leaf in leaves:
        by_file[leaf.metadata["file_digest"]].append(leaf)
    for document in merge_pages(sample_documents):
        covered = bytearray(len(document.text))
        for leaf in by_file[document.metadata["file_digest"]]:
            start, end = leaf.start_char_idx, leaf.end_char_idx
            assert document.text[start:end] == leaf.get_content()
            covered[start:end] = b"x" * (end - start)
        left = "".join(c for c, seen in zip(document.text, covered, strict=True) if not seen)
        assert letters(left) == ""


@pytest.mark.parametrize("method", METHODS)
def test_only_the_text_of_the_smallest_pieces_is_embedded(method, gateway, relay):
    text = " ".join(f"Mast {number} carries {number * 7} lamps and a bell." for number in range(300))
    rag_method = RAG_METHODS[method]
    chunking, _ = rag_method.split(rag_method.defaults)
    documents = pages("secret-name.pdf", text[:6000], text[6000:])
    index = build_index(documents, rag_method.chunker, chunking, embed_model_picker("embed-small@relay"))
    sent = [text for seen in relay.requests for text in seen.body["input"]]
    leaves = [node for node in nodes_of(index) if not node.child_nodes and node.get_content().strip()]
    assert sorted(sent) == sorted(leaf.get_content().replace("\n", " ") for leaf in leaves)
    assert len(index.vector_store.client) == len(leaves)
    everything = " ".join(seen.text for seen in relay.requests)
    for metadata in ("secret-name", "page_label", documents[0].metadata["file_digest"], "page_starts", "window"):
        assert metadata not in everything


@pytest.mark.parametrize("method", METHODS)
def test_the_llm_and_the_embedding_model_see_text_alone(method, gateway, sample_index):
    for node in nodes_of(sample_index(method)):
        assert node.get_content(MetadataMode.LLM) == node.get_content(MetadataMode.EMBED) == node.text
        assert set(node.metadata) == {"file_name", "page_label", "file_digest"}
        assert node.embedding is None


def test_a_hierarchy_descends_and_keeps_parents_in_the_docstore(gateway, sample_index):
    index = sample_index("hierarchical_automerging")
    nodes = {node.node_id: node for node in nodes_of(index)}
    leaves = [node for node in nodes.values() if not node.child_nodes]
    embedded = set(index.vector_store.embedded_ids)
    assert len(index.vector_store.client) == len(embedded) < len(nodes)
    scraps = [leaf.get_content() for leaf in leaves if leaf.node_id not in embedded]
    assert embedded <= {leaf.node_id for leaf in leaves}
    assert all(len(re.findall(r"[^\W\d_]{2,}", scrap)) < LEAST_WORDS for scrap in scraps)
    for node in nodes.values():
        depth, above = 0, node
        while above.parent_node:
            above, depth = nodes[above.parent_node.node_id], depth + 1
        assert count_tokens(node.get_content()) <= (1024, 512, 128)[depth]
        assert bool(node.child_nodes) == (depth < 2)
        for child in node.child_nodes or []:
            inner = nodes[child.node_id]
            assert inner.get_content() in node.get_content()
            assert node.start_char_idx <= inner.start_char_idx < inner.end_char_idx <= node.end_char_idx


def test_chunks_keep_to_their_size_and_overlap(gateway, sample_index):
    by_file = defaultdict(list)
    for node in nodes_of(sample_index("chunks_with_overlap")):
        assert count_tokens(node.get_content()) <= 512
        by_file[node.metadata["file_name"]].append(node)
    pairs = [pair for chunks in by_file.values() for pair in pairwise(chunks)]
    overlaps = [one.end_char_idx - two.start_char_idx for one, two in pairs]
    assert sum(overlap > 0 for overlap in overlaps) > len(overlaps) / 2


def test_sentences_are_linked_in_the_order_of_the_text(gateway, sample_index):
    nodes = {node.node_id: node for node in nodes_of(sample_index("sentence_window"))}
    firsts = [node for node in nodes.values() if node.prev_node is None]
    assert len(firsts) == len({node.metadata["file_name"] for node in nodes.values()})
    followed = 0
    for node in nodes.values():
        if node.next_node:
            after = nodes[node.next_node.node_id]
            assert after.start_char_idx > node.start_char_idx
            assert after.prev_node.node_id == node.node_id
            followed += 1
    assert followed == len(nodes) - len(firsts)


def test_repeated_text_is_found_in_its_own_place(gateway):
    again = "All staff in the hall wear gloves. "
    documents = pages("a.pdf", *(f"{again}This is the {number} page." for number in ("first", "second", "third")))
    index = build_index(documents, "sentences", {}, embed_model_picker("embed-small"))
    repeated = [node for node in nodes_of(index) if node.text.strip() == again.strip()]
    assert [node.metadata["page_label"] for node in repeated] == ["1", "2", "3"]


@pytest.mark.parametrize("method", METHODS)
def test_equal_rows_are_found_in_their_own_places(method):
    rag_method = RAG_METHODS[method]
    documents = pages("a.pdf", *["the same row again | 0 | 0\n" * 200] * 3)
    (whole,) = merge_pages(documents)
    nodes = chunk(documents, rag_method.chunker, rag_method.split(rag_method.defaults)[0]).to_pylist()
    covered = bytearray(len(whole.text))
    for node in nodes:
        covered[node["start"] : node["end"]] = b"x" * len(node["text"])
    left = "".join(c for c, seen in zip(whole.text, covered, strict=True) if not seen).split("\n")
    assert len("".join(left)) < 0.02 * len(whole.text)
    assert {page for node in nodes for page in pages_of(node["page_label"])} == {"1", "2", "3"}


def test_a_table_of_numbers_is_cut_and_what_is_too_short_goes_with_the_next(gateway):
    table = "Rainfall at the seven stations of the coast: " + " ".join(str(number) for number in range(9000))
    documents = pages(
        "a.pdf", "1. 2.1. Scope ........ 4 The rain is measured at noon.", table, "The rain ended in May."
    )
    nodes = nodes_of(build_index(documents, "sentences", {}, embed_model_picker("embed-small")))
    assert nodes[0].get_content().startswith("1. 2.1. Scope")
    assert max(count_tokens(node.get_content()) for node in nodes) <= MOST_TOKENS
    assert all(node.metadata["page_label"] for node in nodes)
    assert letters("".join(node.get_content() for node in nodes)) == letters("".join(page.text for page in documents))


def test_vectors_have_length_one_and_belong_to_their_nodes(gateway, model_server):
    index = build_index(pages("a.txt", "Bees fly. Ice melts."), "sentences", {}, embed_model_picker("embed-small"))
    for stored, node_id in zip(index.vector_store.client, index.vector_store.embedded_ids, strict=True):
        text = index.docstore.get_node(node_id).get_content()
        assert stored == pytest.approx(model_server.vectors(text, model="embed-small")[0], abs=1e-5)
        assert (stored**2).sum() == pytest.approx(1)


@pytest.mark.parametrize("sizes", [[128, 512], [512, 512]])
def test_sizes_that_do_not_descend_are_refused(sizes, gateway):
    with pytest.raises(ConfigurationError, match="must descend"):
        build_index(pages("a.txt", "text"), "hierarchy", {"chunk_sizes": sizes}, embed_model_picker("embed-small"))


def test_documents_without_text_are_refused(gateway):
    with pytest.raises(DataError, match="contain no text"):
        build_index(pages("a.txt", " \n "), "sentences", {}, embed_model_picker("embed-small"))
    with pytest.raises(DataError, match=r"0 document\(s\)"):
        build_index([], "sentences", {}, embed_model_picker("embed-small"))
