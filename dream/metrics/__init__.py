"""Definitions of the metrics, for all packages; `dream.evaluation` computes them."""

from dream.metrics.built_in import DEFINITIONS as DEFINITIONS, METRICS as METRICS
from dream.metrics.definition import Metric as Metric
from dream.metrics.described import described_metric as described_metric
from dream.metrics.own import (
    NotApplicable as NotApplicable,
    aspect_critic as aspect_critic,
    metric as metric,
    rubric as rubric,
)
from dream.metrics.registry import (
    EXPLANATION_COLUMNS as EXPLANATION_COLUMNS,
    METRICS_WITH_CUTOFF as METRICS_WITH_CUTOFF,
    check_metrics as check_metrics,
    definition_of as definition_of,
    explanation_rows as explanation_rows,
    explanation_table as explanation_table,
    find_metric as find_metric,
    is_judged as is_judged,
    is_metric as is_metric,
    known_again as known_again,
    metric_names as metric_names,
    names_of as names_of,
    own_metrics as own_metrics,
    register as register,
    valid_names as valid_names,
)

# The built-in metrics without a judge.
COMPUTED = tuple(name for name, metric in DEFINITIONS.items() if not metric.judged)
