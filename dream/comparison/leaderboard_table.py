"""Tables and texts of a comparison: `leaderboard_of`, `comparison_text` and `verdict_of` render a `Comparison`.

`leaderboard`, `leaderboard_text` and `verdict` compare an experiment first.
"""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import pandas
from tabulate import tabulate

from dream.comparison.comparison import OFFLINE, Comparison, compare
from dream.comparison.ranking import SAME_SCORES, Standing
from dream.comparison.recommendation import in_code
from dream.comparison.score_table import FACTORS
from dream.defaults import FAILURE_SHARE
from dream.records import ExperimentResult
from dream.tables import trial_row

# Columns of the table in a terminal.
_TOKENS, _USD = "tokens per question", "USD per 1,000 questions"


def leaderboard(
    experiment: ExperimentResult, metric: str | None = None, failure_share: float = FAILURE_SHARE
) -> pandas.DataFrame:
    """A row per trial, the highest mean of `metric` first; unranked trials come last, with the reason.

    Columns: the three factors, `parameters` (those that tell trials of one name apart), the mean of every metric,
    `shrunken` (the mean of `metric`, shrunken by its noise, from 4 trials on; see `dream.comparison.shrinkage`),
    `scored` (scored questions of all, on `metric`), `difference` to the first row (mean over the questions that both
    trials have a score on) and its confidence interval `low`, `high`, of 95 % (after a race 97.5 %), simultaneous over
    all trials, in which a missing score counts as the worst and as the best, `interval by` (sign flips, or the
    replacement with its reason), `distinguishable` (the interval excludes 0), `in set` (true for the best trial and
    those not shown to be worse), `context tokens` and `latency s` (means per question), `tokens per question` (of the
    answering LLM, by which trials are recommended), `tokens` (all model calls of the trial), `USD per question`,
    `trial_id`, `not ranked` (the reason, or empty), `error`.

    Raises:
        ConfigurationError: for a metric that the experiment did not score, listing those it did.
        DataError: if no trial can be ranked on `metric`.
    """
    return leaderboard_of(compare(experiment, metric, failure_share=failure_share), experiment)


def leaderboard_of(comparison: Comparison, experiment: ExperimentResult) -> pandas.DataFrame:
    """The leaderboard of an existing comparison."""
    rows = [
        _row(trial_row(result), standing, comparison.metric, experiment.manifest.metrics)
        for standing, result in zip(comparison.standings, comparison.scores.results, strict=True)
    ]
    return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(rows) + 1, name="rank"))


def _row(row: Mapping[str, Any], standing: Standing, metric: str, metrics: Sequence[str]) -> dict[str, Any]:
    difference = standing.difference
    return {
        **{title: row[factor] for factor, title in FACTORS.items()},
        "parameters": standing.parameters,
        **{name: standing.means.get(name) for name in metrics},
        metric: standing.mean,
        "shrunken": standing.shrunken,
        "scored": f"{standing.n_scored} of {standing.n_questions}{_failed(standing)}",
        "difference": difference.mean if difference else None,
        "low": difference.low if difference else None,
        "high": difference.high if difference else None,
        "interval by": standing.interval_by,
        "distinguishable": bool(difference and difference.excludes_zero),
        "in set": standing.in_set,
        "context tokens": row["context_tokens"],
        "latency s": row["latency_seconds"],
        "tokens per question": standing.cost.tokens,
        "tokens": row["tokens"],
        "USD per question": standing.cost.usd,
        "trial_id": row["trial_id"],
        "not ranked": standing.why_not_ranked,
        "error": row["error"] or "",
    }


def _failed(standing: Standing) -> str:
    return f" ({standing.n_failed} failed, scored 0)" if standing.n_failed else ""


def leaderboard_text(table: pandas.DataFrame, experiment: ExperimentResult, metric: str | None = None) -> str:
    """The leaderboard for a terminal: a line per trial with its paired difference and interval, then `verdict`."""
    return comparison_text(compare(experiment, metric), table)


