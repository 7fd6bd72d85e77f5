"""Metrics by name: lookups, checks, and explanations as tables."""

import re
from collections.abc import Iterable, Sequence

from dream.errors import ConfigurationError, bullets
from dream.metrics.built_in import DEFINITIONS, METRICS
from dream.metrics.definition import Metric

_CUTOFF = re.compile(r"(?P<name>[^@]+)@(?P<cutoff>[1-9]\d*)")
EXPLANATION_COLUMNS = ("metric", "asks", "computed as", "range", "a low value points at")


def find_metric(name: str) -> Metric:
    """The definition of a metric; of a retrieval metric also with a cutoff, such as `recall@5`.

    Raises:
        ConfigurationError: for an unknown name, with the valid ones.
    """
    if (metric := _found(name)) is None:
        raise ConfigurationError(f"unknown metric {name!r}; valid: {valid_names()}")
    return metric


def _found(name: str) -> Metric | None:
    if name in DEFINITIONS:
        return DEFINITIONS[name]
    parts = _CUTOFF.fullmatch(name)
    metric = DEFINITIONS.get(parts["name"]) if parts else None
    return metric.at(int(parts["cutoff"])) if parts and metric and metric.has_cutoff else None


def definition_of(name: str) -> Metric:
    """`find_metric`; of an unknown metric, as in an experiment of another version, one that says so."""
    unknown = Metric(name, "unknown", "unknown: its definition is not at hand", "unknown", (), range="unknown")
    return _found(name) or unknown


def is_judged(name: str) -> bool:
    """True if a metric asks the judge LLM, so that repeated judgements may differ; an unknown metric may."""
    metric = _found(name)
    return metric is None or metric.judged


def metric_names() -> list[str]:
    """The names of all metrics, without those with a cutoff."""
    return list(DEFINITIONS)


def valid_names() -> str:
    """All names that can be chosen, for messages."""
    with_cutoff = [name for name, metric in DEFINITIONS.items() if metric.has_cutoff]
    others = [name for name in metric_names() if name not in with_cutoff]
    return f"{', '.join(others)}, and {', '.join(with_cutoff)}, also with a number of passages as in recall@5"


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


def explanation_rows(metrics: Iterable[str] = METRICS) -> list[tuple[str, ...]]:
    """A row of texts per metric, with the columns `EXPLANATION_COLUMNS`."""
    chosen = map(definition_of, metrics)
    return [(metric.name, metric.question, metric.meaning, metric.range, metric.low_value) for metric in chosen]


def explanation_table(metrics: Iterable[str] = METRICS) -> str:
    """`explanation_rows` as a Markdown table."""
    rows = [(f"`{name}`", *texts) for name, *texts in explanation_rows(metrics)]
    lines = [EXPLANATION_COLUMNS, ["---"] * len(EXPLANATION_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
