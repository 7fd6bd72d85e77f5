"""Documents + chunking + embedding model become a searchable index.

A chunker turns documents into nodes and says which of them are embedded. All nodes go to the docstore;
vectors go to a flat FAISS index (inner product of unit vectors = cosine similarity).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from dream.documents import merge_pages, page_of
from dream.errors import ConfigurationError, DataError
from dream.loop import run_async

if TYPE_CHECKING:
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.schema import BaseNode, TextNode

    Chunker = Callable[..., tuple[list[BaseNode], list[BaseNode]]]

# what is too short to stand for itself, and too long for a sentence
LEAST_WORDS = 5
MOST_TOKENS = 512
_WORD = re.compile(r"[^\W\d_]{2,}")


def overlapping_chunks(
    documents: Sequence["Document"], *, chunk_size: int, chunk_overlap: int
) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Chunks of whole sentences, at most `chunk_size` tokens, each repeating up to `chunk_overlap` tokens."""
    from llama_index.core.node_parser import SentenceSplitter

    nodes = SentenceSplitter(chunk_size=chunk_size, chunk_overlap=chunk_overlap).get_nodes_from_documents(documents)
    return nodes, nodes


def sentences(documents: Sequence["Document"]) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Single sentences, each linked to the one before and after it, so that a window can be read around it."""
    from llama_index.core.node_parser import SentenceWindowNodeParser

    # The parser's own windows copy every sentence seven times and overlap; query_engines reads them from the links.
    parser = SentenceWindowNodeParser.from_defaults(sentence_splitter=_whole_sentences, window_size=1)
    nodes = parser.get_nodes_from_documents(documents)
    for node in nodes:
        del node.metadata["window"], node.metadata["original_text"]
    return nodes, [node for node in nodes if node.get_content().strip()]


def _whole_sentences(text: str) -> list[str]:
    """LlamaIndex's sentences: those of fewer than `LEAST_WORDS` words go with the next, those of more than
    `MOST_TOKENS` are cut.

    The leader dots of a table of contents and numbered headings would each be a sentence otherwise, and a long
    table or listing without a full stop a single one that no embedding model takes.
    """
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.node_parser.text.utils import split_by_sentence_tokenizer

    whole = [""]
    for sentence in split_by_sentence_tokenizer()(text):
        if len(_WORD.findall(whole[-1])) < LEAST_WORDS:
            whole[-1] += sentence
        else:
            whole.append(sentence)
    cut = SentenceSplitter(chunk_size=MOST_TOKENS, chunk_overlap=0).split_text
    return [piece for sentence in whole for piece in (cut(sentence) if len(sentence) > MOST_TOKENS else [sentence])]


def hierarchy(
    documents: Sequence["Document"], *, chunk_sizes: Sequence[int]
) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Chunks within chunks, `chunk_sizes` in tokens from the largest to the smallest.

    Only leaves are embedded, and of these not the scraps of fewer than `LEAST_WORDS` words: they are near to
    every question, and read with their parents all the same.
    """
    from llama_index.core.node_parser import HierarchicalNodeParser, get_leaf_nodes

    if list(chunk_sizes) != sorted(set(chunk_sizes), reverse=True):
        raise ConfigurationError(f"chunk_sizes={list(chunk_sizes)} must descend, e.g. [1024, 512, 128]")
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=list(chunk_sizes), chunk_overlap=0)
    nodes = parser.get_nodes_from_documents(documents)
    leaves = get_leaf_nodes(nodes)
    return nodes, [leaf for leaf in leaves if len(_WORD.findall(leaf.get_content())) >= LEAST_WORDS] or leaves


CHUNKERS: Mapping[str, "Chunker"] = {
    "overlapping_chunks": overlapping_chunks,
    "sentences": sentences,
    "hierarchy": hierarchy,
}


def build_index(
    documents: Sequence["Document"], chunker: str, parameters: Mapping[str, Any], embed_model: "BaseEmbedding"
) -> "VectorStoreIndex":
    """Chunk, embed and index; pages of one file are joined first, so that chunks may cross page borders.

    Args:
        chunker: a name in `CHUNKERS`; `parameters` are its keyword arguments.

    Raises:
        DataError: when the documents yield no node to embed.
    """
    whole = merge_pages(documents)
    # Nodes copy a document's metadata into every link between them: keep the long list of pages out of it.
    page_starts = {document.metadata["file_digest"]: document.metadata.pop("page_starts") for document in whole}
    nodes, embedded = cast("tuple[list[TextNode], list[TextNode]]", CHUNKERS[chunker](whole, **parameters))
    if not embedded:
        raise DataError(f"{len(documents)} document(s) gave no text to embed with {chunker} {dict(parameters)}")
    _locate(nodes, {document.metadata["file_digest"]: document.text for document in whole})
    _label_pages(nodes, page_starts)
    _embed(embedded, embed_model)
    return _vector_index(nodes, embedded, embed_model)


def _locate(nodes: Sequence["TextNode"], texts: Mapping[str, str]) -> None:
    """Set each node's character span in its file. (LlamaIndex leaves that of nested chunks unset.)"""
    starts: dict[str, int] = {}
    next_search: dict[str, int] = {}
    for node in nodes:
        parent = node.parent_node.node_id if node.parent_node else node.metadata["file_digest"]
        content = node.get_content()
        begin = next_search.get(parent, starts.get(parent, 0))
        start = texts[node.metadata["file_digest"]].find(content, begin)
        if start >= 0:
            node.start_char_idx, node.end_char_idx = start, start + len(content)
            starts[node.node_id] = start
            next_search[parent] = start + 1


def _label_pages(nodes: Sequence["TextNode"], page_starts: Mapping[str, Any]) -> None:
    """Give each node the page it starts on, and no text but its own to the embedding model and the LLM."""
    from llama_index.core.schema import NodeRelationship

    for node in nodes:
        located = node.start_char_idx is not None
        starts = {"page_starts": page_starts[node.metadata["file_digest"]]}
        node.metadata["page_label"] = page_of(starts, node.start_char_idx) if located else ""
        node.excluded_embed_metadata_keys = list(node.metadata)
        node.excluded_llm_metadata_keys = list(node.metadata)
        # The docstore would write a list of all nodes of the file anew for each of them; `file_digest` says as much.
        node.relationships.pop(NodeRelationship.SOURCE, None)


def _embed(nodes: Sequence["TextNode"], embed_model: "BaseEmbedding") -> None:
    import numpy
    from llama_index.core.schema import MetadataMode

    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    vectors = numpy.asarray(run_async(embed_model.aget_text_embedding_batch(texts)))
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / numpy.where(lengths == 0, 1, lengths)
    for node, vector in zip(nodes, unit, strict=True):
        node.embedding = vector.tolist()


def _vector_index(
    nodes: Sequence["TextNode"], embedded: Sequence["TextNode"], embed_model: "BaseEmbedding"
) -> "VectorStoreIndex":
    import faiss
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.vector_stores.faiss import FaissVectorStore

    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(len(embedded[0].get_embedding())))
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes=list(embedded), storage_context=context, embed_model=embed_model)
    context.docstore.add_documents([node for node in nodes if node.embedding is None])
    return index
