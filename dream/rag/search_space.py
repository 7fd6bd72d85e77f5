"""The search space: a grid of trials, validated before anything runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.models.pickers import check_identifiers
from dream.rag.methods import RAG_METHODS
from dream.records import Trial
from dream.settings import Settings


@dataclass(frozen=True)
class SearchSpace:
    """The grid of trials to run: every combination of RAG method, LLM, embedding model and parameter values.

    Args:
        query_engines: RAG methods, names in `dream.rag.methods.RAG_METHODS`.
        llms, embed_models: model identifiers (see `dream.models.pickers`).
        parameters: `{RAG method: {parameter: value or list of values}}`; a list makes one trial per value. Other
            parameters have their defaults.
        exclude: combinations to leave out, e.g. `[{"query_engine_identifier": "sentence_window",
            "llm_identifier": "gpt-4o"}]`; a trial is left out if all keys of one entry match.

    Example:
        >>> space = SearchSpace(["chunks_with_overlap"], ["offline/llm-small"], ["offline/embed-small"],
        ...                     {"chunks_with_overlap": {"top_k": [2, 4]}})
        >>> [trial.parameters["top_k"] for trial in space.trials()]
        [2, 4]
    """

    query_engines: Sequence[str]
    llms: Sequence[str]
    embed_models: Sequence[str]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exclude: Sequence[Mapping[str, Any]] = ()

    def trials(self, settings: Settings | None = None) -> tuple[Trial, ...]:
        """All trials, in a stable order. With `settings`, the model identifiers are checked against the endpoints too.

        Raises:
            ConfigurationError: for invalid choices; the message lists every mistake.
        """
        problems = self.problems(settings)
        if problems:
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the search space:", problems))
        grid = itertools.product(self.query_engines, self.llms, self.embed_models)
        trials = [
            Trial(query_engine, llm, embed_model, parameters)
            for query_engine, llm, embed_model in grid
            for parameters in self._parameter_sets(query_engine)
        ]
        kept = tuple(trial for trial in trials if not any(_matches(trial, rule) for rule in self.exclude))
        if not kept:
            raise ConfigurationError(f"exclude={list(self.exclude)} leaves none of the {len(trials)} trials")
        return kept

    def _parameter_sets(self, query_engine: str) -> list[dict[str, Any]]:
        defaults = RAG_METHODS[query_engine].defaults
        merged = {**defaults, **self.parameters.get(query_engine, {})}
        choices = [_choices(value, default=defaults[name]) for name, value in merged.items()]
        return [dict(zip(merged, combination, strict=True)) for combination in itertools.product(*choices)]

    def problems(self, settings: Settings | None = None) -> list[str]:
        """Every mistake in the choices, in words."""
        problems = [*self._list_problems(), *self._method_problems(), *self._parameter_problems()]
        problems += self._exclude_problems()
        if settings is not None:
            problems += check_identifiers([*self.llms, *self.embed_models], settings)
        return problems

    def _list_problems(self) -> list[str]:
        problems = []
        for name in ("query_engines", "llms", "embed_models"):
            values = getattr(self, name)
            if isinstance(values, str):
                problems.append(f"{name}={values!r} must be a list: write [{values!r}]")
            elif not values:
                problems.append(f"{name} is empty: name at least one")
            elif repeated := sorted({value for value in values if list(values).count(value) > 1}):
                problems.append(f"{name} names {', '.join(repeated)} more than once")
        return problems

    def _method_problems(self) -> list[str]:
        valid = ", ".join(RAG_METHODS)
        return [
            f"unknown query engine {name!r}; valid: {valid}"
            for name in _names([*_names(self.query_engines), *self.parameters])
            if name not in RAG_METHODS
        ]

    def _parameter_problems(self) -> list[str]:
        problems = []
        for query_engine, chosen in self.parameters.items():
            if query_engine not in RAG_METHODS:
                continue
            defaults = RAG_METHODS[query_engine].defaults
            if query_engine not in self.query_engines:
                problems.append(f"parameters are given for {query_engine}, which is not among query_engines")
            for name in chosen:
                if name not in defaults:
                    problems.append(f"{query_engine} has no parameter {name!r}; valid: {', '.join(defaults)}")
            if set(chosen) <= set(defaults):
                by_values = [_value_problems(query_engine, values) for values in self._parameter_sets(query_engine)]
                problems += _names(itertools.chain.from_iterable(by_values))
        return problems

    def _exclude_problems(self) -> list[str]:
        valid = {"query_engine_identifier", "llm_identifier", "embed_model_identifier"}
        for method in RAG_METHODS.values():
            valid |= set(method.defaults)
        return [
            f"exclude names {key!r}, which no trial has; valid: {', '.join(sorted(valid))}"
            for rule in self.exclude
            for key in rule
            if key not in valid
        ]


def default_search_space(settings: Settings) -> SearchSpace:
    """All RAG methods with the LLMs and embedding models of the settings: 3 x 2 x 2 trials by default."""
    return SearchSpace(tuple(RAG_METHODS), settings.llms, settings.embed_models)


def _names(values: Iterable[str]) -> list[str]:
    """The distinct values in order; a bare string is one value."""
    return [values] if isinstance(values, str) else list(dict.fromkeys(values))


def _choices(value: Any, default: Any) -> list[Any]:
    """The values of one parameter: the items of a list, unless the parameter itself is a sequence (a tuple default)."""
    if isinstance(default, tuple):
        nested = isinstance(value, list) and all(isinstance(item, list | tuple) for item in value)
        return [tuple(item) for item in value] if nested else [tuple(value)]
    return list(value) if isinstance(value, list) else [value]


def _matches(trial: Trial, rule: Mapping[str, Any]) -> bool:
    config = trial.config()
    return all(key in config and config[key] == value for key, value in rule.items())


def _value_problems(query_engine: str, values: Mapping[str, Any]) -> list[str]:
    """The mistakes in one combination of parameter values; all sizes are in tokens."""
    problems = []
    for name in ("chunk_size", "top_k", "window_size", "context_tokens"):
        if name in values and not _is_count(values[name]):
            problems.append(f"{query_engine}: {name}={values[name]!r} must be a whole number of at least 1")
    size, overlap = values.get("chunk_size"), values.get("chunk_overlap")
    if overlap is not None and not (isinstance(overlap, int) and overlap >= 0):
        problems.append(f"{query_engine}: chunk_overlap={overlap!r} must be a whole number of at least 0")
    elif overlap is not None and isinstance(size, int) and overlap >= size >= 1:
        problems.append(f"{query_engine}: chunk_overlap={overlap} must be smaller than chunk_size={size}")
    sizes = values.get("chunk_sizes")
    if sizes is not None and not (
        len(sizes) >= 2 and all(map(_is_count, sizes)) and list(sizes) == sorted(set(sizes), reverse=True)
    ):
        problems.append(f"{query_engine}: chunk_sizes={list(sizes)} must be two or more sizes that descend")
    elif sizes is not None and _is_count(values["context_tokens"]) and values["context_tokens"] < sizes[0]:
        problems.append(
            f"{query_engine}: context_tokens={values['context_tokens']} must hold the largest of "
            f"chunk_sizes={list(sizes)}"
        )
    ratio = values.get("merge_ratio")
    if ratio is not None and not (isinstance(ratio, int | float) and 0 < ratio < 1):
        problems.append(f"{query_engine}: merge_ratio={ratio!r} must lie between 0 and 1")
    return problems


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
