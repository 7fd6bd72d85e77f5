"""RAG methods that search by words, by words and vectors, or for diverse passages."""

from typing import TYPE_CHECKING, Literal

from dream.rag.answers import answer_from
from dream.rag.parameters import Count, FlatChunkParameters, RetrievalParameters, Share
from dream.rag.registry import rag_method

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.llms import LLM


class Bm25(RetrievalParameters, FlatChunkParameters):
    """Parameters of `bm25`."""

    top_k: Count = 3


@rag_method(parameters=Bm25, llm_calls=1, needs_vectors=False)
def bm25(index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int) -> "BaseQueryEngine":
    """Search by words (BM25): the context is the `top_k` chunks that share the most distinctive words with the
    question."""
    from dream.rag.postprocessors import ContextBudget
    from dream.rag.words import WordRetriever

    return answer_from(WordRetriever(index, top_k), llm, ContextBudget(context_tokens=context_tokens))


class Hybrid(RetrievalParameters, FlatChunkParameters):
    """Parameters of `hybrid`; `vector_weight` (0 to 1) is the weight of the vectors' scores if `fusion` uses scores."""

    top_k: Count = 3
    fusion: Literal["reciprocal_rank", "relative_score"] = "reciprocal_rank"
    vector_weight: Share = 0.5


@rag_method(parameters=Hybrid, llm_calls=1)
def hybrid(
    index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int, fusion: str, vector_weight: float
) -> "BaseQueryEngine":
    """Search by vectors and by words; the lists of hits are fused by their ranks, or by their scores, each scaled to 0
    to 1."""
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES

    from dream.rag.postprocessors import ContextBudget
    from dream.rag.queries import fused
    from dream.rag.words import WordRetriever

    by_rank = fusion == "reciprocal_rank"
    mode = FUSION_MODES.RECIPROCAL_RANK if by_rank else FUSION_MODES.RELATIVE_SCORE
    n_hits = 2 * top_k  # from each, so that a passage found by both can beat the best of one
    retrievers = [index.as_retriever(similarity_top_k=n_hits), WordRetriever(index, n_hits)]
    retriever = fused(retrievers, mode, top_k, None if by_rank else [vector_weight, 1 - vector_weight])
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))


class Mmr(RetrievalParameters, FlatChunkParameters):
    """Parameters of `mmr`; `relevance` (0 to 1) is the weight of similarity to the question, as opposed to difference
    from chosen passages; `mmr_from` is the number of hits to choose from."""

    top_k: Count = 4  # diverse chunks are often short
    mmr_from: Count = 20
    relevance: Share = 0.5


@rag_method(parameters=Mmr, llm_calls=1)
def mmr(
    index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int, mmr_from: int, relevance: float
) -> "BaseQueryEngine":
    """Maximal marginal relevance: the context is `top_k` of the `mmr_from` nearest chunks, chosen for similarity to the
    question and difference from each other."""
    from dream.rag.diversity import DiverseRetriever
    from dream.rag.postprocessors import ContextBudget

    retriever = DiverseRetriever(index, max(mmr_from, top_k), top_k, relevance)
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))
