"""RAG methods and the passages that they give to the LLM, on the real PDFs: no text twice, one budget, text only."""

import random
import re
from statistics import mean

import pytest
from llama_index.core.schema import QueryBundle
from model_servers import pages
from texts_of_languages import TEXTS

from dream.documents.loading import merge_pages
from dream.errors import ConfigurationError
from dream.indexes.chunkers import build_index
from dream.models.pickers import embed_model_picker, llm_picker
from dream.rag.methods import (
    CONTEXT_TOKENS,
    RAG_METHODS,
    answer_from,
    find_rag_method,
    query_engine_picker,
    rag_method,
)
from dream.rag.postprocessors import passages
from dream.tokens import count_tokens

METHODS = [name for name in RAG_METHODS if name != "long_context"]  # which retrieves nothing


@pytest.fixture(scope="session")
def questions(sample_documents):
    """Two sentences of each page, so that every part of the PDFs is queried."""
    chance = random.Random(0)
    sample = []
    for page in sample_documents:
        sentences = re.split(r"(?<=[.?!])\s+", page.text.replace("\n", " "))
        wanted = [sentence for sentence in sentences if 40 < len(sentence) < 160]
        sample += chance.sample(wanted, min(2, len(wanted)))
    return sample


@pytest.fixture
def engine(gateway, sample_index):
    """`engine(method, **parameters)` over the sample PDFs."""

    def pick(method, **parameters):
        return query_engine_picker(method, sample_index(method), llm_picker("llm-large@relay"), parameters)

    return pick


def retrieved(query_engine, question):
    return passages(query_engine.retrieve(QueryBundle(question)))


def small_engine(method, text, question_engine_parameters, **chunking):
    """A RAG method over one made-up document; the index comes with it."""
    index = build_index(
        pages("a.txt", text), find_rag_method(method).chunker, chunking, embed_model_picker("embed-small")
    )
    return query_engine_picker(method, index, llm_picker("llm-large@relay"), question_engine_parameters), index


@pytest.mark.parametrize("method", METHODS)
def test_passages_repeat_nothing_and_keep_to_the_budget(method, engine, questions):
    query_engine = engine(method)
    for question in questions:
        read = retrieved(query_engine, question)
        texts = [passage.text for passage in read]
        assert read
        assert not [a for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j and a in b]
        assert sum(passage.tokens for passage in read) <= CONTEXT_TOKENS
        assert all(passage.tokens == count_tokens(passage.text) > 0 for passage in read)
        assert all(passage.file_name.endswith(".pdf") and passage.page_label for passage in read)
        scores = [passage.score for passage in read]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context_tokens", [150, 400, 900])
def test_a_smaller_budget_is_kept_too(method, context_tokens, engine, questions):
    query_engine = engine(method, context_tokens=context_tokens)
    for question in questions[::5]:
        read = retrieved(query_engine, question)
        assert 0 < sum(passage.tokens for passage in read) <= context_tokens
        assert not any(passage.is_cut for passage in read[1:])


