"""The content of an experiment's MLflow runs: metrics, tables, figures and a description in Markdown.

The functions return plain values and file contents, which `dream.tracking.mlflow_runs` sends to MLflow. An unknown
value, such as a price, is left out, never 0.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas

from dream.comparison.comparison import (
    DEFAULT_METRIC,
    OFFLINE,
    Comparison,
    compare,
    default_metric,
)
from dream.comparison.human_agreement import Label
from dream.comparison.leaderboard_table import (
    leaderboard_of,
    verdict_of,
)
from dream.comparison.running_cost import running_cost
from dream.comparison.score_table import FACTORS, failures_of, means_of
from dream.errors import explain
from dream.models.planned_usage import plan_against_actual
from dream.records import ExperimentResult, Manifest, TrialResult, UsageRow, add_usage, known_sum
from dream.reporting.confirmed import confirmation_rows
from dream.reporting.figures import all_figures
from dream.reporting.report import failure_html, report_html
from dream.reporting.searched import steps_of
from dream.reporting.static_figures import save_static
from dream.settings import Settings
from dream.tables import question_table, results_table, tracebacks, trial_row

# The description shows this many rows of the leaderboard, if they fit into an MLflow tag; leaderboard.json has all.
NOTE_ROWS = 10
NOTE_LENGTH = 8000
_COUNTS = (
    "calls",
    "cached",
    "sent",
    "retried",
    "failed",
    "prompt_tokens",
    "completion_tokens",
    "estimated_tokens",
    "usd",
)
_USAGE_COLUMNS = ("endpoint", "model", "stage", *_COUNTS)


def try_to_compare(experiment: ExperimentResult, labels: Sequence[Label] = ()) -> tuple[Comparison | None, str]:
    """The comparison and "", or None and the reason why there is none."""
    try:
        return compare(experiment, default_metric(experiment), labels=labels), ""
    except Exception as error:  # noqa: BLE001 - results must be logged even if the comparison fails
        return None, explain(error)


def trial_metrics(result: TrialResult) -> dict[str, float]:
    """The MLflow metrics of a trial, without unknown values; MLflow groups charts by the part before a slash.

    The values that trials are compared by have no slash: the mean of each metric, latency, context tokens and running
    cost per question. `scored/<metric>` is the number of questions in a mean.
    """
    row, cost = trial_row(result), running_cost(result)
    summaries = result.evaluation.summaries() if result.evaluation else ()
    asked = {"questions/asked": row["n_questions"], "questions/unanswered": row["n_unanswered"]}
    asked["questions/judgements_failed"] = sum(summary.n_failed for summary in summaries) if summaries else None
    # MLflow's compare page draws the first metric
    means = means_of(result)  # as in the comparison: what the system itself failed counts 0
    numbers = {
        **{name: means[name] for name in sorted(means, key=lambda name: name != DEFAULT_METRIC)},
        "latency_seconds": row["latency_seconds"],
        "context_tokens": row["context_tokens"],
        "tokens_a_question": cost.tokens,
        "usd_a_question": cost.usd,
        **{
            f"scored/{summary.metric}": summary.n_scored + len(failures_of(result, summary.metric))
            for summary in summaries
        },
        **(asked if result.evaluation else {}),
        **_totals(result.usage),
        "trial/seconds": row["seconds"],
        "trial/nodes": row["nodes"],
        "trial/passages": row["passages"],
    }
    return _known(numbers)


def experiment_metrics(experiment: ExperimentResult, comparison: Comparison | None) -> dict[str, float]:
    """The MLflow metrics of a whole experiment, without unknown values."""
    numbers: dict[str, float | None] = {
        "trials": len(experiment.results),
        "trials_failed": sum(result.has_failed for result in experiment.results),
        "trials_stopped": sum(result.stopped_by_hand for result in experiment.results) or None,
        "trials_left_race": sum(result.left_race for result in experiment.results) or None,
        **_totals(experiment.usage),
    }
    if comparison is not None:
        numbers["trials_tied_with_best"] = len(comparison.tie_set)
        numbers[f"best/{comparison.metric}"] = comparison.best.mean
        numbers[f"recommended/{comparison.metric}"] = comparison.recommended.mean
        numbers[f"shrunken/{comparison.metric}"] = comparison.recommended.shrunken
        if comparison.confirmation is not None:
            numbers[f"held_out/{comparison.metric}"] = comparison.confirmation.recommended.held_out
            numbers[f"shrinkage/{comparison.metric}"] = comparison.confirmation.recommended.shrinkage
    return _known(numbers)


def trial_files(result: TrialResult, manifest: Manifest) -> dict[str, str | bytes]:
    """The artifacts of a trial's run by path: the table of questions, and the tracebacks of failures if any."""
    files: dict[str, str | bytes] = {}
    if result.evaluation is not None:
        files["questions.json"] = mlflow_table(question_table(result, manifest))
    if text := tracebacks(result):
        files["tracebacks.txt"] = text
    return files


