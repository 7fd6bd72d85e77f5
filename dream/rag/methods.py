"""RAG methods: functions `(index, llm, **parameters) -> query engine`, registered by name.

To add a method, write a function like those below; the arguments of `@rag_method` are its chunker and the defaults of
all parameters. Parameters of the chunker determine the index; the others are passed to the function.

All methods have the parameter `context_tokens`, a budget: the best passages are kept while their sum is within it, so
that trials differ in how they retrieve text, not in the size of the context. (The 2024 article compared methods with
contexts of 3,072 and 768 tokens.)
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dream.errors import ConfigurationError
from dream.indexes.chunkers import CHUNKERS
from dream.indexes.client import IndexRequest
from dream.records import Trial

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.llms import LLM
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import VectorIndexRetriever

CONTEXT_TOKENS = 1536


@dataclass(frozen=True)
class RagMethod:
    """A registered RAG method: its function, the name of its chunker, and the defaults of all parameters."""

    function: Callable[..., "BaseQueryEngine"]
    chunker: str
    defaults: Mapping[str, Any]

    def split(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split parameters into those of the chunker and those of the query engine."""
        of_chunker = set(inspect.signature(CHUNKERS[self.chunker]).parameters)
        chunking = {name: value for name, value in parameters.items() if name in of_chunker}
        return chunking, {name: value for name, value in parameters.items() if name not in of_chunker}


RAG_METHODS: dict[str, RagMethod] = {}


def rag_method(chunker: str, **defaults: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a RAG method; its name becomes a valid `query_engine_identifier`.

    Args:
        chunker: the chunker of the method's index, a name in `dream.indexes.CHUNKERS`.
        defaults: the defaults of all parameters of the chunker and of the function.

    Example:
        @rag_method("overlapping_chunks", chunk_size=256, chunk_overlap=32, top_k=5)
        def short_chunks(index, llm, *, top_k):
            return answer_from(index.as_retriever(similarity_top_k=top_k), llm)
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        RAG_METHODS[function.__name__] = RagMethod(function, chunker, defaults)
        return function

    return register


@rag_method("overlapping_chunks", chunk_size=512, chunk_overlap=64, top_k=3, context_tokens=CONTEXT_TOKENS)
def chunks_with_overlap(index: "VectorStoreIndex", llm: "LLM", *, top_k: int, context_tokens: int) -> "BaseQueryEngine":
    """Basic retrieval: the context is the `top_k` chunks that are most similar to the question."""
    from dream.rag.postprocessors import ContextBudget

    retriever = index.as_retriever(similarity_top_k=top_k)
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))


@rag_method("sentences", window_size=3, top_k=12, context_tokens=CONTEXT_TOKENS)
def sentence_window(
    index: "VectorStoreIndex", llm: "LLM", *, window_size: int, top_k: int, context_tokens: int
) -> "BaseQueryEngine":
    """Retrieve the `top_k` most similar sentences; the context has each with `window_size` sentences on either side."""
    from dream.rag.postprocessors import SentenceWindows

    retriever = index.as_retriever(similarity_top_k=top_k)
    windows = SentenceWindows(window_size=window_size, context_tokens=context_tokens, docstore=index.docstore)
    return answer_from(retriever, llm, windows)


@rag_method("hierarchy", chunk_sizes=(1024, 512, 128), top_k=16, merge_ratio=0.5, context_tokens=CONTEXT_TOKENS)
def hierarchical_automerging(
    index: "VectorStoreIndex", llm: "LLM", *, top_k: int, merge_ratio: float, context_tokens: int
) -> "BaseQueryEngine":
    """Retrieve the `top_k` most similar leaf chunks; a parent chunk replaces its children if more than the share
    `merge_ratio` of them (0 to 1) was retrieved."""
    from dream.rag.postprocessors import AutoMerging, ContextBudget

    leaves = index.as_retriever(similarity_top_k=top_k)
    retriever = AutoMerging(
        cast("VectorIndexRetriever", leaves), index.storage_context, simple_ratio_thresh=merge_ratio
    )
    return answer_from(retriever, llm, ContextBudget(context_tokens=context_tokens))


def query_engine_picker(
    identifier: str, index: "VectorStoreIndex", llm: "LLM", parameters: Mapping[str, Any] | None = None
) -> "BaseQueryEngine":
    """The query engine of a RAG method over an index, which must be built with the method's chunker.

    Args:
        identifier: a name in `RAG_METHODS`.
        parameters: override the defaults; parameters of the chunker are accepted and ignored.

    Raises:
        ConfigurationError: for an unknown identifier or parameter, listing the valid ones.
    """
    method = find_rag_method(identifier)
    unknown = sorted(set(parameters or {}) - set(method.defaults))
    if unknown:
        raise ConfigurationError(f"{identifier} has no parameter {unknown}; valid: {', '.join(method.defaults)}")
    _, of_engine = method.split({**method.defaults, **(parameters or {})})
    return method.function(index, llm, **of_engine)


def find_rag_method(identifier: str) -> RagMethod:
    """The registered method; a ConfigurationError with the valid identifiers if there is none."""
    if identifier not in RAG_METHODS:
        raise ConfigurationError(f"unknown query engine {identifier!r}; valid: {', '.join(RAG_METHODS)}")
    return RAG_METHODS[identifier]


def index_request(trial: Trial) -> IndexRequest:
    """The index that a trial needs, as an argument of `dream.indexes.get_index`."""
    method = find_rag_method(trial.query_engine_identifier)
    return IndexRequest(method.chunker, method.split(trial.parameters)[0], trial.embed_model_identifier)


def answer_from(
    retriever: "BaseRetriever", llm: "LLM", postprocessor: "BaseNodePostprocessor | None" = None
) -> "BaseQueryEngine":
    """A query engine that answers from the passages of a retriever, with the same prompt for all methods."""
    from llama_index.core.query_engine import RetrieverQueryEngine

    from dream.rag.synthesis import answer_synthesizer

    return RetrieverQueryEngine(retriever, answer_synthesizer(llm), [postprocessor] if postprocessor else [])
