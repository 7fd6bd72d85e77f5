"""Trial results become a leaderboard: means with their counts, and paired differences with an interval.

The intervals are each trial's own (paired t, by question); they are not corrected for having picked the best of many.
"""

from collections.abc import Mapping
from typing import Any

import numpy
import pandas
from scipy import stats
from tabulate import tabulate

from dream.errors import ConfigurationError, DataError
from dream.records import ExperimentResult, TrialResult
from dream.results import trial_row

DEFAULT_METRIC = "answer_correctness"
CONFIDENCE = 0.95
KNOBS = {"query_engine_identifier": "RAG method", "llm_identifier": "LLM", "embed_model_identifier": "embedding model"}


def leaderboard(experiment: ExperimentResult, metric: str = DEFAULT_METRIC) -> pandas.DataFrame:
    """One row a trial, the highest mean of `metric` first; trials without a score come last, with their error.

    Columns: the three knobs, every metric's mean, `scored` (questions scored of all, on `metric`),
    `difference` to the first row (mean over the questions that both have) and its 95 % interval `low`, `high`,
    `told apart` (the interval excludes 0), `context tokens`, `latency s`, `tokens`, `error`.

    Raises:
        ConfigurationError: for a metric that the experiment did not score, listing those it did.
        DataError: if no trial has a score on `metric`.
    """
    metrics = list(experiment.manifest["metrics"])
    if metric not in metrics:
        valid = ", ".join(metrics)
        raise ConfigurationError(f"metric={metric!r} was not scored in {experiment.name!r}; valid: {valid}")
    trials = [trial_row(result) for result in experiment.results]
    means = [-numpy.inf if trial.get(metric) is None else trial[metric] for trial in trials]
    if max(means, default=-numpy.inf) == -numpy.inf:
        raise DataError(f"no trial of {experiment.name!r} has a score on {metric}; errors: {_errors(experiment)}")
    order = sorted(range(len(means)), key=lambda i: -means[i])
    best = experiment.results[order[0]]
    rows = [_row(trials[i], experiment.results[i], best, metric, metrics) for i in order]
    return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(rows) + 1, name="rank"))


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float, float]:
    """Mean of `first - second` over the questions in both, with its 95 % interval (paired t).

    The interval is NaN with fewer than two common questions.

    Example:
        >>> paired_difference({"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 0.0})
        (0.5, 0.5, 0.5)
    """
    common = [question for question in first if question in second]
    differences = numpy.array([first[question] - second[question] for question in common])
    if len(differences) < 2:
        return (float(differences.mean()) if len(differences) else numpy.nan, numpy.nan, numpy.nan)
    mean, error = float(differences.mean()), float(stats.sem(differences))
    if error == 0:
        return mean, mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, loc=mean, scale=error)
    return mean, float(low), float(high)


def scores_of(result: TrialResult, metric: str) -> dict[str, float]:
    """A trial's scores on a metric by question id, without the failed ones."""
    if result.evaluation is None:
        return {}
    scores = [score for score in result.evaluation.scores if score.metric == metric]
    return {score.question_id: score.value for score in scores if score.value is not None}


def _row(
    row: Mapping[str, Any], result: TrialResult, best: TrialResult, metric: str, metrics: list[str]
) -> dict[str, Any]:
    difference, low, high = paired_difference(scores_of(result, metric), scores_of(best, metric))
    is_best = result.trial.id == best.trial.id
    return {
        **{title: row[knob] for knob, title in KNOBS.items()},
        **{name: row.get(name) for name in metrics},
        "scored": f"{len(scores_of(result, metric))} of {int(row['n_questions'])}",
        "difference": None if is_best else difference,
        "low": None if is_best else low,
        "high": None if is_best else high,
        "told apart": False if is_best else bool(low > 0 or high < 0),
        "context tokens": row["context_tokens"],
        "latency s": row["latency_seconds"],
        "tokens": row["tokens"],
        "trial_id": result.trial.id,
        "error": result.error or "",
    }


def _errors(experiment: ExperimentResult) -> str:
    found = dict.fromkeys(result.error for result in experiment.results if result.error)
    return "; ".join(error for error in list(found)[:3] if error) or "every question failed"


def leaderboard_text(table: pandas.DataFrame, experiment: ExperimentResult, metric: str = DEFAULT_METRIC) -> str:
    """The leaderboard for a terminal: one line a trial with its paired interval, then `verdict`."""
    headline = f"{experiment.name}: {len(table)} trials, {_n_questions(experiment)} questions, ranked by {metric}"
    rows = [_line(trial, metric) for trial in _rows(table)]
    return "\n\n".join(
        [headline, tabulate(rows, headers="keys", disable_numparse=True), verdict(table, experiment, metric)]
    )


def verdict(table: pandas.DataFrame, experiment: ExperimentResult, metric: str = DEFAULT_METRIC) -> str:
    """What the leaderboard says, in sentences: the highest mean, and the trials that cannot be told apart from it."""
    trials = _rows(table)
    best = trials[0]
    lines = [f"Highest mean: {best['RAG method']} + {best['LLM']} + {best['embedding model']}."]
    together = [trial["rank"] for trial in trials if not trial["told apart"] and pandas.notna(trial[metric])]
    if len(together) > 1:
        lines.append(
            f"{len(together)} of {len(table)} trials cannot be told apart from the best on these questions, "
            f"itself included: ranks {', '.join(map(str, together))}\n"
            "(their paired 95 % interval includes 0; it is not corrected for having picked the best of many)."
        )
    failed = sum(pandas.isna(trial[metric]) for trial in trials)
    if failed:
        lines.append(f"{failed} of {len(table)} trials have no score; their errors are in the table.")
    if experiment.manifest["offline"]:
        lines.append("Offline models: this shows how DREAM works; the scores say nothing about a real LLM.")
    return "\n".join(lines)


def _rows(table: pandas.DataFrame) -> list[dict[str, Any]]:
    return table.reset_index().to_dict("records")


def _line(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    interval = "" if pandas.isna(row["low"]) else f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return {
        "#": row["rank"],
        **{title: row[title] for title in KNOBS.values()},
        metric: "failed" if pandas.isna(row[metric]) else f"{row[metric]:.3f}",
        "scored": row["scored"],
        "against the best": interval or ("best" if row["rank"] == 1 else row["error"][:60]),
        "context": "" if pandas.isna(row["context tokens"]) else f"{row['context tokens']:.0f} tok",
        "latency": "" if pandas.isna(row["latency s"]) else f"{row['latency s']:.2f} s",
        "tokens": f"{row['tokens']:,}",
    }


def _n_questions(experiment: ExperimentResult) -> int:
    return len(experiment.manifest["golden_dataset"]["questions"])