def files_of(experiment: ExperimentResult, settings: Settings) -> dict[str, str | bytes]:
    """The artifacts of the parent run by path, without secrets, made in the process that runs the experiment.

    Figures are those of any other process, whatever matplotlib's settings are in this one.
    """
    import matplotlib

    secrets = settings.secrets()
    results, baselines, held_out = (
        tuple(result.redacted(secrets) for result in some)
        for some in (experiment.results, experiment.baselines, experiment.held_out)
    )
    experiment = replace(experiment, results=results, baselines=baselines, held_out=held_out)
    with matplotlib.rc_context():
        matplotlib.rc_file_defaults()
        return evidence_files(experiment, *try_to_compare(experiment))


def evidence_files(experiment: ExperimentResult, comparison: Comparison | None, why_not: str) -> dict[str, str | bytes]:
    """The artifacts of the parent run by path; those that end in .json are tables in MLflow's format."""
    tables = {"results.json": results_table(experiment)}
    if experiment.baselines:
        tables["baselines.json"] = pandas.DataFrame([trial_row(result) for result in experiment.baselines])
    if experiment.usage:
        tables["usage.json"] = usage_table(experiment.usage)
    if experiment.usage and experiment.manifest.plan:
        tables["plan_against_actual.json"] = plan_against_actual(experiment.manifest.plan, experiment.usage)
    if comparison is not None and comparison.confirmation is not None:
        tables["confirmation.json"] = pandas.DataFrame(confirmation_rows(comparison.confirmation))
    if comparison is not None and (steps := steps_of(experiment, comparison)):
        tables["search.json"] = pandas.DataFrame(map(asdict, steps))
    if comparison is not None:
        tables["leaderboard.json"] = leaderboard_of(comparison, experiment).reset_index()
        if comparison.calibration:
            tables["calibration.json"] = pandas.DataFrame(comparison.calibration.rows())
    files: dict[str, str | bytes] = {path: mlflow_table(table) for path, table in tables.items()}
    try:
        if comparison is None:
            files["report.html"] = failure_html(experiment, why_not)
        else:
            files["report.html"] = report_html(experiment, comparison)
            files |= _pictures(comparison, experiment)
    except Exception as error:  # noqa: BLE001 - tables must be logged even if a figure fails
        files["plots/error.txt"] = explain(error)
    return files


def usage_table(usage: Iterable[UsageRow]) -> pandas.DataFrame:
    """Model calls by endpoint, model and stage, summed over all trials; `usd` is missing if a price is unknown."""
    rows = add_usage(replace(row, trial="") for row in usage)
    return pandas.DataFrame([{name: getattr(row, name) for name in _USAGE_COLUMNS} for row in rows])


def mlflow_table(table: pandas.DataFrame) -> str:
    """A table as JSON in the format that MLflow's UI renders."""
    return str(table.to_json(orient="split", index=False, date_format="iso", default_handler=str))