def comparison_text(comparison: Comparison, table: pandas.DataFrame) -> str:
    """A comparison for a terminal: a headline, the leaderboard `table` of `leaderboard_of`, then the verdict."""
    headline = (
        f"{comparison.name}: {len(comparison.standings)} trials, {comparison.n_questions} questions, "
        f"ranked by {comparison.metric}"
    )
    ended = comparison.ended_early
    rows = [
        _line(trial, comparison.metric, trial["trial_id"] in ended) for trial in table.reset_index().to_dict("records")
    ]
    usd = [row["USD per question"] for row in table.to_dict("records")]
    is_priced = any(not pandas.isna(each) and each > 0 for each in usd)
    empty = [name for name in ("parameters", "shrunken") if not any(row[name] for row in rows)]
    empty += [] if is_priced else [_USD]
    empty += [_TOKENS] if is_priced and not any(map(pandas.isna, usd)) else []  # what trials are not recommended by
    rows = [{name: value for name, value in row.items() if name not in empty} for row in rows]
    return "\n\n".join([headline, tabulate(rows, headers="keys", disable_numparse=True), verdict_of(comparison)])


def verdict(table: pandas.DataFrame, experiment: ExperimentResult, metric: str | None = None) -> str:
    """The verdict in sentences: the highest mean, the size of the tie set, the recommended trial, and the limits."""
    return verdict_of(compare(experiment, metric))


def verdict_of(comparison: Comparison) -> str:
    """The verdict of a comparison in sentences, one per line."""
    together, ranked = comparison.tie_set, comparison.ranked
    lines = [f"Highest mean: {in_code(comparison.best.trial, comparison.best.parameters)}."]
    if comparison.best.shrunken is not None and f"{comparison.best.shrunken:.3f}" != f"{comparison.best.mean:.3f}":
        lines.append(
            f"Its mean, {comparison.best.mean:.3f}, is the highest of {len(ranked)} and so partly luck; shrunken by "
            f"the estimated luck, it is {comparison.best.shrunken:.3f}."
        )
    if len(together) > 1:
        lines.append(
            f"{len(together)} of {len(ranked)} trials are statistically indistinguishable from the best on these "
            f"questions, itself included: ranks {', '.join(str(standing.rank) for standing in together)}\n"
            f"({100 * comparison.confidence:g} % confidence: a model confidence set by sign flips of whole documents)."
        )
    if comparison.recommendation.doubt:
        lines.append(f"Not settled: {comparison.recommendation.doubt}")
    so_far = " so far" if comparison.recommendation.doubt else ""
    confirmed = f" {comparison.confirmation.text}" if comparison.confirmation else ""
    lines.append(f"Recommended{so_far}: {comparison.recommendation.reason}.{confirmed}")
    matters = [effect.factor for effect in comparison.effects.factors if effect.matters]
    if comparison.effects.factors:
        lines.append(f"Factors shown to matter: {', '.join(matters) or 'none'}.")
    if comparison.power:
        lines.append(comparison.power.text)
    lines += [noise.text for noise in comparison.noise]
    lines += [
        f"{in_code(each.trial, each.parameters)}: {comparison.losses[each.trial.id].text}"
        for each in {each.trial.id: each for each in (comparison.best, comparison.recommended)}.values()
        if each.trial.id in comparison.losses
    ]
    lines += [comparison.calibration.text] if comparison.calibration else []
    lines += comparison.notes
    if comparison.offline:
        lines.append(OFFLINE)
    return "\n".join(lines)


def _line(row: Mapping[str, Any], metric: str, ended_early: bool) -> dict[str, Any]:
    interval_text = (
        "" if pandas.isna(row["low"]) else f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    )
    if row["interval by"] == SAME_SCORES:
        interval_text = SAME_SCORES
    return {
        "#": "-" if row["not ranked"] else row["rank"],
        **{title: row[title] for title in FACTORS.values()},
        "parameters": row["parameters"],
        metric: ("–" if ended_early else "failed") if pandas.isna(row[metric]) else f"{row[metric]:.3f}",
        "shrunken": "" if pandas.isna(row["shrunken"]) else f"{row['shrunken']:.3f}",
        "scored": "–" if ended_early else row["scored"],
        "against the best": interval_text or shorten(row["not ranked"], 90, placeholder=" ...") or "best",
        "tied": "yes" if row["in set"] else "",
        "context": "" if pandas.isna(row["context tokens"]) else f"{row['context tokens']:.0f} tok",
        "latency": "" if pandas.isna(row["latency s"]) else f"{row['latency s']:.2f} s",
        _USD: "" if pandas.isna(row["USD per question"]) else f"{1000 * row['USD per question']:,.2f}",
        _TOKENS: "" if pandas.isna(row[_TOKENS]) else f"{row[_TOKENS]:,.0f}",
    }
