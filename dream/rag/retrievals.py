"""Retrieval without answers: the part of a trial that finds passages, and a query engine for this part."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dream.errors import ConfigurationError
from dream.indexes.contexts import CONTEXT_LLM
from dream.rag.parameters import LLM, NONE, AnsweringParameters
from dream.rag.registry import RagMethod, context_llm_of, find_rag_method
from dream.rag.travelling import is_built_in
from dream.records import Trial

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

# The factors that only affect the answer.
_ANSWERING = ("prompt", *AnsweringParameters.model_fields)
NOT_ASKED = "(the LLM is not asked)"


def why_no_retrieval(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> str:
    """The reason why a trial's retrieval cannot run without answering; empty if it may.

    Example:
        >>> why_no_retrieval(Trial("long_context", "gpt-4o", "")), why_no_retrieval(Trial("mmr", "gpt-4o", "bge"))
        ('it reads whole documents', '')
    """
    method = find_rag_method(trial.query_engine_identifier, methods)
    if not method.needs_llm:
        return "it is an existing system, which only returns answers"
    return "it reads whole documents" if method.chunker == "whole_documents" else ""


def retrieval_of(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> Trial:
    """A trial reduced to its retrieval, equal for all trials with the same retrieval: without the factors of the
    answer, and without the LLM unless it rewrites questions or ranks passages. User-defined methods keep the LLM, which
    their retrieval may call.

    Example:
        >>> retrieval_of(Trial("mmr", "gpt-4o", "bge", {"top_k": 4, "temperature": 0.5})).config()
        {'query_engine_identifier': 'mmr', 'llm_identifier': '', 'embed_model_identifier': 'bge', 'top_k': 4}
    """
    method = find_rag_method(trial.query_engine_identifier, methods)
    idle = method.shared.intersection(_ANSWERING)
    parameters = {name: value for name, value in trial.parameters.items() if name not in idle}
    transformed, ranked = trial.parameters.get("query_transform", NONE) != NONE, trial.parameters.get("reranker") == LLM
    if writer := context_llm_of(trial):
        parameters[CONTEXT_LLM] = writer
    llm = trial.llm_identifier if transformed or ranked or not is_built_in(method) else ""
    return Trial(trial.query_engine_identifier, llm, trial.embed_model_identifier, parameters)


def retrieving(engine: "BaseQueryEngine") -> "BaseQueryEngine":
    """A query engine that returns the passages of another one, and `NOT_ASKED` as the answer.

    Raises:
        ConfigurationError: if the engine cannot retrieve without answering.
    """
    from llama_index.core.base.response.schema import Response
    from llama_index.core.query_engine import CustomQueryEngine
    from llama_index.core.schema import QueryBundle

    from dream.runtime.event_loop import run_async

    retrieve = getattr(engine, "aretrieve", None)
    if retrieve is None:
        raise ConfigurationError(
            f"a {type(engine).__name__} cannot retrieve without answering: it has no method `aretrieve`; the result of "
            f"`answer_from` has one"
        )

    class Retrieving(CustomQueryEngine):
        def custom_query(self, query_str: str) -> Response:
            return run_async(self.acustom_query(query_str))

        async def acustom_query(self, query_str: str) -> Response:
            return Response(response=NOT_ASKED, source_nodes=await retrieve(QueryBundle(query_str)))

    return Retrieving()
