"""Chunkers, and the steps from documents to a searchable index.

A chunker turns documents into nodes and says which of them are embedded: `chunk`, then `embed`, are the steps of a
build. `build_index` runs both in this process; `dream.indexes.builder` distributes them over a cluster.
"""

import asyncio
import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy
import pyarrow

from dream.documents.loading import merge_pages
from dream.documents.stored_documents import HEADINGS
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.indexes.contexts import CHUNK_CONTEXT, COLUMN, CONTEXT_LLM, add_contexts, is_contextual, with_context
from dream.indexes.headings import FOLLOW_HEADINGS, headings_of
from dream.indexes.semantic_chunker import semantic
from dream.indexes.sentence_splitting import LEAST_WORDS, count_words, split_at_ends, whole_sentences
from dream.indexes.store import documents_digest, join
from dream.indexes.structure_chunkers import headings, tables, tokens, whole_documents
from dream.records import page_label
from dream.runtime.event_loop import run_async
from dream.tokens import first_tokens, tokenize

if TYPE_CHECKING:
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import BaseNode, TextNode

    Chunker = Callable[..., tuple[list[BaseNode], list[BaseNode]]]

T = TypeVar("T")

# concurrent embedding requests per process; the gateway enforces the endpoint's limits
BATCHES_IN_FLIGHT = 16
# number of chunked document sets kept in memory, of at most 2 million characters each
TABLES_KEPT = 8
# upper bound of the excess of the tokens of a chunk's sentences, counted separately, over those of the chunk
MORE_TOKENS = 8
_tables: "OrderedDict[tuple[str, str, str], pyarrow.Table]" = OrderedDict()
_chunking = threading.Lock()
# the parts of a sentence that is longer than a chunk: clauses and lines, joined the whole sentence
_CLAUSES = "[^{0}]*[{0}]+|[^{0}]+".format(r"\n,.;。？！，；、،؛")


def overlapping_chunks(
    documents: Sequence["Document"], *, chunk_size: int, chunk_overlap: int
) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Chunks of whole sentences, at most `chunk_size` tokens, each repeating up to `chunk_overlap` tokens."""
    nodes = sentence_splitter(chunk_size, chunk_overlap).get_nodes_from_documents(documents)
    return nodes, nodes


def sentences(documents: Sequence["Document"]) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Single sentences of at most `MOST_TOKENS` tokens, each linked to its neighbours, so that windows can be read
    around them."""
    from llama_index.core.node_parser import SentenceWindowNodeParser

    # The parser's own windows copy every sentence seven times and overlap; `dream.rag` reads them from the links.
    parser = SentenceWindowNodeParser.from_defaults(sentence_splitter=whole_sentences, window_size=1)
    nodes = parser.get_nodes_from_documents(documents)
    for node in nodes:
        del node.metadata["window"], node.metadata["original_text"]
    return nodes, [node for node in nodes if node.get_content().strip()]


