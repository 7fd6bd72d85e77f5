"""`PassageQueryEngine`: retrieves passages and answers from them; the factors of a trial add steps before and after."""

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine

from dream.rag.parameters import DEFAULT, NONE
from dream.rag.synthesis import answer_synthesizer


class PassageQueryEngine(RetrieverQueryEngine):
    """A retriever, postprocessors of its hits, and an LLM that answers from them.

    Args:
        prompt: with {context_str} and {query_str}; "default" for that of LlamaIndex.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        llm: LLM,
        postprocessor: BaseNodePostprocessor | None = None,
        prompt: str = DEFAULT,
    ) -> None:
        super().__init__(retriever, answer_synthesizer(llm, prompt), [postprocessor] if postprocessor else [])
        self._answering_llm, self._last = llm, postprocessor

    def with_factors(
        self, factors: Mapping[str, Any], helper: LLM, top_k: int | None, trial: str = ""
    ) -> "PassageQueryEngine":
        """The engine with a query transform, a reranker and a prompt.

        Args:
            factors: the trial's values of `RetrievalParameters`.
            helper: the LLM that rewrites questions and ranks passages, without the trial's system prompt.
            top_k: the number of hits to keep after several searches and after reranking; None keeps all.
            trial: labels a reranker's calls in the usage.
        """
        retriever, reranker = self.retriever, factors.get("reranker", NONE)
        n_hits = top_k if reranker == NONE or top_k is None else max(top_k, factors["rerank_from"])
        if (transform := factors.get("query_transform", NONE)) != NONE:
            from dream.rag.queries import TransformedRetriever

            retriever = TransformedRetriever(retriever, helper, transform, factors["n_queries"], n_hits)
        if reranker != NONE:
            from dream.rag.reranking import RerankedRetriever, reranker_of

            ranks = reranker_of(reranker, helper, trial)
            retriever = RerankedRetriever(retriever, ranks, factors["rerank_from"], top_k)
        return PassageQueryEngine(retriever, self._answering_llm, self._last, factors.get("prompt", DEFAULT))
