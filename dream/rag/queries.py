"""`TransformedRetriever`: searches with queries that an LLM writes."""

import re

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.default_prompts import DEFAULT_HYDE_PROMPT
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES, QUERY_GEN_PROMPT
from llama_index.core.schema import NodeWithScore, QueryBundle

from dream.errors import DataError
from dream.rag.parameters import DECOMPOSE, HYDE
from dream.runtime.event_loop import run_async

DECOMPOSE_PROMPT = (
    "Break the question down into simpler questions, {num_queries} at most, that can each be answered by itself and "
    "that together answer it. Write one question on each line, and nothing else. A question that is simple already "
    "stays as it is.\nQuestion: {query}\nSimpler questions:\n"
)
_MARKER = re.compile(r"^(?:[-*•]|\d+[.):])\s+")


class TransformedRetriever(BaseRetriever):
    """Lets an LLM rewrite each question, retrieves for all rewritten queries, and fuses the hits by reciprocal rank.

    Args:
        transform: one of `RetrievalParameters.query_transform`, except none.
        n_queries: the number of queries besides the question.
        n_hits: the number of fused hits to keep; None for all.
    """

    def __init__(
        self, retriever: BaseRetriever, llm: LLM, transform: str, n_queries: int, n_hits: int | None = None
    ) -> None:
        super().__init__()
        self._retriever, self._llm = retriever, llm
        self._transform, self._n_queries, self._n_hits = transform, n_queries, n_hits

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run_async(self._aretrieve(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = query_bundle.query_str
        if self._transform == HYDE:
            passage = await self._llm.apredict(DEFAULT_HYDE_PROMPT, context_str=question)
            return await self._retriever.aretrieve(QueryBundle(question, custom_embedding_strs=[passage, question]))
        queries = dict.fromkeys([question, *await self._queries(question)])
        searches: list[BaseRetriever] = [_Asking(self._retriever, query) for query in queries]
        return await fused(searches, FUSION_MODES.RECIPROCAL_RANK, self._n_hits).aretrieve(query_bundle)

    async def _queries(self, question: str) -> list[str]:
        prompt = PromptTemplate(DECOMPOSE_PROMPT if self._transform == DECOMPOSE else QUERY_GEN_PROMPT)
        reply = await self._llm.apredict(prompt, num_queries=str(self._n_queries), query=question)
        lines = [_MARKER.sub("", line.strip()).strip() for line in reply.strip("`").splitlines()]
        if not (queries := [line for line in lines if line]):
            raise DataError(f"the LLM wrote no search query for {self._transform}: {reply[:200]!r}")
        return queries[: self._n_queries]


class _Asking(BaseRetriever):
    """A retriever with a fixed query."""

    def __init__(self, retriever: BaseRetriever, query: str) -> None:
        super().__init__()
        self._retriever, self._query = retriever, query

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._retriever.retrieve(QueryBundle(self._query))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self._retriever.aretrieve(QueryBundle(self._query))


def fused(
    retrievers: list[BaseRetriever], mode: FUSION_MODES, top_k: int | None = None, weights: list[float] | None = None
) -> BaseRetriever:
    """The hits of several retrievers as one list.

    Args:
        top_k: the number of hits to keep; None for all.
    """
    from llama_index.core.llms import MockLLM

    return QueryFusionRetriever(
        retrievers,
        llm=MockLLM(),  # no further queries are generated
        mode=mode,
        similarity_top_k=top_k or 10_000,
        num_queries=1,
        use_async=False,
        retriever_weights=weights,
    )
