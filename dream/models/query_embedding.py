"""LlamaIndex's embedding model, but queries are embedded without the official OpenAI client, which would take most of
the CPU time of a trial's question."""

from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.embeddings.openai import OpenAIEmbedding

from dream.models.direct_calls import ModelCalls


class QueryEmbedding(OpenAIEmbedding):
    """An `OpenAIEmbedding` that sends the same requests, but those for queries through `calls`."""

    _calls: ModelCalls = PrivateAttr()

    def __init__(self, calls: ModelCalls, **options: Any) -> None:
        super().__init__(**options)
        self._calls = calls

    async def _aget_query_embedding(self, query: str) -> list[float]:
        (vector,) = await self._calls.embed([query.replace("\n", " ")])
        return vector
