"""The search space: a grid of trials, validated before anything runs."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.models.pickers import check_identifiers
from dream.rag.methods import RAG_METHODS
from dream.rag.own_systems import service_problem
from dream.rag.parameters import DEFAULT, LLM, NONE, is_sequence
from dream.rag.products import shown
from dream.rag.registry import RagMethod
from dream.records import Trial
from dream.settings import Settings

# The methods of the article, which are the default.
DEFAULT_METHODS = ("chunks_with_overlap", "sentence_window", "hierarchical_automerging")


@dataclass(frozen=True)
class SearchSpace:
    """The grid of trials to run: every combination of RAG method, LLM, embedding model and parameter values.

    Args:
        query_engines: RAG methods, names in `dream.rag.methods.RAG_METHODS`.
        llms, embed_models: model identifiers (see `dream.models.pickers`).
        parameters: `{RAG method: {parameter: value or list of values}}`; a list makes one trial per value. Other
            parameters have their defaults. `Trial.parameters` leaves out shared factors (query_transform, reranker,
            prompt, ...) at their defaults.
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
        return self.unchecked_trials()

    def unchecked_trials(self) -> tuple[Trial, ...]:
        """`trials`, for a space without `problems`."""
        grid = itertools.product(self.query_engines, self.llms, self.embed_models)
        combinations = (
            trial_of(name, llm, embed_model, values)
            for name, llm, embed_model in grid
            for values in self._parameter_sets(name)
        )
        trials = {trial.id: trial for trial in combinations}  # parameters without effect create no second trial
        kept = tuple(trial for trial in trials.values() if not any(matches(trial, rule) for rule in self.exclude))
        if not kept:
            raise ConfigurationError(f"exclude={list(self.exclude)} excludes all {len(trials)} trials")
        return kept

    def _parameter_sets(self, query_engine: str) -> list[dict[str, Any]]:
        choices = choices_of(RAG_METHODS[query_engine], self.parameters.get(query_engine, {}))
        return [dict(zip(choices, combination, strict=True)) for combination in itertools.product(*choices.values())]

    def _shown_parameter_sets(self, query_engine: str) -> Iterator[dict[str, Any]]:
        """`_parameter_sets`, or a sample with each value if there are very many."""
        choices = choices_of(RAG_METHODS[query_engine], self.parameters.get(query_engine, {}))
        return (dict(zip(choices, combination, strict=True)) for combination in shown(list(choices.values())))

    def problems(self, settings: Settings | None = None) -> list[str]:
        """A message for each mistake in the choices."""
        problems = [*self._list_problems(), *self._method_problems(), *self._parameter_problems()]
        problems += self._exclude_problems()
        if settings is not None:
            problems += check_identifiers(self.models_asked(), settings)
            problems += [problem for method in self._known() if (problem := service_problem(method, settings))]
        return problems

    def models_asked(self) -> list[str]:
        """The identifiers of all models that the trials call."""
        known = self._known()
        all_need = len(known) < len(_names(self.query_engines))  # the needs of an unknown method are unknown
        llms = self.llms if all_need or any(method.needs_llm for method in known) else ()
        embed_models = self.embed_models if all_need or any(method.needs_vectors for method in known) else ()
        named = (*self._named("reranker", NONE, LLM), *self._named("context_llm", DEFAULT))
        return [*llms, *embed_models, *named]

    def _known(self) -> list[RagMethod]:
        return [RAG_METHODS[name] for name in _names(self.query_engines) if name in RAG_METHODS]

    def _named(self, parameter: str, *others: str) -> list[str]:
        """The model identifiers among a parameter's values; `others` are values that name no model."""
        chosen = [_choices(of[parameter], is_sequence=False) for of in self.parameters.values() if parameter in of]
        names = itertools.chain.from_iterable(chosen)
        return [name for name in names if isinstance(name, str) and name not in others]

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
            method = RAG_METHODS[query_engine]
            if query_engine not in self.query_engines:
                problems.append(f"parameters are given for {query_engine}, which is not in query_engines")
            unknown = [name for name in chosen if name not in method.all_defaults]
            problems += [
                f"{query_engine} has no parameter {name!r}; valid: {', '.join(method.all_defaults)}" for name in unknown
            ]
            known = SearchSpace((), (), (), {query_engine: {k: v for k, v in chosen.items() if k not in unknown}})
            by_values = [method.problems(values) for values in known._shown_parameter_sets(query_engine)]
            problems += _names(itertools.chain.from_iterable(by_values))
        return problems

    def _exclude_problems(self) -> list[str]:
        valid = {"query_engine_identifier", "llm_identifier", "embed_model_identifier"}
        for method in RAG_METHODS.values():
            valid |= set(method.all_defaults)
        return [
            f"exclude names {key!r}, which no trial has; valid: {', '.join(sorted(valid))}"
            for rule in self.exclude
            for key in rule
            if key not in valid
        ]


def default_search_space(settings: Settings) -> SearchSpace:
    """The RAG methods of the article with the LLMs and embedding models of the settings: 3 x 2 x 2 trials by
    default."""
    return SearchSpace(DEFAULT_METHODS, settings.llms, settings.embed_models)


def trial_of(name: str, llm: str, embed_model: str, values: Mapping[str, Any]) -> Trial:
    """A trial, without models that its method does not need."""
    method = RAG_METHODS[name]
    return Trial(
        name,
        llm if method.needs_llm else "",
        embed_model if method.needs_vectors else "",
        method.recorded(values),
    )


def _names(values: Iterable[str]) -> list[str]:
    """The distinct values in order; a bare string is one value."""
    return [values] if isinstance(values, str) else list(dict.fromkeys(values))


def choices_of(method: RagMethod, given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The values to try for each parameter of a method: the given ones, and the defaults of its other parameters."""
    merged = {**method.defaults, **given}
    return {name: tuple(_choices(value, is_sequence(method.parameters, name))) for name, value in merged.items()}


def _choices(value: Any, is_sequence: bool) -> list[Any]:
    """The values of one parameter: the items of a list, unless the parameter's value itself is a list."""
    if not is_sequence:
        return list(value) if isinstance(value, list) else [value]
    nested = isinstance(value, list) and all(isinstance(item, list | tuple) for item in value)
    values = value if nested else [value]
    return [tuple(item) if isinstance(item, list) else item for item in values]


def matches(trial: Trial, rule: Mapping[str, Any]) -> bool:
    """True if a trial has all values of a rule of a `SearchSpace`."""
    config = full_config(trial)
    return all(key in config and config[key] == value for key, value in rule.items())


def full_config(trial: Trial) -> dict[str, Any]:
    """A trial's configuration, including shared factors at their defaults."""
    return {**RAG_METHODS[trial.query_engine_identifier].all_defaults, **trial.config()}