def hierarchy(
    documents: Sequence["Document"], *, chunk_sizes: Sequence[int]
) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Chunks within chunks, `chunk_sizes` in tokens from the largest to the smallest.

    Only leaves of at least `LEAST_WORDS` words are embedded: shorter ones are similar to every question, and the LLM
    still reads them as part of their parents.
    """
    from llama_index.core.node_parser import HierarchicalNodeParser, NodeParser, get_leaf_nodes

    if list(chunk_sizes) != sorted(set(chunk_sizes), reverse=True):
        raise ConfigurationError(f"chunk_sizes={list(chunk_sizes)} must descend, e.g. [1024, 512, 128]")
    splitters: dict[str, NodeParser] = {f"chunk_size_{size}": sentence_splitter(size, 0) for size in chunk_sizes}
    parser = HierarchicalNodeParser.from_defaults(node_parser_ids=list(splitters), node_parser_map=splitters)
    nodes = parser.get_nodes_from_documents(documents)
    leaves = get_leaf_nodes(nodes)
    return nodes, [leaf for leaf in leaves if count_words(leaf.get_content()) >= LEAST_WORDS] or leaves


def sentence_splitter(chunk_size: int, chunk_overlap: int) -> "SentenceSplitter":
    """LlamaIndex's splitter at sentence ends, with sizes in DREAM's tokens whatever the global tokenizer is."""
    from llama_index.core.node_parser import SentenceSplitter

    import dream.runtime.light_nltk  # noqa: F401 - before LlamaIndex imports nltk

    return SentenceSplitter(
        chunk_size=chunk_size,
        chunk_overlap=chunk_overlap,
        tokenizer=tokenize,
        chunking_tokenizer_fn=split_at_ends,
        secondary_chunking_regex=_CLAUSES,
    )


CHUNKERS: Mapping[str, "Chunker"] = {
    "overlapping_chunks": overlapping_chunks,
    "sentences": sentences,
    "hierarchy": hierarchy,
    "tokens": tokens,
    "headings": headings,
    "tables": tables,
    "whole_documents": whole_documents,
    "semantic": semantic,
}
# Chunkers that call the embedding model of their index.
NEED_MODEL = ("semantic",)


def build_index(
    documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any], embed_model: "BaseEmbedding"
) -> "VectorStoreIndex":
    """Chunk, embed and index in this process, without storing the index; `dream.indexes.get_index` stores and shares
    it.

    Args:
        chunker: a name in `CHUNKERS`; `parameters` are its keyword arguments.

    Raises:
        DataError: if the documents contain no text to embed.
    """
    from dream.indexes.nodes import vector_index
    from dream.indexes.written_contexts import with_written_contexts

    nodes = with_written_contexts(chunk(documents, chunker, parameters, embed_model), documents, parameters)
    texts = texts_to_embed(nodes)
    if not texts:
        raise no_text(len(documents), chunker, parameters)
    return vector_index(join([nodes], [embed(texts, embed_model)]), embed_model)


def chunk(
    documents: Sequence["Document"],
    chunker: str,
    parameters: Mapping[str, Any],
    embed_model: "BaseEmbedding | None" = None,
) -> pyarrow.Table:
    """The nodes of documents as a table; pages of one file are joined first, so that chunks may cross page borders.

    Args:
        parameters: keyword arguments of the chunker, and `chunk_context` (see `dream.indexes.contexts`); contexts that
            an LLM writes are replaced by those of headings (see `dream.indexes.written_contexts`).
        embed_model: for the chunkers that `NEED_MODEL`.

    Raises:
        ConfigurationError: if such a chunker has no embedding model.
    """
    from dream.indexes.nodes import table_of

    whole = merge_pages(documents)
    # Nodes copy a document's metadata into every link between them, so the long list of pages stays out of it.
    page_starts = {document.metadata["file_digest"]: document.metadata.pop("page_starts") for document in whole}
    contextual, files = is_contextual(parameters), {document.metadata["file_digest"]: document for document in whole}
    headings = {file: headings_of(document) for file, document in files.items()} if contextual else {}
    if chunker not in FOLLOW_HEADINGS:
        for document in whole:
            document.metadata.pop(HEADINGS, None)
    of_chunker = {name: value for name, value in parameters.items() if name not in (CHUNK_CONTEXT, CONTEXT_LLM)}
    if chunker in NEED_MODEL:
        if embed_model is None:
            raise ConfigurationError(f"the chunker {chunker} needs an embedding model: choose a method that has one")
        of_chunker["embed"] = lambda texts: embed(texts, embed_model)
    nodes, embedded = cast("tuple[list[TextNode], list[TextNode]]", CHUNKERS[chunker](whole, **of_chunker))
    texts = {file: document.text for file, document in files.items()}
    _locate(nodes, texts, parameters.get("chunk_overlap", 0))
    _label_pages(nodes, page_starts)
    table = table_of(nodes, embedded)
    return add_contexts(table, nodes, headings) if contextual else table


def chunk_once(documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any]) -> pyarrow.Table:
    """`chunk` with a cache of its latest tables, which the plan and the indexes of several embedding models share.
    Threads take turns, as one thread keeps Python busy."""
    key = documents_digest(documents), chunker, json.dumps(parameters, sort_keys=True, default=str)
    with _chunking:
        if key not in _tables:
            _tables[key] = chunk(documents, chunker, parameters)
            while len(_tables) > TABLES_KEPT:
                _tables.popitem(last=False)
        _tables.move_to_end(key)
        return _tables[key]


def texts_to_embed(nodes: pyarrow.Table) -> list[str]:
    """The texts that get a vector, with their contexts, in the order of the nodes."""
    embedded = nodes.filter(nodes["embedded"])
    texts = embedded["text"].to_pylist()
    if COLUMN.name not in nodes.column_names:
        return texts
    return [with_context(*pair) for pair in zip(texts, embedded[COLUMN.name].to_pylist(), strict=True)]


def no_text(n_documents: int, chunker: str, parameters: Mapping[str, Any]) -> DataError:
    """The error for documents without a node to embed."""
    return DataError(f"{n_documents} document(s) contain no text to embed with {chunker} {dict(parameters)}")


def embed(
    texts: Sequence[str], embed_model: "BaseEmbedding", on_batch: Callable[[int], None] | None = None
) -> numpy.ndarray:
    """Unit vectors of texts, one row each, requested in concurrent batches of the model's size.

    Args:
        on_batch: called after each batch with the number of texts that have vectors.
    """
    return run_async(_embed(texts, embed_model, on_batch or (lambda done: None)))


async def _embed(texts: Sequence[str], embed_model: "BaseEmbedding", on_batch: Callable[[int], None]) -> numpy.ndarray:
    permits, done = asyncio.Semaphore(BATCHES_IN_FLIGHT), 0

    async def embed_batch(batch: list[str]) -> numpy.ndarray:
        nonlocal done
        async with permits:
            vectors = _unit(await embed_model.aget_text_embedding_batch(batch))
        if len(vectors) != len(batch):
            raise ServiceError(f"the embedding model returned {len(vectors)} vectors for a batch of {len(batch)} texts")
        done += len(batch)
        on_batch(done)
        return vectors

    size = embed_model.embed_batch_size
    return numpy.concatenate(await together(embed_batch(list(texts[i : i + size])) for i in range(0, len(texts), size)))


def _unit(vectors: Sequence[Sequence[float]]) -> numpy.ndarray:
    exact = numpy.asarray(vectors)
    lengths = numpy.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / numpy.where(lengths == 0, 1, lengths)).astype(numpy.float32)


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines, in order; the first failure is raised, and cancels the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _locate(nodes: Sequence["TextNode"], texts: Mapping[str, str], overlap: int) -> None:
    """Set each node's character span in its file. (LlamaIndex leaves that of nested chunks unset, and takes the first
    of equal texts.)

    Args:
        overlap: the tokens that a node may share with the one before it.
    """
    starts: dict[str, int] = {}
    before: dict[str, TextNode] = {}
    for node in nodes:
        parent = node.parent_node.node_id if node.parent_node else node.metadata["file_digest"]
        text, content = texts[node.metadata["file_digest"]], node.get_content()
        first = starts.get(parent, 0)
        if (last := before.get(parent)) is not None:
            first = cast(int, last.start_char_idx) + 1
            start = text.find(content, max(first, cast(int, last.end_char_idx) - _end_length(last.text, overlap)))
        else:
            start = text.find(content, first)
        if start < 0:
            start = text.find(content, first)
        if start >= 0:
            node.start_char_idx, node.end_char_idx = start, start + len(content)
            starts[node.node_id] = start
            before[parent] = node


def _end_length(text: str, tokens: int) -> int:
    """The length in characters of a text's last tokens, plus some, as the tokens of sentences add up to more than those
    of a text."""
    if not tokens:
        return 0
    return len(text) - len(first_tokens(text, max(0, len(tokenize(text)) - tokens - MORE_TOKENS)))


def _label_pages(nodes: Sequence["TextNode"], page_starts: Mapping[str, Any]) -> None:
    """Set the pages of each node."""
    offsets = {file: [offset for offset, _ in starts] for file, starts in page_starts.items()}
    for node in nodes:
        node.metadata["page_label"] = ""
        if (start := node.start_char_idx) is not None:
            file, text = node.metadata["file_digest"], node.text
            last = start + max(len(text.rstrip()) - 1, 0)
            start = min(last, start + len(text) - len(text.lstrip()))
            first_page, end = (max(1, bisect_right(offsets[file], place)) for place in (start, last))
            node.metadata["page_label"] = page_label(label for _, label in page_starts[file][first_page - 1 : end])
