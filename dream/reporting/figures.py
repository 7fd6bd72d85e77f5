"""Figures of an experiment, by plotly; `static_figures.save_static` writes any of them as PNG or SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import pandas

from dream.comparison.comparison import Comparison
from dream.comparison.factor_effects import LevelEffect
from dream.comparison.ranking import Standing
from dream.comparison.score_table import FACTORS, check_metric
from dream.errors import DataError
from dream.records import ExperimentResult
from dream.reporting.figure_style import (
    APART,
    CHOSEN,
    LINE,
    NAMES_UP_TO,
    OFFLINE_NOTE,
    TIED,
    Caption,
    error_bars,
    rank_axis,
    short_name,
    titled,
)
from dream.reporting.searched import best_so_far, steps_of
from dream.tables import results_table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# The smallest range of an axis of means, in score points.
LEAST_SPAN = 0.1


def parallel_coordinates(experiment: ExperimentResult, metric: str = "answer_correctness") -> "Figure":
    """A line per trial through its factors and metric means, coloured by `metric`; unscored trials are left out.

    Raises:
        ConfigurationError: for a metric that the experiment did not score.
        DataError: if no trial has a score on `metric`.
    """
    from plotly import graph_objects

    check_metric(experiment, metric)
    table = results_table(experiment)
    scored = table[table[metric].notna()] if metric in table else table[:0]
    shown = pandas.DataFrame(scored).sort_values(metric, ascending=False, kind="stable") if len(scored) else scored
    if shown.empty:
        raise DataError(f"no trial of {experiment.name!r} has a score on {metric}, so there is nothing to draw")
    metrics = experiment.manifest.metrics
    scored_on = [name for name in metrics if name in shown and not pandas.isna(shown[name]).all()]
    axes = [_choice_axis(list(shown[factor]), title) for factor, title in FACTORS.items()]
    axes += [_metric_axis(list(shown[name].astype(float)), name) for name in scored_on]
    colour = {
        "color": shown[metric].astype(float),
        "colorscale": "Cividis",
        "showscale": True,
        "colorbar": {"title": {"text": metric.replace("_", " "), "side": "right"}},
    }
    figure = graph_objects.Figure(graph_objects.Parcoords(dimensions=axes, line=colour, labelangle=-20))
    left_out = f", {len(table) - len(shown)} without a mean left out" if len(shown) < len(table) else ""
    sentence = f"each line is one of {len(shown)} trials{left_out} (metrics: means, 0 to 1)"
    caption = Caption(experiment.name, sentence, (OFFLINE_NOTE,) if experiment.manifest.offline else ())
    return figure.update_layout(height=520, margin={"l": 170, "r": 60, "t": 170, "b": 40}, **caption.layout())


def forest(comparison: Comparison) -> "Figure":
    """Forest plot: the difference of each ranked trial to the best with its confidence interval."""
    from plotly import graph_objects

    tied = [standing for standing in comparison.tie_set if standing is not comparison.recommended]
    groups = {
        "statistically indistinguishable from the best": (TIED, "circle", tied),
        "shown to be worse": (
            APART,
            "circle-open",
            [standing for standing in comparison.ranked if not standing.in_set],
        ),
        "recommended": (CHOSEN, "star", [comparison.recommended]),
    }
    few = len(comparison.ranked) <= NAMES_UP_TO
    traces = [_interval_trace(name, *group, few=few) for name, group in groups.items() if group[2]]
    figure = graph_objects.Figure(traces)
    figure.add_vline(x=0, line_color=LINE, line_width=1)
    sentence = (
        f"{len(comparison.tie_set)} of {len(comparison.ranked)} trials are statistically indistinguishable "
        f"from the best on {comparison.metric}"
    )
    percent = f"{100 * comparison.confidence:g} %"
    note = f"lines: {percent} confidence intervals of the paired difference, simultaneous over all trials"
    names = [short_name(standing) for standing in comparison.ranked] if few else None
    rank_axis(figure, len(comparison.ranked), names)
    figure.update_xaxes(title=f"difference to the best trial in {comparison.metric} (score points, 0 to 1)")
    return titled(figure, sentence, note, comparison, height=240 + 26 * len(comparison.ranked) if few else 900)


def pareto(comparison: Comparison) -> "Figure":
    """Mean score against cost per question, coloured by latency; trials on the Pareto front show their rank.

    The cost is in `comparison.cost_unit`; trials without a known cost are left out.
    """
    from plotly import graph_objects

    priced = [standing for standing in comparison.ranked if _cost(standing, comparison) is not None]
    front = [standing for standing in priced if standing.on_front]
    others = [standing for standing in priced if not standing.on_front]
    traces = [
        _cost_trace("dominated by another trial", others, comparison, _latency_marker(others, priced, front=False)),
        _cost_trace("on the Pareto front, with rank", front, comparison, _latency_marker(front, priced, front=True)),
        _cost_trace(
            "recommended",
            [standing for standing in priced if standing is comparison.recommended],
            comparison,
            {"symbol": "circle-open", "size": 22, "color": CHOSEN, "line": {"width": 3, "color": CHOSEN}},
        ),
    ]
    traces[1].update(mode="markers+text", text=[f"{standing.rank}" for standing in front], textposition="top right")
    figure = graph_objects.Figure([trace for trace in traces if len(trace.x)])
    costs = [_cost(standing, comparison) or 0.0 for standing in priced]
    if costs and min(costs) > 0 and max(costs) > 5 * min(costs):
        ticks = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if min(costs) / 2 <= tick <= max(costs) * 2]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    unit = "USD per 1,000 questions" if comparison.cost_unit == "USD" else "tokens per question"
    figure.update_xaxes(title=f"running cost ({unit})", rangemode="tozero")
    figure.update_yaxes(title=f"mean {comparison.metric} (0 to 1)", tickformat=".2f")
    means = [standing.mean for standing in priced if standing.mean is not None]
    if means and max(means) - min(means) < LEAST_SPAN:  # small differences look small, and ticks have labels
        middle = (max(means) + min(means)) / 2
        figure.update_yaxes(range=[middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2])
    sentence = f"{len(front)} of {len(priced)} trials are on the Pareto front of quality, cost and latency"
    unknown = len(comparison.ranked) - len(priced)
    note = "on the front: no other trial is at least as good in all three and better in one"
    note += f"; {unknown} trial(s) without a known cost are left out" if unknown else ""
    return titled(figure, sentence, note, comparison, height=620)


def heat_map(comparison: Comparison) -> "Figure":
    """All scores, trials (by rank) x questions (by mean score, the easiest on the left); a missing score is white."""
    from plotly import graph_objects

    values = comparison.scores.values
    scored = numpy.maximum((~numpy.isnan(values)).sum(1), 1)
    order = numpy.argsort(-numpy.nansum(values, 1) / scored, kind="stable")
    ids = [comparison.scores.question_ids[row] for row in order]
    names = [short_name(standing) for standing in comparison.standings]
    figure = graph_objects.Figure(
        graph_objects.Heatmap(
            z=values[order].T,
            x=list(range(1, len(ids) + 1)),
            y=list(range(1, len(names) + 1)),
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            colorbar={"title": {"text": comparison.metric.replace("_", " "), "side": "right"}},
            customdata=[[f"{question}: {name}" for question in ids] for name in names],
            hovertemplate="%{customdata}<br>%{z:.2f}<extra></extra>",
            hoverongaps=False,
        )
    )
    few = len(names) <= NAMES_UP_TO
    rank_axis(figure, len(names), names if few else None)
    figure.update_xaxes(title="questions, the hardest on the right", showgrid=False)
    figure.update_yaxes(showgrid=False)
    gaps = int(numpy.isnan(values).sum())
    sentence = f"scores of {len(names)} trials on {len(ids)} questions"
    note = f"one cell is one score, 0 to 1; white: {gaps} missing" if gaps else "one cell is one score, 0 to 1"
    return titled(figure, sentence, note, comparison, height=240 + 26 * len(names) if few else 800)


def main_effects(comparison: Comparison) -> "Figure":
    """The main effect of each level of each factor with its 95 % confidence interval, factors by share of variance."""
    from plotly import graph_objects

    effects = comparison.effects
    shown = [level for level in effects.levels if level.effect.excludes_zero]
    rest = [level for level in effects.levels if not level.effect.excludes_zero]
    rows = {id(level): row for row, level in enumerate(effects.levels, 1)}
    figure = graph_objects.Figure(
        [
            _effect_trace(name, colour, symbol, levels, [rows[id(level)] for level in levels])
            for name, colour, symbol, levels in (
                ("shown to differ from the average", TIED, "circle", shown),
                ("statistically indistinguishable from the average", APART, "circle-open", rest),
            )
            if levels
        ]
    )
    figure.add_vline(x=0, line_color=LINE, line_width=1)
    rank_axis(figure, len(effects.levels), [f"{level.factor}: {level.level}" for level in effects.levels])
    figure.update_yaxes(title="")
    figure.update_xaxes(title=f"difference to the mean of all trials in {comparison.metric} (score points, 0 to 1)")
    matter = [factor.factor for factor in effects.factors if factor.matters]
    sentence = f"factors shown to matter for {comparison.metric}: {', '.join(matter) or 'none'}"
    shares = ", ".join(f"{factor.factor} {factor.share:.0%}" for factor in effects.factors)
    note = f"share of the variance between trials: {shares}" if shares else " ".join(effects.notes)
    return titled(figure, sentence, note, comparison, height=260 + 26 * len(effects.levels))


def all_figures(comparison: Comparison, experiment: ExperimentResult) -> "dict[str, Figure]":
    """All figures by file name; `parallel_coordinates` only if the comparison is on a single metric, `search` only for
    a search in rounds."""
    figures = {
        "forest": forest(comparison),
        "pareto": pareto(comparison),
        "heat_map": heat_map(comparison),
        "main_effects": main_effects(comparison),
    }
    if comparison.metric in experiment.manifest.metrics:
        figures["parallel_coordinates"] = parallel_coordinates(experiment, comparison.metric)
    if steps_of(experiment, comparison):
        figures["search"] = best_so_far(experiment, comparison)
    return figures


def _interval_trace(name: str, colour: str, symbol: str, group: Sequence[Standing], few: bool) -> Any:
    from plotly import graph_objects

    means = [standing.difference.mean if standing.difference else 0.0 for standing in group]
    return graph_objects.Scatter(
        name=name,
        mode="markers",
        x=means,
        y=[standing.rank for standing in group],
        error_x=error_bars([standing.difference for standing in group], colour, 2.0 if few else 1.0),
        marker={"color": colour, "symbol": symbol, "size": 14 if symbol == "star" else 9 if few else 5},
        hovertext=[f"rank {standing.rank}: {standing.name}, mean {standing.mean:.3f}" for standing in group],
        hoverinfo="text+x",
    )


def _effect_trace(name: str, colour: str, symbol: str, levels: Sequence[LevelEffect], rows: Sequence[int]) -> Any:
    from plotly import graph_objects

    return graph_objects.Scatter(
        name=name,
        mode="markers",
        x=[level.effect.mean for level in levels],
        y=list(rows),
        error_x=error_bars([level.effect for level in levels], colour, 2.0),
        marker={"color": colour, "symbol": symbol, "size": 9},
    )


def _cost_trace(name: str, group: Sequence[Standing], comparison: Comparison, marker: dict[str, Any]) -> Any:
    from plotly import graph_objects

    return graph_objects.Scatter(
        name=name,
        mode="markers",
        x=[_cost(standing, comparison) for standing in group],
        y=[standing.mean for standing in group],
        marker=marker,
        hovertext=[f"rank {standing.rank}: {standing.name}" for standing in group],
        hoverinfo="text+x+y",
    )


def _latency_marker(group: Sequence[Standing], priced: Sequence[Standing], front: bool) -> dict[str, Any]:
    seconds = [standing.cost.seconds or 0.0 for standing in priced] or [0.0]
    marker: dict[str, Any] = {
        "symbol": "circle",
        "size": 13 if front else 7,
        "color": [standing.cost.seconds or 0.0 for standing in group],
        "colorscale": "Cividis",
        "cmin": min(seconds),
        "cmax": max(seconds),
        "line": {"color": "#000000" if front else APART, "width": 1.5 if front else 0.5},
    }
    if front:
        marker |= {"showscale": True, "colorbar": {"title": {"text": "seconds per answer", "side": "right"}}}
    return marker


def _cost(standing: Standing, comparison: Comparison) -> float | None:
    """The cost in the unit of the figure: USD per 1,000 questions, or tokens per question."""
    if comparison.cost_unit == "tokens":
        return standing.cost.tokens
    return None if standing.cost.usd is None else 1000 * standing.cost.usd


def _choice_axis(values: Sequence[str], title: str) -> dict[str, object]:
    choices = list(dict.fromkeys(values))
    return {
        "label": title,
        "values": [choices.index(value) for value in values],
        "tickvals": list(range(len(choices))),
        "ticktext": choices,
        "range": [-0.2, max(len(choices) - 1, 0.4) + 0.2],
    }


def _metric_axis(values: Sequence[float], name: str) -> dict[str, object]:
    low, high = numpy.nanmin(values), numpy.nanmax(values)
    pad = max((high - low) * 0.05, 0.005)
    return {"label": name.replace("_", " "), "values": values, "range": [low - pad, high + pad], "tickformat": ".2f"}
