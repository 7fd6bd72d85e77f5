"""RAG methods: functions `(index, llm, **parameters) -> query engine`, registered by name (`dream.rag.registry`).

This module imports them all. To add a method, write a function as in `dream.rag.vector_search`, and a model of its
parameters with defaults, types and bounds.

All methods have the parameter `context_tokens`, a budget: the best passages are kept while their sum is within it, so
that trials differ in their retrieval, not in the size of the context. (The 2024 article compared methods with contexts
of 3,072 and 768 tokens.)
"""

from dream.rag.answers import answer_from as answer_from, query_engine_picker as query_engine_picker
from dream.rag.own_systems import http_system as http_system, own_system as own_system
from dream.rag.parameters import CONTEXT_TOKENS as CONTEXT_TOKENS
from dream.rag.registry import (
    RAG_METHODS as RAG_METHODS,
    RagMethod as RagMethod,
    context_llm_of as context_llm_of,
    find_rag_method as find_rag_method,
    imported_method as imported_method,
    index_request as index_request,
    rag_method as rag_method,
)

from dream.rag.vector_search import (  # isort: skip - the article's methods are the first to be registered
    chunks_with_overlap as chunks_with_overlap,
    hierarchical_automerging as hierarchical_automerging,
    sentence_window as sentence_window,
)
from dream.rag.searching import bm25 as bm25, hybrid as hybrid, mmr as mmr  # isort: skip
from dream.rag.whole_texts import long_context as long_context, parent_document as parent_document  # isort: skip
