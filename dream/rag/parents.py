"""Retrievers that return larger texts than the searched ones: the chunks around hits, or whole documents."""

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore.types import BaseDocumentStore

from dream.tokens import count_tokens, first_tokens


class Parents(BaseRetriever):
    """Returns the largest chunk around each hit, with the score of the best hit in it."""

    def __init__(self, retriever: BaseRetriever, docstore: BaseDocumentStore) -> None:
        super().__init__()
        self._retriever, self._docstore = retriever, docstore

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._around(self._retriever.retrieve(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._around(await self._retriever.aretrieve(query_bundle))

    def _around(self, hits: list[NodeWithScore]) -> list[NodeWithScore]:
        parents: dict[str, NodeWithScore] = {}
        for hit in hits:  # the best first
            node = hit.node
            while node.parent_node is not None:
                node = self._docstore.docs[node.parent_node.node_id]
            parents.setdefault(node.node_id, NodeWithScore(node=node, score=hit.score))
        return list(parents.values())


class WholeDocuments(BaseRetriever):
    """Returns the same texts for every question: all documents in order, up to `context_tokens`; the last one is
    cut."""

    def __init__(self, docstore: BaseDocumentStore, context_tokens: int) -> None:
        super().__init__()
        self._texts, left = list[TextNode](), context_tokens
        for node in docstore.docs.values():
            if left <= 0:
                break
            text = first_tokens(node.get_content(), left)
            left -= count_tokens(text)
            metadata = {**node.metadata}
            self._texts.append(
                TextNode(
                    text=text,
                    metadata=metadata,
                    excluded_llm_metadata_keys=list(metadata),
                    excluded_embed_metadata_keys=list(metadata),
                )
            )

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=node, score=None) for node in self._texts]
