"""`rag_method`: registers a function `(index, llm, **parameters) -> query engine` as a RAG method with typed parameters
and a cost.

Parameters of the chunker determine the index; the others are passed to the function.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dream.errors import ConfigurationError, bullets, explain
from dream.indexes.chunkers import CHUNKERS, NEED_MODEL
from dream.indexes.client import IndexRequest
from dream.indexes.contexts import CHUNK_CONTEXT, CONTEXT_LLM, LLM, is_contextual
from dream.rag.parameters import (
    DECOMPOSE,
    DEFAULT,
    FACTORS,
    MULTI_QUERY,
    NONE,
    OF_CHUNKERS,
    AnsweringParameters,
    ChunkParameters,
    FlatChunkParameters,
    RetrievalParameters,
    defaults_of,
    inferred_model,
    mistakes,
    read,
)
from dream.records import Trial

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from pydantic import BaseModel

_SHARING = (FlatChunkParameters, RetrievalParameters, AnsweringParameters)


@dataclass(frozen=True)
class MethodCost:
    """The model calls of a method per question, without those of the shared factors.

    Args:
        llm_calls: calls of the answering LLM, including the answer; None if undeclared, then one is assumed.
        query_embeddings: texts that are embedded per question.
        passages_a_hit: the number of passages that the LLM reads per hit, if they fit `context_tokens`.
        passage_tokens: the size of a passage in tokens; None for the size of a chunk.
    """

    llm_calls: float | None = 1.0
    query_embeddings: float = 1.0
    passages_a_hit: float = 1.0
    passage_tokens: float | None = None


@dataclass(frozen=True)
class RagMethod:
    """A registered RAG method.

    Args:
        chunker: the name of its chunker in `dream.indexes.CHUNKERS`; a parameter `chunker` overrides it.
        parameters: a pydantic model with a default for each parameter of the chunker and of the function.
        needs_vectors: if False, its trials have no embedding model, and no index is built.
        needs_llm: if False, its trials have no LLM.
    """

    function: Callable[..., "BaseQueryEngine"]
    chunker: str
    parameters: "type[BaseModel]"
    cost: MethodCost = MethodCost()
    needs_vectors: bool = True
    needs_llm: bool = True

    @property
    def name(self) -> str:
        """The name by which trials call it."""
        return self.function.__name__

    @cached_property
    def all_defaults(self) -> dict[str, Any]:
        """The defaults of all parameters, the chunker's first, the shared factors last."""
        defaults = defaults_of(self.parameters)
        of_chunker = _parameters_of(self.chunker)
        return dict(sorted(defaults.items(), key=lambda item: (item[0] in self.shared, item[0] not in of_chunker)))

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the method's own parameters, which all its trials have."""
        return {name: value for name, value in self.all_defaults.items() if name not in self.shared}

    @cached_property
    def shared(self) -> frozenset[str]:
        """The factors that methods share. Trials leave them out if they have their defaults, so that trial ids do not
        change when a factor is added to DREAM."""
        bases = [base for base in _SHARING if issubclass(self.parameters, base)]
        return frozenset(name for base in bases for name in base.model_fields if name in FACTORS)

    def split(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split parameters into those of the chunker and those of the query engine."""
        chunker = self.chunker_of(parameters)
        of_chunker = _parameters_of(chunker)
        known = defaults_of(OF_CHUNKERS.get(chunker, ChunkParameters))
        chunking = {name: known[name] for name in of_chunker if name in known and name not in self.all_defaults}
        chunking |= {name: value for name, value in parameters.items() if name in of_chunker}
        others = of_chunker | ({"chunker", CHUNK_CONTEXT, CONTEXT_LLM} & self.shared)
        if CHUNK_CONTEXT in self.shared and is_contextual(parameters):
            chunking[CHUNK_CONTEXT] = parameters[CHUNK_CONTEXT]
            if parameters[CHUNK_CONTEXT] == LLM:
                chunking[CONTEXT_LLM] = parameters.get(CONTEXT_LLM, DEFAULT)
        return chunking, {name: value for name, value in parameters.items() if name not in others}

    def chunker_of(self, parameters: Mapping[str, Any]) -> str:
        """The chunker of an index with these parameters."""
        return parameters.get("chunker", self.chunker) if "chunker" in self.shared else self.chunker

    def recorded(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in the form that a trial stores: without shared factors at their defaults and without
        parameters that have no effect then."""
        idle = set()
        if parameters.get("reranker", NONE) == NONE:
            idle.add("rerank_from")
        if parameters.get("query_transform", NONE) not in (MULTI_QUERY, DECOMPOSE):
            idle.add("n_queries")
        if parameters.get(CHUNK_CONTEXT) != LLM:
            idle.add(CONTEXT_LLM)
        return {
            name: value
            for name, value in parameters.items()
            if name not in self.shared or (name not in idle and value != FACTORS[name])
        }

    def problems(self, parameters: Mapping[str, Any]) -> list[str]:
        """Messages about invalid parameters, with the valid values; missing parameters have their defaults."""
        given = {name: value for name, value in self.all_defaults.items() if name not in parameters}
        found = mistakes(self.parameters, {**given, **parameters})
        chunker = self.chunker_of(parameters)
        if chunker in NEED_MODEL and not self.needs_vectors:
            found.append(
                f"chunker={chunker!r} needs an embedding model, which the method does not have: choose another chunker"
            )
        return [
            f"{self.name} {problem}" if problem.startswith("has no") else f"{self.name}: {problem}" for problem in found
        ]

    def typed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all parameters, in the types of the model.

        Raises:
            ConfigurationError: naming every mistake.
        """
        if unknown := sorted(set(parameters) - set(self.all_defaults)):
            raise ConfigurationError(f"{self.name} has no parameter {unknown}; valid: {', '.join(self.all_defaults)}")
        try:
            model = read(self.parameters, {**self.all_defaults, **parameters})
        except (ValueError, TypeError):
            problems = self.problems(parameters)
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the parameters:", problems)) from None
        return {name: getattr(model, name) for name in self.all_defaults}


RAG_METHODS: dict[str, RagMethod] = {}


def rag_method(
    chunker: str = "overlapping_chunks",
    *,
    parameters: "type[BaseModel] | None" = None,
    llm_calls: float | None = None,
    query_embeddings: float = 1.0,
    passages_a_hit: float = 1.0,
    passage_tokens: float | None = None,
    needs_vectors: bool = True,
    **defaults: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a RAG method; its name becomes a valid `query_engine_identifier`.

    It may be defined in a notebook, a script, a module beside it or an installed package; it is sent to the workers
    with its trials.

    Args:
        chunker: the chunker of the method's index, a name in `dream.indexes.CHUNKERS`.
        parameters: a pydantic model of all parameters of the chunker and of the function, each with a default, a type
            and bounds. One that extends `dream.rag.parameters.RetrievalParameters` has all factors of the built-in
            methods too, if the function returns what `answer_from` makes.
        defaults: instead of a model, the defaults of the parameters; types are those of the function's annotations.
        llm_calls, query_embeddings, passages_a_hit, passage_tokens: the cost of a question (`MethodCost`), for the
            plan.
        needs_vectors: False for a method without an embedding model.

    Raises:
        ConfigurationError: for an unknown chunker, or a model without defaults.

    Example:
        class Short(BaseModel):
            chunk_size: int = Field(256, ge=32)
            chunk_overlap: int = Field(32, ge=0)
            top_k: int = Field(5, ge=1, le=50)

        @rag_method("overlapping_chunks", parameters=Short)
        def short_chunks(index, llm, *, top_k):
            return answer_from(index.as_retriever(similarity_top_k=top_k), llm)
    """
    if chunker not in CHUNKERS:
        raise ConfigurationError(f"unknown chunker {chunker!r}; valid: {', '.join(CHUNKERS)}")
    if parameters is not None and defaults:
        raise ConfigurationError(
            f"{', '.join(defaults)} cannot be combined with parameters={parameters.__name__}: put them into that model"
        )
    cost = MethodCost(llm_calls, query_embeddings if needs_vectors else 0.0, passages_a_hit, passage_tokens)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        model = parameters or inferred_model(f"{name}_parameters", chunker, defaults, [CHUNKERS[chunker], function])
        method = RagMethod(function, chunker, model, cost, needs_vectors)
        try:
            problems = method.problems({})
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from None
        if problems := [*problems, *_not_taken(method)]:
            raise ConfigurationError(bullets(f"the RAG method {name} cannot be registered:", problems))
        RAG_METHODS[name] = method
        return function

    return register


def _not_taken(method: RagMethod) -> list[str]:
    """Messages about parameters that the function does not accept, or requires but that are not declared."""
    signature = inspect.signature(method.function).parameters
    given = {name for name in method.split(method.all_defaults)[1] if name not in method.shared}
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.values())
    keywords = {name: each for name, each in signature.items() if each.kind is inspect.Parameter.KEYWORD_ONLY}
    problems = [] if takes_all else [
        f"the function does not accept its declared parameter {name!r}" for name in sorted(given - set(signature))
    ]  # fmt: skip
    keywords.pop("trial", None)  # supplied by `query_engine_picker`
    wanted = [name for name, each in keywords.items() if each.default is inspect.Parameter.empty and name not in given]
    return problems + [f"the function requires {name!r}, which is not a declared parameter" for name in wanted]


