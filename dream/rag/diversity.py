"""`DiverseRetriever`: maximal marginal relevance (Carbonell and Goldstein 1998) over the vectors of an index."""

import numpy
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle


class DiverseRetriever(BaseRetriever):
    """Chooses hits one after the other: similar to the question, and different from those already chosen.

    The hits' scores are `relevance * similarity - (1 - relevance) * greatest similarity to a chosen one`.

    Args:
        n_hits: the number of nearest hits to choose from.
        relevance: from 1 (only similarity to the question counts) to 0 (only difference counts).
    """

    def __init__(self, index: VectorStoreIndex, n_hits: int, top_k: int, relevance: float) -> None:
        super().__init__()
        self._retriever = index.as_retriever(similarity_top_k=n_hits)
        self._top_k, self._relevance = top_k, relevance
        self._vectors: numpy.ndarray = index.vector_store.client
        ids: list[str] = index.vector_store.embedded_ids  # pyright: ignore[reportAttributeAccessIssue]
        self._rows = {node_id: row for row, node_id in enumerate(ids)}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._chosen(self._retriever.retrieve(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._chosen(await self._retriever.aretrieve(query_bundle))

    def _chosen(self, hits: list[NodeWithScore]) -> list[NodeWithScore]:
        vectors = self._vectors[[self._rows[hit.node_id] for hit in hits]]
        nearness = numpy.array([hit.score or 0.0 for hit in hits])
        likeness = numpy.zeros(len(hits))  # the greatest to a chosen one
        left, chosen = list(range(len(hits))), []
        while left and len(chosen) < self._top_k:
            values = self._relevance * nearness - (1 - self._relevance) * likeness
            best = max(left, key=lambda place: values[place])
            chosen.append(NodeWithScore(node=hits[best].node, score=float(values[best])))
            left.remove(best)
            likeness = numpy.maximum(likeness, vectors @ vectors[best]) if len(chosen) > 1 else vectors @ vectors[best]
        return chosen
