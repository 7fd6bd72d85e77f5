"""Pictures of an experiment, as plotly figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from dream.comparison import KNOBS, leaderboard
from dream.records import ExperimentResult

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OFFLINE_NOTE = "offline models: the numbers show how DREAM works, not how good an LLM is"


def parallel_coordinates(experiment: ExperimentResult, metric: str = "answer_correctness") -> "Figure":
    """One line a trial through its knobs and its metric means, coloured by `metric`; failed trials are left out."""
    from plotly import graph_objects

    table = leaderboard(experiment, metric)
    shown = table[table[metric].notna()]
    axes = [_choice_axis(list(shown[title]), title) for title in KNOBS.values()]
    axes += [_metric_axis(list(shown[name].astype(float)), name) for name in experiment.manifest["metrics"]]
    colour = {
        "color": shown[metric].astype(float),
        "colorscale": "Cividis",
        "showscale": True,
        "colorbar": {"title": {"text": metric.replace("_", " "), "side": "right"}},
    }
    figure = graph_objects.Figure(graph_objects.Parcoords(dimensions=axes, line=colour, labelangle=-20))
    left_out = f", {len(table) - len(shown)} failed and left out" if len(shown) < len(table) else ""
    title = f"{experiment.name}: each line is one of {len(shown)} trials{left_out}"
    note = f"<br><sub>{OFFLINE_NOTE}</sub>" if experiment.manifest["offline"] else ""
    return figure.update_layout(title=title + note, height=520, margin={"l": 170, "r": 60, "t": 170, "b": 40})


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