@pytest.fixture(scope="session")
def index_in_language():
    """`index_in_language(kind, method)`: a document of two pages and its index, one for all methods of a chunker."""
    built = {}

    def build(kind, method):
        rag, text = find_rag_method(method), TEXTS[kind]
        chunking = rag.split(rag.defaults)[0]
        key = kind, rag.chunker, repr(chunking)
        if key not in built:
            documents = pages("a.pdf", text[: len(text) // 2], text[len(text) // 2 :])
            (document,) = merge_pages(documents)
            built[key] = document, build_index(documents, rag.chunker, chunking, embed_model_picker("embed-small"))
        return built[key]

    return build


FEW_KINDS = {"English", "Thai without spaces", "table"}
ALL_KINDS = [kind if kind in FEW_KINDS else pytest.param(kind, marks=pytest.mark.whole) for kind in TEXTS]


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_budget_is_kept_in_every_language_and_without_full_stops(method, kind, gateway, index_in_language):
    text = TEXTS[kind]
    document, index = index_in_language(kind, method)
    starts = (0, len(text) // 2, len(text) - 60)
    for context_tokens, asked in ((30, starts), (300, starts[1:2]), (CONTEXT_TOKENS, starts[::2])):
        parameters = {"context_tokens": context_tokens}
        query_engine = query_engine_picker(method, index, llm_picker("llm-large@relay"), parameters)
        for start in asked:
            read = retrieved(query_engine, text[start : start + 60])
            assert all(passage.tokens == count_tokens(passage.text) > 0 for passage in read)
            assert sum(passage.tokens for passage in read) <= context_tokens
            assert read or method == "bm25"  # which finds nothing where no whole word is asked for
            assert {passage.page_label for passage in read} <= {"1", "2", "1-2"}
            for passage in read:  # nothing but white space differs from the document
                assert "".join(passage.text.split()) in "".join(document.text.split())


def test_all_methods_let_the_llm_read_about_as_much(engine, questions):
    means = {}
    for method in METHODS:
        query_engine = engine(method)
        means[method] = mean(sum(p.tokens for p in retrieved(query_engine, question)) for question in questions)
    assert max(means.values()) <= 1.2 * min(means.values()), means


@pytest.mark.parametrize("method", METHODS)
def test_a_quoted_sentence_is_retrieved(method, engine, questions):
    """Retrieval works at all: a question that quotes the documents retrieves the text that it quotes."""
    query_engine = engine(method)
    n_quoted = 0
    for question in questions:
        text = " ".join(" ".join(passage.text for passage in retrieved(query_engine, question)).split())
        n_quoted += " ".join(question.split()) in text
    assert n_quoted >= 0.9 * len(questions)


@pytest.mark.parametrize("method", METHODS)
async def test_waiting_and_asynchronous_retrieval_give_the_same(method, engine, questions):
    query_engine = engine(method)
    for question in questions[:12]:
        bundle = QueryBundle(question)
        assert passages(await query_engine.aretrieve(bundle)) == passages(query_engine.retrieve(QueryBundle(question)))


@pytest.mark.parametrize("method", METHODS)
async def test_the_llm_reads_the_passages_and_nothing_else(method, engine, relay):
    question = "How much lead may honey contain?"
    response = await engine(method).aquery(question)
    (chat,) = [seen for seen in relay.requests if seen.path.endswith("/chat/completions")]
    read = passages(response.source_nodes)
    assert question in chat.prompt
    places = [chat.prompt.find(passage.text) for passage in read]
    assert places == sorted(places)
    assert min(places) >= 0
    left = chat.prompt
    for passage in read:
        assert passage.file_name not in chat.prompt
        left = left.replace(passage.text, "")
    assert "page_label" not in left
    assert "file_" not in left
    assert not re.search("[0-9a-f]{32}", left)
    assert str(response)


def test_neighbouring_leaves_become_their_parent(engine, sample_index):
    nodes = sample_index("hierarchical_automerging").docstore.docs
    parents = [node for node in nodes.values() if len(node.child_nodes or []) >= 4]
    merged = 0
    for parent in parents[:20]:
        texts = [passage.text for passage in retrieved(engine("hierarchical_automerging"), parent.get_content())]
        leaves = [nodes[child.node_id].get_content() for child in parent.child_nodes]
        merged += any(parent.get_content() in text for text in texts)
        assert not (parent.get_content() in texts and set(leaves) & set(texts))
    assert merged >= 0.8 * len(parents[:20])


SECTIONS = ("apples", "bridges", "candles", "dolphins")


@pytest.mark.parametrize(("merge_ratio", "n_passages"), [(0.51, 2), (0.5, 2), (0.49, 1), (0.0, 1), (1.0, 2)])
def test_leaves_merge_when_more_than_the_ratio_is_found(merge_ratio, n_passages, gateway):
    text = " ".join(
        " ".join(f"The {word} of row {row} came late." for row in range(number * 10, number * 10 + 10))
        for number, word in enumerate(SECTIONS)
    )
    parameters = {"merge_ratio": merge_ratio, "top_k": 2}
    query_engine, index = small_engine("hierarchical_automerging", text, parameters, chunk_sizes=(512, 100))
    (parent,) = [node for node in index.docstore.docs.values() if node.child_nodes]
    assert len(parent.child_nodes) == 4
    assert len(retrieved(query_engine, "apples and bridges")) == n_passages


NUMBERED = " ".join(
    f"Sentence {number} tells us all about {'wombats' if number in (5, 8, 20) else 'nothing'}." for number in range(30)
)


@pytest.mark.parametrize(
    ("window_size", "expected"),
    [(0, [(5, 5), (8, 8), (20, 20)]), (1, [(4, 9), (19, 21)]), (2, [(3, 10), (18, 22)]), (12, [(0, 29)])],
)
def test_windows_that_touch_are_one_passage(window_size, expected, gateway):
    parameters = {"window_size": window_size, "top_k": 3}
    query_engine, _ = small_engine("sentence_window", NUMBERED, parameters)
    read = retrieved(query_engine, "wombats")
    spans = [[int(number) for number in re.findall(r"Sentence (\d+)", passage.text)] for passage in read]
    assert sorted((span[0], span[-1]) for span in spans) == expected
    assert all(span == list(range(span[0], span[-1] + 1)) for span in spans)


def test_the_budget_counts_a_sentence_once_and_passes_over_what_does_not_fit(gateway):
    window = count_tokens(". ".join(NUMBERED.split(". ")[4:7]) + ".")
    counts = []
    for context_tokens in (count_tokens(NUMBERED.split(". ")[8]) + 1, window, 2 * window, 3 * window):
        parameters = {"window_size": 1, "top_k": 3, "context_tokens": context_tokens}
        query_engine, _ = small_engine("sentence_window", NUMBERED, parameters)
        counts.append(sum(passage.text.count("wombats") for passage in retrieved(query_engine, "wombats")))
    assert counts == [1, 1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_text_in_two_files_is_read_once(method, gateway):
    notice = "In case of fire, leave by the east stairs and gather at the pier. "
    documents = [*pages("a.txt", notice), *pages("b.txt", notice), *pages("c.txt", notice + "Then wait for a boat.")]
    rag = find_rag_method(method)
    index = build_index(documents, rag.chunker, rag.split(rag.defaults)[0], embed_model_picker("embed-small"))
    read = retrieved(query_engine_picker(method, index, llm_picker("llm-large")), "Where do we gather in case of fire?")
    assert " ".join(passage.text for passage in read).count("east stairs") == 1


def test_unknown_names_list_the_valid_ones(engine):
    with pytest.raises(ConfigurationError, match="'semantic'; valid: chunks_with_overlap, sentence_window, hier"):
        find_rag_method("semantic")
    with pytest.raises(ConfigurationError, match=r"no parameter \['k', 'window_size'\]; valid: chunk_size, chunk_ov"):
        engine("chunks_with_overlap", window_size=3, k=1)


def test_parameters_of_the_chunker_and_of_the_engine_are_told_apart():
    for method in RAG_METHODS.values():
        chunking, of_engine = method.split(method.defaults)
        assert {**chunking, **of_engine} == method.defaults
        assert "context_tokens" in of_engine
    assert set(RAG_METHODS["hierarchical_automerging"].split({"chunk_sizes": (1, 2), "top_k": 3})[0]) == {"chunk_sizes"}


def test_a_new_method_is_one_decorated_function(gateway, sample_index):
    @rag_method("overlapping_chunks", chunk_size=512, chunk_overlap=64, top_k=1, context_tokens=CONTEXT_TOKENS)
    def single_chunk(index, llm, *, top_k, context_tokens):
        from dream.rag.postprocessors import ContextBudget

        return answer_from(
            index.as_retriever(similarity_top_k=top_k), llm, ContextBudget(context_tokens=context_tokens)
        )

    try:
        method = find_rag_method("single_chunk")
        assert method.split(method.defaults)[0] == {"chunk_size": 512, "chunk_overlap": 64}
        query_engine = query_engine_picker("single_chunk", sample_index("chunks_with_overlap"), llm_picker("llm-large"))
        assert len(retrieved(query_engine, "How much lead may honey contain?")) == 1
    finally:
        del RAG_METHODS["single_chunk"]
    with pytest.raises(ConfigurationError, match="single_chunk"):
        find_rag_method("single_chunk")
