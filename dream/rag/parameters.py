"""Parameters of RAG methods: pydantic models with types and bounds, and messages about invalid values.

A user's method may have any pydantic model. Those of retrieval methods extend `RetrievalParameters`, whose fields are
the factors that all of them share.
"""

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dream import defaults

FACTORS: Mapping[str, Any] = defaults.FACTORS
CONTEXT_TOKENS = 1536
DEFAULT, NONE, LLM = "default", "none", "llm"
HYDE, MULTI_QUERY, DECOMPOSE = "hyde", "multi_query", "decompose"
# number of passages that an LLM rates in one call
PASSAGES_A_RATING = 10
# passages to rate are cut to this number of tokens, so that those of a call fit into any context window
PASSAGE_TOKENS = 512
# placeholders that a prompt must have, by LlamaIndex's names
PROMPT_FIELDS = ("{context_str}", "{query_str}")

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Parameters(BaseModel):
    """Base class of parameters; undeclared ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnsweringParameters(Parameters):
    """Parameters of the LLM that answers: its system prompt, temperature, and the maximum tokens of an answer (None for
    DREAM_MAX_ANSWER_TOKENS)."""

    system_prompt: Annotated[str, Field(max_length=5000)] = FACTORS["system_prompt"]
    temperature: Annotated[float, Field(ge=0, le=2)] = FACTORS["temperature"]
    max_tokens: Count | None = FACTORS["max_tokens"]


class RetrievalParameters(AnsweringParameters):
    """The factors of every method that retrieves passages (`dream.rag.answers` applies them).

    Attributes:
        chunk_context: text with which a chunk is embedded and searched, but which the answering LLM does not read: the
            file's name and the headings above the chunk ("headings"), or a description that an LLM writes ("llm").
        context_llm: the identifier of the LLM that writes the description; "default" for the trial's LLM, so that each
            LLM needs an index of its own.
        query_transform: the search queries: the question alone ("none"), or with a hypothetical passage that an LLM
            writes to answer it ("hyde"), or with at most `n_queries` other wordings ("multi_query") or simpler
            questions ("decompose").
        reranker: reorders `rerank_from` hits, of which the best `top_k` remain: the answering LLM ("llm"), the
            identifier of a model behind a `/rerank` endpoint, such as `bge-reranker@tei`, or `local:` and the folder or
            object-storage URI of a cross-encoder in ONNX (`dream.models.cross_encoder`).
        prompt: "default", or a text with {context_str} and {query_str}.
        context_tokens: the maximum tokens of passages that the LLM reads.
    """

    context_tokens: Count = CONTEXT_TOKENS
    chunk_context: Literal["none", "headings", "llm"] = FACTORS["chunk_context"]
    context_llm: Annotated[str, Field(min_length=1)] = FACTORS["context_llm"]
    query_transform: Literal["none", "hyde", "multi_query", "decompose"] = FACTORS["query_transform"]
    n_queries: Annotated[int, Field(ge=1, le=10)] = FACTORS["n_queries"]
    reranker: Annotated[str, Field(min_length=1)] = FACTORS["reranker"]
    rerank_from: Annotated[int, Field(ge=1, le=200)] = FACTORS["rerank_from"]
    prompt: Annotated[str, Field(max_length=5000)] = FACTORS["prompt"]

    @field_validator("prompt")
    @classmethod
    def _has_fields(cls, prompt: str) -> str:
        missing = [name for name in PROMPT_FIELDS if name not in prompt]
        if prompt != DEFAULT and missing:
            raise ValueError(f"prompt={prompt!r} lacks {' and '.join(missing)}; or write {DEFAULT!r}")
        return prompt

    @model_validator(mode="after")
    def _hits_suffice(self) -> "RetrievalParameters":
        top_k = getattr(self, "top_k", 0)
        if self.reranker != NONE and self.rerank_from < top_k:
            raise ValueError(
                f"rerank_from={self.rerank_from} must be at least top_k={top_k}, the number of hits that remain"
            )
        return self


class ChunkParameters(Parameters):
    """Sizes of chunks in tokens."""

    chunk_size: Count = 512
    chunk_overlap: Annotated[int, Field(ge=0)] = 64

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> "ChunkParameters":
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(f"chunk_overlap={self.chunk_overlap} must be smaller than chunk_size={self.chunk_size}")
        return self


class FlatChunkParameters(ChunkParameters):
    """Parameters of methods that work with any chunker that makes a single level of chunks."""

    chunker: Literal["overlapping_chunks", "tokens", "headings", "tables", "semantic"] = FACTORS["chunker"]


class HierarchyParameters(Parameters):
    """Sizes in tokens of nested chunks, and a budget that fits the largest."""

    chunk_sizes: tuple[Count, ...] = (1024, 512, 128)

    @field_validator("chunk_sizes")
    @classmethod
    def _descend(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(sizes) < 2 or list(sizes) != sorted(set(sizes), reverse=True):
            raise ValueError(f"chunk_sizes={list(sizes)} must be two or more sizes in descending order")
        return sizes

    def conflicts(self) -> list[str]:
        """Messages about values that make little sense together, which a search space must not combine."""
        budget = getattr(self, "context_tokens", self.chunk_sizes[0])
        if budget >= self.chunk_sizes[0]:
            return []
        return [f"context_tokens={budget} must be at least the largest of chunk_sizes={list(self.chunk_sizes)}"]


# The parameters of chunkers in `dream.indexes.CHUNKERS` that are not `ChunkParameters`.
OF_CHUNKERS: Mapping[str, type[Parameters]] = {
    "sentences": Parameters,
    "whole_documents": Parameters,
    "hierarchy": HierarchyParameters,
}
# Bounds of parameters for which only a name and a default are given.
_KNOWN: Mapping[str, Any] = {"top_k": Count, "context_tokens": Count, "window_size": Count, "merge_ratio": Share}


def inferred_model(
    name: str, chunker: str, defaults: Mapping[str, Any], functions: Sequence[Callable[..., Any]]
) -> type[Parameters]:
    """A model of parameters with these defaults; the types are those of the functions' annotations, else of the
    defaults.

    Example:
        >>> def lookup(index, llm, *, depth: int, mode): ...
        >>> model = inferred_model("lookup", "sentences", {"depth": 2, "mode": "fast"}, [lookup])
        >>> mistakes(model, {"depth": "three", "mode": "fast"})
        ["depth='three' must be a whole number"]
    """
    base = OF_CHUNKERS.get(chunker, ChunkParameters)
    annotations = _annotations(functions)
    fields: dict[str, Any] = {
        parameter: (_type_of(parameter, value, base, annotations.get(parameter)), value)
        for parameter, value in defaults.items()
    }
    # only the given ones of the chunker's parameters
    base = base if set(base.model_fields) <= set(defaults) else Parameters
    return create_model(name, __base__=base, __module__=__name__, **fields)


def _type_of(name: str, default: Any, base: type[Parameters], annotation: Any) -> Any:
    if name in base.model_fields:
        field = base.model_fields[name]
        return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    of_default = _default_type(default)
    known = _KNOWN.get(name)
    if known is not None and (annotation or of_default) in (int, float):
        return known
    return annotation if annotation is not None else of_default


def _default_type(default: Any) -> Any:
    if isinstance(default, tuple | list):
        return tuple[type(default[0]), ...] if default else tuple[Any, ...]
    return type(default) if isinstance(default, bool | int | float | str) else Any


def _annotations(functions: Sequence[Callable[..., Any]]) -> dict[str, Any]:
    """The annotations of parameters that can be evaluated, which excludes names that only type checkers import."""
    annotations: dict[str, Any] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.annotation is inspect.Parameter.empty:
                continue
            holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
            try:
                hints = get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)
            except (NameError, TypeError, AttributeError, SyntaxError):
                continue
            annotations.update(hints)
    return annotations


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    """The defaults of a model's parameters.

    Raises:
        ValueError: naming the parameters without a default.
    """
    if missing := [name for name, field in model.model_fields.items() if field.is_required()]:
        raise ValueError(f"every parameter needs a default; {model.__name__} has none for {', '.join(missing)}")
    return {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}


def mistakes(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """A message about each invalid value, with the valid ones; values are not converted to other types."""
    unknown = [f"has no parameter {name!r}; valid: {', '.join(model.model_fields)}" for name in values
               if name not in model.model_fields]  # fmt: skip
    declared = {name: value for name, value in values.items() if name in model.model_fields}
    try:
        read_model = read(model, declared)
    except ValidationError as error:
        messages = [_in_words(model, details) for details in error.errors(include_url=False)]
        return [*unknown, *dict.fromkeys(messages)]
    except TypeError as error:
        return [*unknown, f"contains a value that JSON cannot represent: {error}"]
    conflicts = read_model.conflicts() if isinstance(read_model, HierarchyParameters) else []
    return [*unknown, *conflicts]


def read(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """The model with these values.

    Raises:
        pydantic.ValidationError: for wrong values.
        TypeError: for values that JSON cannot represent.
    """
    return model.model_validate_json(json.dumps(dict(values)), strict=True)


def _in_words(model: type[BaseModel], details: ErrorDetails) -> str:
    """A sentence about an invalid value.

    Example:
        >>> mistakes(RetrievalParameters, {"query_transform": "hide"})
        ["query_transform='hide' must be none, hyde, multi_query or decompose"]
    """
    if details["type"] == "value_error":
        return str(details.get("ctx", {}).get("error", details["msg"]))
    if not details["loc"]:
        return details["msg"].replace("Value error, ", "")
    name = str(details["loc"][0])
    described = described_type(model.model_fields[name]) if name in model.model_fields else None
    given = details["input"] if len(details["loc"]) == 1 or described is None else "a value"
    wanted = described or details["msg"].replace("Input should be ", "")
    shown = f"{name}={given!r}" if len(details["loc"]) == 1 else f"{name}: {details['input']!r}"
    return f"{shown} must be {wanted}"


def described_type(field: FieldInfo) -> str | None:
    """A short description of a parameter's valid values; None if there is none.

    Example:
        >>> described_type(RetrievalParameters.model_fields["temperature"])
        'a number from 0 to 2'
    """
    return _described(field.annotation, field.metadata)


def _described(annotation: Any, metadata: Sequence[Any]) -> str | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [each for item in arguments[1:] for each in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _described(arguments[0], [*inner, *metadata])
    if origin is Literal:
        return _either([str(value) for value in arguments])
    if origin in (Union, types.UnionType):
        parts = [_described(argument, metadata) for argument in arguments if argument is not type(None)]
        parts += ["None"] if type(None) in arguments else []
        return _either([part for part in parts if part]) if None not in parts else None
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _described(arguments[0], [])
        return f"a list, each {item}" if item else None
    kinds: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    kind = kinds.get(annotation)
    return None if kind is None else kind + (_range(metadata) if annotation in (int, float) else "")


def _either(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def _range(metadata: Sequence[Any]) -> str:
    bounds = {name: getattr(item, name) for item in metadata for name in ("ge", "gt", "le", "lt")
              if getattr(item, name, None) is not None}  # fmt: skip
    if {"ge", "le"} <= set(bounds):
        return f" from {bounds['ge']} to {bounds['le']}"
    if {"gt", "lt"} <= set(bounds):
        return f" between {bounds['gt']} and {bounds['lt']}"
    words = {"ge": "of at least", "le": "of at most", "gt": "above", "lt": "below"}
    return "".join(f" {words[name]} {bound}" for name, bound in bounds.items())


def is_sequence(model: type[BaseModel], name: str) -> bool:
    """True for a parameter whose single value is a list."""
    field = model.model_fields[name]
    return isinstance(field.default, tuple | list) or get_origin(field.annotation) in (tuple, list)