def find_rag_method(identifier: str, methods: Mapping[str, RagMethod] | None = None) -> RagMethod:
    """The method of this name among those of an experiment, else the registered one; a ConfigurationError with the
    valid identifiers if there is none."""
    if methods and identifier in methods:
        return methods[identifier]
    if identifier not in RAG_METHODS:
        raise ConfigurationError(
            f"unknown query engine {identifier!r}; valid: {', '.join(RAG_METHODS)}. (Your own method is registered "
            f"when the cell or module with its @rag_method has run)"
        )
    return RAG_METHODS[identifier]


def imported_method(identifier: str) -> str:
    """The name of a method; for `module:function`, the module is imported first, also from the working folder.

    Raises:
        ConfigurationError: if the module cannot be imported, or registers no such method.

    Example:
        >>> imported_method("hybrid"), imported_method("dream.rag.searching:hybrid")
        ('hybrid', 'hybrid')
    """
    module, colon, name = identifier.partition(":")
    if not colon:
        return identifier
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(module)
    except Exception as error:
        raise ConfigurationError(f"{identifier}: cannot import {module!r}: {explain(error)}") from error
    if name not in RAG_METHODS:
        raise ConfigurationError(f"{identifier}: {module} registers no RAG method {name!r} (@rag_method, @own_system)")
    return name


def index_request(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> IndexRequest:
    """The index that a trial needs, as an argument of `dream.indexes.get_index`."""
    method = find_rag_method(trial.query_engine_identifier, methods)
    chunking, _ = method.split(trial.parameters)
    if CONTEXT_LLM in chunking:
        chunking[CONTEXT_LLM] = context_llm_of(trial)
    return IndexRequest(method.chunker_of(trial.parameters), chunking, trial.embed_model_identifier)


def context_llm_of(trial: Trial) -> str:
    """The identifier of the LLM that writes the chunk contexts of a trial; empty if none does.

    Example:
        >>> context_llm_of(Trial("bm25", "gpt-4o", "", {"chunk_context": "llm"}))
        'gpt-4o'
    """
    if trial.is_baseline or trial.parameters.get(CHUNK_CONTEXT) != LLM:
        return ""
    named = trial.parameters.get(CONTEXT_LLM, DEFAULT)
    return trial.llm_identifier if named == DEFAULT else named


def _parameters_of(chunker: str) -> set[str]:
    return set(inspect.signature(CHUNKERS[chunker]).parameters)
