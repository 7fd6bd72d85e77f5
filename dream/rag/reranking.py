"""`RerankedRetriever`: reorders hits by an LLM's ratings, or by a reranking model."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from dream.errors import DataError
from dream.models.reranking import rerank_model_picker
from dream.rag.parameters import LLM as BY_LLM, PASSAGE_TOKENS, PASSAGES_A_RATING
from dream.runtime.event_loop import run_async
from dream.tokens import first_tokens

BEST_RATING = 10
RATE_PROMPT = PromptTemplate(
    "Rate how much each passage helps to answer the question, from 0 (not at all) to 10 (it holds the answer). Write "
    "one line for each passage: its number, a colon and the rating, and nothing else.\n\n{passages}\n\n"
    "Question: {question}\nRatings:\n"
)
_RATING = re.compile(r"^\W*(?:passage\s*)?(\d+)\W*[:=]\W*(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)

# A function that scores texts for a question; higher is better.
Reranker = Callable[[str, Sequence[str]], Awaitable[Sequence[float]]]


def reranker_of(identifier: str, llm: LLM, trial: str = "") -> Reranker:
    """The reranker of this name: "llm", or the identifier of a reranking model."""
    return _LlmReranker(llm) if identifier == BY_LLM else rerank_model_picker(identifier, trial=trial).scores


class RerankedRetriever(BaseRetriever):
    """Returns the best hits of a retriever in the order of a reranker, with the reranker's scores.

    Args:
        rerank_from: the number of hits to rank.
        top_k: the number of hits to keep; None for all.
    """

    def __init__(self, retriever: BaseRetriever, reranker: Reranker, rerank_from: int, top_k: int | None) -> None:
        super().__init__()
        self._retriever, self._reranker = retriever, reranker
        self._rerank_from, self._top_k = rerank_from, top_k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run_async(self._aretrieve(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = (await self._retriever.aretrieve(query_bundle))[: self._rerank_from]
        if not hits:
            return []
        texts = [hit.node.get_content(MetadataMode.LLM) for hit in hits]
        scores = await self._reranker(query_bundle.query_str, texts)
        order = sorted(range(len(hits)), key=lambda index: -scores[index])  # equal scores keep the retriever's order
        return [NodeWithScore(node=hits[index].node, score=scores[index]) for index in order[: self._top_k]]


class _LlmReranker:
    """Scores passages by an LLM's ratings, `PASSAGES_A_RATING` passages per call."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    async def __call__(self, question: str, texts: Sequence[str]) -> list[float]:
        batches = [texts[start : start + PASSAGES_A_RATING] for start in range(0, len(texts), PASSAGES_A_RATING)]
        rated = await asyncio.gather(*(self._rate(question, batch) for batch in batches))
        return [rating for ratings in rated for rating in ratings]

    async def _rate(self, question: str, texts: Sequence[str]) -> list[float]:
        shown = "\n\n".join(
            f"Passage {number}:\n{first_tokens(text, PASSAGE_TOKENS)}" for number, text in enumerate(texts, start=1)
        )
        reply = await self._llm.apredict(RATE_PROMPT, passages=shown, question=question)
        found = {int(number): float(rating) for number, rating in _RATING.findall(reply)}
        ratings = {number: rating for number, rating in found.items() if 1 <= number <= len(texts)}
        if not ratings or any(rating > BEST_RATING for rating in ratings.values()):
            raise DataError(f"the LLM's ratings of {len(texts)} passages cannot be read: {reply[:200]!r}")
        return [ratings.get(number, 0.0) / BEST_RATING for number in range(1, len(texts) + 1)]
