"""RAG methods in which the LLM reads more than the hits: the larger text around a hit, or whole documents."""

from typing import TYPE_CHECKING

from dream.rag.answers import answer_from
from dream.rag.parameters import AnsweringParameters, Count, HierarchyParameters, RetrievalParameters
from dream.rag.registry import rag_method

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.llms import LLM


class ParentDocument(RetrievalParameters, HierarchyParameters):
    """Parameters of `parent_document`; the first of `chunk_sizes` is the size of the chunks that the LLM reads, the
    last that of the searched chunks."""

    chunk_sizes: tuple[Count, ...] = (512, 128)
    top_k: Count = 6


@rag_method("hierarchy", parameters=ParentDocument, llm_calls=1, passages_a_hit=0.6, passage_tokens=460)
def parent_document(index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int) -> "BaseQueryEngine":
    """Retrieve the `top_k` most similar small chunks; the LLM reads the largest chunk around each."""
    from dream.rag.parents import Parents
    from dream.rag.postprocessors import ContextBudget

    retriever = Parents(index.as_retriever(similarity_top_k=top_k), index.docstore)
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))


class LongContext(AnsweringParameters):
    """Parameters of `long_context`; the context window of the LLM must hold `context_tokens`."""

    context_tokens: Count = 6000


@rag_method("whole_documents", parameters=LongContext, llm_calls=1, needs_vectors=False)
def long_context(index: "VectorStoreIndex", llm: "LLM", *, context_tokens: int) -> "BaseQueryEngine":
    """No retrieval: the LLM reads the documents from the first on, up to `context_tokens`."""
    from dream.rag.parents import WholeDocuments

    return answer_from(WholeDocuments(index.docstore, context_tokens), llm)