def note(experiment: ExperimentResult, comparison: Comparison | None, why_not: str, links: Mapping[str, str]) -> str:
    """The description of the parent run in Markdown, at most `NOTE_LENGTH` characters.

    `links` has the URLs of runs by trial id, and of MLflow's compare page by "compare".
    """
    for rows in (NOTE_ROWS, NOTE_ROWS // 2, 0):
        text = _note(experiment, comparison, why_not, links, rows)
        if len(text) <= NOTE_LENGTH:
            return text
    return text[: NOTE_LENGTH - 1] + "…"


def _note(
    experiment: ExperimentResult, comparison: Comparison | None, why_not: str, links: Mapping[str, str], rows: int
) -> str:
    parts = [f"**{OFFLINE}**"] if experiment.manifest.offline else []
    if experiment.stopped:
        parts.append(f"**Not finished:** {experiment.stopped}")
    if comparison is None:
        parts.append(f"**No recommendation:** {why_not}")
    else:
        chosen = comparison.recommendation.trial
        parts.append(f"### Recommended: {_linked(chosen.name, links.get(chosen.id))}")
        said = [line for line in verdict_of(comparison).splitlines() if line != OFFLINE]
        parts.append("\n".join(said).replace("\n(", " (").replace("\n", "\n\n"))
    if "compare" in links:
        parts.append(f"[Compare all trials]({links['compare']}) in parallel coordinates.")
    if comparison is not None and rows:
        parts.append(_markdown(comparison, links, rows))
    failed = [(result.trial.name, result.failure) for result in experiment.results if result.failure]
    if failed:
        errors = "\n".join(f"- {name}: {failure.reason[:200]}" for name, failure in failed[:rows])
        parts.append(f"**{len(failed)} of {len(experiment.results)} trials without a result:**\n\n{errors}")
    return "\n\n".join(parts)


def _markdown(comparison: Comparison, links: Mapping[str, str], n_rows: int) -> str:
    """The first rows of the leaderboard as a Markdown table."""
    head = ("#", *FACTORS.values(), comparison.metric, "scored", "against the best")
    rows = []
    for row, standing in enumerate(comparison.standings[:n_rows]):
        factors = [getattr(standing.trial, factor) for factor in FACTORS]
        apart = standing.difference
        against = "best" if row == 0 else standing.why_not_ranked
        if apart is not None:
            against = f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
        mean = "" if standing.mean is None else f"{standing.mean:.3f}"
        scored = f"{standing.n_scored} of {standing.n_questions}"
        number = str(standing.rank or "-")
        rows.append([_linked(number, links.get(standing.trial.id)), *factors, mean, scored, against])
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
    left = len(comparison.standings) - len(rows)
    return f"{table}\n\n{left} more in leaderboard.json." if left > 0 else table


def _linked(text: str, url: str | None) -> str:
    return f"[{text}]({url})" if url else text


def _pictures(comparison: Comparison, experiment: ExperimentResult) -> dict[str, str | bytes]:
    pictures: dict[str, str | bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in all_figures(comparison, experiment).items():
            pictures[f"plots/{name}.png"] = save_static(figure, Path(folder) / f"{name}.png").read_bytes()
    return pictures


def _totals(usage: Sequence[UsageRow]) -> dict[str, float | None]:
    """Total model calls, tokens and paid USD; empty if no call was metered."""
    if not usage:
        return {}
    return {
        "cost/model_calls": sum(row.calls for row in usage),
        "cost/cached_calls": sum(row.cached for row in usage),
        "cost/tokens": sum(row.tokens for row in usage),
        "cost/usd": known_sum(row.usd for row in usage),
    }


def _known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {mlflow_name(name): float(value) for name, value in numbers.items() if value is not None}


def mlflow_name(metric: str) -> str:
    """A metric's name in the characters that MLflow allows.

    Example:
        >>> mlflow_name("recall@5"), mlflow_name("scored/höflich?")
        ('recall_at_5', 'scored/höflich_')
    """
    return re.sub(r"[^\w\-. :/]", "_", metric.replace("@", "_at_"))
