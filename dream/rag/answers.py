"""`query_engine_picker` and `answer_from`: the query engine of a RAG method, with the factors that all methods share.

    question -> query transform -> retriever -> hits -> reranker -> the best top_k -> postprocessor -> passages -> LLM

The methods make the retriever and the postprocessor. A factor at its default adds no step, so that the method works
exactly as it would without that factor.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dream.errors import ConfigurationError
from dream.rag.parameters import DEFAULT, LLM as LLM_RERANKER, NONE
from dream.rag.registry import RagMethod, context_llm_of, find_rag_method
from dream.records import Trial

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.llms import LLM
    from llama_index.core.postprocessor.types import BaseNodePostprocessor


def query_engine_picker(
    identifier: str,
    index: "VectorStoreIndex",
    llm: "LLM | None",
    parameters: Mapping[str, Any] | None = None,
    *,
    trial: str = "",
    methods: Mapping[str, RagMethod] | None = None,
) -> "BaseQueryEngine":
    """The query engine of a RAG method over an index, which must be built with the method's chunker.

    Args:
        identifier: a name in `RAG_METHODS`.
        llm: None for a method without an LLM.
        parameters: override the defaults; parameters of the chunker are accepted and ignored.
        trial: labels a reranker's calls in the usage; passed to functions with a parameter `trial`.
        methods: the methods of an experiment, which take precedence over registered ones.

    Raises:
        ConfigurationError: for an unknown identifier or parameter, or a wrong value, listing the valid ones.
    """
    method = find_rag_method(identifier, methods)
    values = method.typed(parameters or {})
    factors = {name: values[name] for name in method.shared}
    _, of_engine = method.split({name: value for name, value in values.items() if name not in method.shared})
    top_k = of_engine.get("top_k")
    if top_k is not None and factors.get("reranker", NONE) != NONE:
        of_engine["top_k"] = max(top_k, factors["rerank_from"])
    if "trial" not in values and "trial" in inspect.signature(method.function, follow_wrapped=False).parameters:
        of_engine["trial"] = trial
    if llm is None:
        return method.function(index, None, **of_engine)
    engine = method.function(index, _answering(llm, factors), **of_engine)
    of_retrieval = {name: factors.get(name, NONE) for name in ("query_transform", "reranker", "prompt")}
    asked = [name for name, value in of_retrieval.items() if value not in (NONE, DEFAULT)]
    if not asked:
        return engine
    from dream.rag.engine import PassageQueryEngine

    if not isinstance(engine, PassageQueryEngine):
        raise ConfigurationError(
            f"{identifier}: {', '.join(asked)} cannot be applied to a {type(engine).__name__}: return the result of "
            f"`answer_from`, or derive the parameters from another class than RetrievalParameters"
        )
    return engine.with_factors(factors, llm, top_k, trial)


def answer_from(
    retriever: "BaseRetriever", llm: "LLM", postprocessor: "BaseNodePostprocessor | None" = None
) -> "BaseQueryEngine":
    """A query engine that answers from a retriever's passages, with the prompt that all methods share."""
    from dream.rag.engine import PassageQueryEngine

    return PassageQueryEngine(retriever, llm, postprocessor)


def models_of(trial: Trial) -> list[str]:
    """The identifiers of all models that a trial calls, without the judge's."""
    asked = (trial.llm_identifier, trial.embed_model_identifier, context_llm_of(trial), *rerankers_of(trial))
    return [name for name in dict.fromkeys(asked) if name]


def rerankers_of(trial: Trial) -> list[str]:
    """The identifiers of a trial's reranking models, without its LLM."""
    reranker = trial.parameters.get("reranker", NONE)
    return [] if reranker in (NONE, LLM_RERANKER) else [reranker]


def _answering(llm: "LLM", factors: Mapping[str, Any]) -> "LLM":
    """The LLM with the trial's system prompt, temperature and token limit."""
    changes: dict[str, Any] = {}
    if factors.get("system_prompt"):
        changes["system_prompt"] = factors["system_prompt"]
    if factors.get("temperature"):
        changes["temperature"] = factors["temperature"]
    if (limit := factors.get("max_tokens")) is not None:
        given = getattr(llm, "additional_kwargs", {})
        name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
        changes["additional_kwargs"] = {**given, name: min(limit, given.get(name, limit))}
    return llm.model_copy(update=changes) if changes else llm
