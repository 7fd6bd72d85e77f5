"""Metrics by name: lookups, checks, and explanations as tables."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dream.errors import ConfigurationError, bullets, explain
from dream.metrics.built_in import DEFINITIONS, METRICS
from dream.metrics.definition import Metric

_CUTOFF = re.compile(r"(?P<name>[^@]+)@(?P<cutoff>[1-9]\d*)")
_OWN: dict[str, Metric] = {}
# The retrieval metrics, which may have a cutoff.
METRICS_WITH_CUTOFF = tuple(name for name, metric in DEFINITIONS.items() if metric.has_cutoff)
EXPLANATION_COLUMNS = ("metric", "asks", "computed as", "range", "causes of a low value")


def register(metric: Metric) -> Metric:
    """Register a user's metric in this process; one of the same name is replaced."""
    _OWN[metric.name] = metric
    return metric


def own_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The user-defined ones among these metrics, with their functions."""
    return tuple(_OWN[name] for name in names if name in _OWN)


def known_again(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """An experiment's user-defined metrics that are registered in this process. Rubrics and criteria need no function,
    so missing ones are registered."""
    metrics = tuple(metrics)
    for metric in metrics:
        if metric.name not in _OWN and (metric.rubric or metric.criterion):
            register(metric)
    return own_metrics(metric.name for metric in metrics)


def names_of(metrics: Iterable[Any]) -> tuple[str, ...]:
    """The names of metrics, each given as a name, as `module:name` (the module is imported, also from the working
    directory), as a `Metric`, as a registered function, or as a mapping that describes a rubric or an aspect
    (`dream.metrics.described`).

    Raises:
        ConfigurationError: for a module that cannot be imported, or has no such metric; or for mistakes in a
            description.
    """
    return tuple(_name(metric) for metric in metrics)


def _name(metric: Any) -> str:
    if isinstance(metric, str):
        return _name(_imported(metric)) if ":" in metric else metric
    if isinstance(metric, Metric):
        return metric.name
    if isinstance(metric, Mapping):
        from dream.metrics.described import described_metric  # which registers here

        return described_metric(metric).name
    of_function = (name for name, own in _OWN.items() if own.function and own.function.value is metric)
    return next(of_function, getattr(metric, "__name__", str(metric)))


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        value = getattr(import_module(module), name, None)
    except Exception as error:
        raise ConfigurationError(f"metric {path!r}: {module} cannot be imported: {explain(error)}") from error
    if value is None or _name(value) not in _OWN:
        raise ConfigurationError(f"metric {path!r}: {module} has no metric {name!r}, made by @metric, rubric or "
                                 "aspect_critic")  # fmt: skip
    return value


def find_metric(name: str) -> Metric:
    """The definition of a metric; retrieval metrics may have a cutoff, such as `recall@5`.

    Raises:
        ConfigurationError: for an unknown name, with the valid ones.
    """
    if (metric := _found(name)) is None:
        raise ConfigurationError(f"unknown metric {name!r}; valid: {valid_names()}")
    return metric


def _found(name: str) -> Metric | None:
    if name in DEFINITIONS or name in _OWN:
        return DEFINITIONS.get(name) or _OWN[name]
    parts = _CUTOFF.fullmatch(name)
    metric = DEFINITIONS.get(parts["name"]) if parts else None
    return metric.at(int(parts["cutoff"])) if parts and metric and metric.has_cutoff else None


def is_metric(name: str) -> bool:
    """True for the name of a known metric."""
    return _found(name) is not None


def definition_of(name: str, own: Iterable[Metric] = ()) -> Metric:
    """The definition of a metric in an experiment.

    Args:
        own: the experiment's own metrics (`Manifest.own_metrics`), which need not be registered here.

    Returns:
        The definition; a placeholder if the metric is unknown, as in an experiment of another version.
    """
    unknown = Metric(name, "unknown", "unknown: its definition is unavailable", "unknown", (), range="unknown")
    return next((metric for metric in own if metric.name == name), None) or _found(name) or unknown


def is_judged(name: str, own: Iterable[Metric] = ()) -> bool:
    """True if a metric uses the judge LLM, so that repeated judgements may differ; also True for an unknown metric.

    Args:
        own: as in `definition_of`.
    """
    metric = definition_of(name, own)
    return metric.judged or not metric.arguments


def metric_names() -> list[str]:
    """The names of all metrics, without those with a cutoff."""
    return [*DEFINITIONS, *_OWN]


def valid_names() -> str:
    """All valid names, for messages."""
    others = [name for name in metric_names() if name not in METRICS_WITH_CUTOFF]
    return f"{', '.join(others)}, and {', '.join(METRICS_WITH_CUTOFF)}, also with a number of passages as in recall@5"


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise a ConfigurationError that names every unknown and every repeated metric; for an empty list too."""
    problems = [f"{name!r} is unknown" for name in dict.fromkeys(metrics) if _found(name) is None]
    problems += [f"{name!r} is named {metrics.count(name)} times" for name in dict.fromkeys(metrics)
                 if metrics.count(name) > 1]  # fmt: skip
    if not metrics:
        problems = ["none is named"]
    if problems:
        headline = f"metrics={list(metrics)}: name each at most once, of: {valid_names()}"
        raise ConfigurationError(bullets(headline, problems))


def explanation_rows(metrics: Iterable[str] = METRICS, own: Iterable[Metric] = ()) -> list[tuple[str, ...]]:
    """A row of texts per metric, with the columns `EXPLANATION_COLUMNS`; `own` as in `definition_of`."""
    own = tuple(own)
    chosen = [definition_of(name, own) for name in metrics]
    return [(metric.name, metric.question, metric.meaning, metric.range, metric.low_value) for metric in chosen]


def explanation_table(metrics: Iterable[str] = METRICS) -> str:
    """`explanation_rows` as a Markdown table."""
    rows = [(f"`{name}`", *texts) for name, *texts in explanation_rows(metrics)]
    lines = [EXPLANATION_COLUMNS, ["---"] * len(EXPLANATION_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
