"""RAG methods that search by vectors: the three of the article."""

from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from dream.rag.answers import answer_from
from dream.rag.parameters import Count, FlatChunkParameters, HierarchyParameters, RetrievalParameters, Share
from dream.rag.registry import rag_method

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.llms import LLM
    from llama_index.core.retrievers import VectorIndexRetriever


class ChunksWithOverlap(RetrievalParameters, FlatChunkParameters):
    """Parameters of `chunks_with_overlap`."""

    top_k: Count = 3


@rag_method("overlapping_chunks", parameters=ChunksWithOverlap, llm_calls=1)
def chunks_with_overlap(index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int) -> "BaseQueryEngine":
    """Basic retrieval: the context is the `top_k` chunks that are most similar to the question."""
    from dream.rag.postprocessors import ContextBudget

    retriever = index.as_retriever(similarity_top_k=top_k)
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))


class SentenceWindow(RetrievalParameters):
    """Parameters of `sentence_window`."""

    window_size: Annotated[int, Field(ge=0)] = 3
    top_k: Count = 12


@rag_method("sentences", parameters=SentenceWindow, llm_calls=1, passages_a_hit=0.53)
def sentence_window(
    index: "VectorStoreIndex", llm: "LLM", *, window_size: int, top_k: int, context_tokens: int
) -> "BaseQueryEngine":
    """Retrieve the `top_k` most similar sentences; the context has each with `window_size` sentences on either side."""
    from dream.rag.postprocessors import SentenceWindows

    retriever = index.as_retriever(similarity_top_k=top_k)
    windows = SentenceWindows(window_size=window_size, context_tokens=context_tokens, docstore=index.docstore)
    return answer_from(retriever, llm, windows)


class HierarchicalAutomerging(RetrievalParameters, HierarchyParameters):
    """Parameters of `hierarchical_automerging`."""

    top_k: Count = 16
    merge_ratio: Share = 0.5


@rag_method("hierarchy", parameters=HierarchicalAutomerging, llm_calls=1, passages_a_hit=0.82)
def hierarchical_automerging(
    index: "VectorStoreIndex", llm: "LLM", *, top_k: int, merge_ratio: float, context_tokens: int
) -> "BaseQueryEngine":
    """Retrieve the `top_k` most similar leaf chunks; a parent chunk replaces its children if more than the share
    `merge_ratio` of them (0 to 1) was retrieved."""
    from dream.rag.postprocessors import AutoMerging, ContextBudget

    leaves = index.as_retriever(similarity_top_k=top_k)
    retriever = AutoMerging(
        cast("VectorIndexRetriever", leaves), index.storage_context, simple_ratio_thresh=merge_ratio
    )
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))
