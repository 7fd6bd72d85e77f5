"""`calls_of`: the model calls that a trial makes for each question, for the plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dream.rag.parameters import DECOMPOSE, HYDE, LLM, MULTI_QUERY, NONE, PASSAGES_A_RATING
from dream.rag.registry import RagMethod, find_rag_method
from dream.records import Trial

# Chunks end at the ends of sentences, so that they are seldom full.
FULLNESS = 0.9


@dataclass(frozen=True)
class QuestionCalls:
    """Calls for one question, and the passages that the LLM reads (0 where they are not known).

    `rewriting` and `ranking` are those of the answering LLM besides its answers (`answering`).
    """

    answering: float
    rewriting: float
    ranking: float
    embedding: float
    reranking: float
    passages: float

    @property
    def of_llm(self) -> float:
        """All calls of the answering LLM."""
        return self.answering + self.rewriting + self.ranking


def calls_of(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> QuestionCalls:
    """The calls of a trial that is no baseline, as its method and its factors say; those of decomposed questions are
    the most that there can be.

    Example:
        >>> factors = {"top_k": 3, "reranker": "llm", "query_transform": "hyde"}
        >>> calls_of(Trial("chunks_with_overlap", "llm", "embed", factors))
        QuestionCalls(answering=1, rewriting=1, ranking=2, embedding=2.0, reranking=0, passages=3.0)
    """
    method = find_rag_method(trial.query_engine_identifier, methods)
    values = {**method.all_defaults, **trial.parameters}
    transform, reranker = values.get("query_transform", NONE), values.get("reranker", NONE)
    if not {"query_transform", "reranker"} <= method.shared:
        transform = reranker = NONE
    searches = {HYDE: 2, MULTI_QUERY: 1 + values.get("n_queries", 0), DECOMPOSE: 1 + values.get("n_queries", 0)}
    ranked = values.get("rerank_from", 0)
    return QuestionCalls(
        answering=method.cost.llm_calls or 1.0,
        rewriting=int(transform != NONE),
        ranking=-(-ranked // PASSAGES_A_RATING) if reranker == LLM else 0,
        embedding=method.cost.query_embeddings * searches.get(transform, 1),
        reranking=int(reranker not in (NONE, LLM)),
        passages=_passages(method, values),
    )


def _passages(method: RagMethod, values: Mapping[str, Any]) -> float:
    """As many as were found, or as fit the budget."""
    found = values.get("top_k", 1) * method.cost.passages_a_hit
    size = method.cost.passage_tokens or values.get("chunk_size", 0) * FULLNESS
    budget = values.get("context_tokens")
    return max(1.0, min(found, budget // size)) if size and budget else found
