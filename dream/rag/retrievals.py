"""Retrieval by itself: what of a trial finds passages, and a query engine that does this alone."""

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

# The factors of the LLM that answers from what was retrieved.
_ANSWERING = ("prompt", *AnsweringParameters.model_fields)
NOT_ASKED = "(the LLM is not asked)"


def why_no_retrieval(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> str:
    """The reason why a trial has no retrieval that could be tried by itself; empty if it may have one.

    Example:
        >>> why_no_retrieval(Trial("long_context", "gpt-4o", "")), why_no_retrieval(Trial("mmr", "gpt-4o", "bge"))
        ('it reads whole documents', '')
    """
    method = find_rag_method(trial.query_engine_identifier, methods)
    if not method.needs_llm:
        return "it is a system of its own, which answers as a whole"
    return "it reads whole documents" if method.chunker == "whole_documents" else ""


def retrieval_of(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> Trial:
    """A trial without what plays no part in its retrieval, the same for all trials that retrieve alike: without the
    factors of the answer, and without the LLM, unless that rewrites questions or ranks passages. Retrieval of a method
    of the user's may ask the LLM.

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
    """A query engine with the passages of another one, and `NOT_ASKED` for an answer.

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
            f"a {type(engine).__name__} cannot retrieve without answering: it has no method `aretrieve`, as what "
            "`answer_from` makes has"
        )

    class Retrieving(CustomQueryEngine):
        def custom_query(self, query_str: str) -> Response:
            return run_async(self.acustom_query(query_str))

        async def acustom_query(self, query_str: str) -> Response:
            return Response(response=NOT_ASKED, source_nodes=await retrieve(QueryBundle(query_str)))

    return Retrieving()
