"""The JSON schema of study files, with which editors complete keys and mark mistakes."""

from typing import Any

from dream.defaults import ENGINES
from dream.experiments.study_reader import ASIDE, KEYS, SERVICE_KEYS, TRIAL_KEYS
from dream.metrics import METRICS_WITH_CUTOFF, metric_names
from dream.rag.methods import RAG_METHODS
from dream.rag.search import SEARCHERS

_NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
_ANY = {"description": "a value, or a list of values"}
_COUNT = {"type": "integer", "minimum": 1}
_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_RANKING_METRIC = f"^({'|'.join(METRICS_WITH_CUTOFF)})(@[1-9][0-9]*)?$"
_DESCRIPTIONS = {
    "documents": "s3://bucket/prefix or a folder",
    "questions": "the name of a golden dataset, or a file of questions",
    "models": "the models to compare, and the judge; model@endpoint names an endpoint of the environment",
    "systems": "the RAG systems to try; a list of values is a factor",
    "rules": "combinations to leave out",
    "metrics": "by default the six of ragas; may include rubrics {name, levels} and aspects {name, aspect}",
    "objective": "the metric to rank by, and the largest acceptable loss against the best",
    "strictness": "the number of questions that answer_relevancy derives from an answer",
    "baselines": "let each LLM also answer without context and with the reference contexts",
    "judge_repeats": "judge the answers to some questions several times",
    "search": "how trials are chosen: all combinations (grid), a random sample, or in rounds guided by earlier results",
    "sift": "first score retrieval alone, and leave out combinations shown to be worse on recall or the named metric",
    "race": "stop trials that are shown to be worse than another before they have answered all questions",
    "hold_out": "a share of the questions that the search does not see, with which its choice is confirmed",
    "engine": "where trials run",
    "budget": "limits of the experiment over all its runs",
}


def study_schema() -> dict[str, Any]:
    """The schema for the RAG methods and metrics that are registered.

    Example:
        >>> sorted(study_schema()["properties"]) == sorted(KEYS)
        True
    """
    properties = {**_plain(), "systems": {"type": "array", "minItems": 1, "items": _system()}, "rules": _rules()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of DREAM",
        "type": "object",
        "required": ["systems"],
        "additionalProperties": False,
        "patternProperties": {f"^{ASIDE}": {"description": "values with anchors, for reuse by other values"}},
        "properties": {key: {"description": _DESCRIPTIONS[key], **properties[key]} for key in KEYS},
    }


def _plain() -> dict[str, dict[str, Any]]:
    text = {"type": "string"}
    above = {"type": "number", "exclusiveMinimum": 0}
    judge = _object({"llm": text, "embed_model": text})
    return {
        "documents": text,
        "questions": text,
        "models": _object({"llms": _NAMES, "embed_models": _NAMES, "judge": judge, "generator": text}),
        "metrics": {**_NAMES, "items": {"anyOf": [_metric(), *_described_metrics()]}},
        "objective": _object(
            {
                "maximise": {"anyOf": [_metric(), {"type": "string"}]},
                "margin": {"type": "number", "minimum": 0, "maximum": 1},
            }
        ),
        "strictness": _COUNT,
        "baselines": {"type": "boolean"},
        "judge_repeats": _object({"times": _COUNT, "questions": _COUNT}),
        "search": _object(
            {"by": {"enum": list(SEARCHERS)}, "trials": _COUNT, "seed": {"type": "integer", "minimum": 0}}, ["by"]
        ),
        "sift": {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _RANKING_METRIC}]},
        "race": {"anyOf": [{"type": "boolean"}, _race()]},
        "hold_out": {
            "anyOf": [_SHARE, _object({"share": _SHARE, "seed": {"type": "integer", "minimum": 0}}, ["share"])]
        },
        "engine": {"enum": list(ENGINES)},
        "budget": _object({"usd": above, "calls": above, "tokens": above}),
    }


def _race() -> dict[str, Any]:
    error = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.05}
    return _object({"first": _COUNT, "block": _COUNT, "error": error, "seed": {"type": "integer", "minimum": 0}})


def _metric() -> dict[str, Any]:
    """A metric by its name, optionally with a number of passages (recall@5), or a user's own (module:name)."""
    return {"anyOf": [{"enum": metric_names()}, {"type": "string", "pattern": "^[a-z_]+@[1-9][0-9]*$|:"}]}


def _described_metrics() -> list[dict[str, Any]]:
    """A rubric and an aspect, as `dream.metrics.described` reads them."""
    text = {"type": "string", "pattern": "\\S"}
    levels = {"minItems": 2, "maxItems": 5, "items": text, "minProperties": 2, "maxProperties": 5}
    by_number = {"propertyNames": {"pattern": "^[1-5]$"}, "additionalProperties": text}
    rubric = {"levels": {"type": ["array", "object"], **levels, **by_number}, "question": text}
    texts = {"name": {"type": "string", "pattern": r"^[^\W\d][\w-]*$"}, "low_value": text}
    return [_object({**texts, **rubric}, ["name", "levels"]), _object({**texts, "aspect": text}, ["name", "aspect"])]


def _system() -> dict[str, Any]:
    methods = [
        _object({"method": {"const": name}, **dict.fromkeys(method.all_defaults, _ANY), **_own_models()}, ["method"])
        for name, method in RAG_METHODS.items()
    ]
    own = {"type": "object", "required": ["method"], "properties": {"method": {"type": "string", "pattern": ":"}}}
    several = {"type": "object", "required": ["method"], "properties": {"method": _NAMES}}
    service = _object({**{key: {} for key in SERVICE_KEYS}, "request": {"type": "object"}}, ["service", "endpoint"])
    return {"anyOf": [{"enum": list(RAG_METHODS)}, *methods, own, several, service]}


def _own_models() -> dict[str, Any]:
    return {"llms": _NAMES, "embed_models": _NAMES}


def _rules() -> dict[str, Any]:
    names = [*TRIAL_KEYS, *sorted({name for method in RAG_METHODS.values() for name in method.all_defaults})]
    condition = _object(dict.fromkeys(names, _ANY))
    require = _object({"when": condition, "then": condition}, ["when", "then"])
    kinds = [_object({"exclude": condition}, ["exclude"]), _object({"require": require}, ["require"])]
    return {"type": "array", "items": {"anyOf": kinds}}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": required} if required else schema
