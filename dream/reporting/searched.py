"""The section of the report about a search: its rounds, the best mean so far, the reason for its end, and the Pareto
front."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from dream.comparison.comparison import Comparison, default_metric
from dream.comparison.ranking import Standing
from dream.records import GRID, IN_ROUNDS, MODELS_FIRST, NSGA2, ExperimentResult
from dream.reporting.figure_style import APART, CHOSEN, LINE, TIED, titled
from dream.reporting.html_page import CHOSEN_ROW, PLAIN, Facts, Picture, Section, Table, Text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# The smallest range of the axis of means, in score points.
LEAST_SPAN = 0.1


@dataclass(frozen=True)
class Step:
    """A trial of a search in rounds, `number` and `round` from 1; `mean` is None for one that is not ranked, `best` is
    the highest mean so far."""

    number: int
    round: int
    trial: str
    mean: float | None
    best: float | None
    is_recommended: bool


def searched(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """A section about a search: its settings, its rounds, the reason for its end, and for NSGA-II the Pareto front."""
    search = experiment.manifest.search
    if search.by == GRID:
        return None
    facts = {"searched": search.summary, **_asked(experiment)}
    parts: list[Any] = [Facts(facts)]
    if comparison is not None and (steps := steps_of(experiment, comparison)):
        parts += [_rounds_table(steps, comparison), Picture("search", best_so_far(experiment, comparison))]
    if comparison is not None and search.by == NSGA2:
        parts += _front(comparison)
    return Section("search", "How the search went", parts)


def steps_of(experiment: ExperimentResult, comparison: Comparison) -> list[Step]:
    """The trials of a search in rounds, in the order in which it chose them; empty for other searches."""
    search = experiment.manifest.search
    if search.by not in IN_ROUNDS:
        return []
    standings = {standing.trial.id: standing for standing in comparison.standings}
    ranked = {standing.trial.id: standing.mean for standing in comparison.ranked}
    rounds = [number for number, n in enumerate(search.rounds, 1) for _ in range(n)]
    chosen = list(zip(rounds, experiment.manifest.trials, strict=False))
    means = [ranked.get(trial.id) for _, trial in chosen]
    best = accumulate(means, _higher)
    return [
        Step(number, turn, standings[trial.id].name if trial.id in standings else trial.name, mean, so_far,
             trial.id == comparison.recommended.trial.id)
        for number, ((turn, trial), mean, so_far) in enumerate(zip(chosen, means, best, strict=True), 1)
    ]  # fmt: skip


def why_it_ended(experiment: ExperimentResult) -> str:
    """The reason as part of a sentence."""
    search = experiment.manifest.search
    n = sum(search.rounds)
    if experiment.stopped:
        return f"it was stopped: {experiment.stopped}"
    if not search.is_done:
        return f"it has not ended, or none of its trials can be ranked: dream run --resume {experiment.name}"
    if search.trials is not None and n >= search.trials:
        return f"all {n} requested trials had been chosen"
    if search.by == MODELS_FIRST:
        return "all systems had been tried with the models that may be the best"
    return f"the other combinations had been tried too: there are {n} in all"


def best_so_far(experiment: ExperimentResult, comparison: Comparison) -> "Figure":
    """The mean of each trial of a search in the order in which it was chosen, with the highest so far."""
    from plotly import graph_objects

    steps = steps_of(experiment, comparison)
    ranked = [step for step in steps if step.best is not None]
    stairs = [(x, step.best) for step in ranked for x in (step.number - 0.5, step.number + 0.5)]
    recommended = [step for step in steps if step.is_recommended]
    points = [step for step in steps if step.mean is not None and not step.is_recommended]
    figure = graph_objects.Figure(
        [
            graph_objects.Scatter(
                name="highest mean so far", mode="lines", x=[x for x, _ in stairs], y=[y for _, y in stairs],
                line={"color": LINE, "width": 2}, hoverinfo="y",
            ),
            _points("trials", points, {"color": TIED, "symbol": "circle", "size": 8}),
            _points("recommended", recommended, {"color": CHOSEN, "symbol": "star", "size": 16}),
        ]
    )  # fmt: skip
    for end in [*accumulate(experiment.manifest.search.rounds)][:-1]:
        figure.add_vline(x=end + 0.5, line_color=APART, line_width=1)
    means = [step.mean for step in steps if step.mean is not None]
    middle, span = (max(means) + min(means)) / 2, max(LEAST_SPAN, 1.1 * (max(means) - min(means)))
    figure.update_xaxes(title="trials in the order of the search", range=[0.3, len(steps) + 0.7])
    figure.update_yaxes(
        title=f"mean {comparison.metric}", range=[middle - span / 2, middle + span / 2], tickformat=".2f"
    )
    first = [step.best for step in ranked if step.round == 1]
    after = f"; it was {first[-1]:.3f} after the first round" if first and ranked[-1].round > 1 else ""
    sentence = f"the highest mean of {len(steps)} trials is {ranked[-1].best:.3f}{after}"
    note = "vertical lines: between rounds"
    if len(means) < len(steps):
        note += f"; not ranked, so not shown: {len(steps) - len(means)}"
    return titled(figure, sentence, note, comparison, height=520)


def _higher(so_far: float | None, mean: float | None) -> float | None:
    return so_far if mean is None else mean if so_far is None else max(so_far, mean)


def _asked(experiment: ExperimentResult) -> dict[str, str]:
    search = experiment.manifest.search
    if search.by not in IN_ROUNDS:
        return {}
    metric = experiment.manifest.objective.metric or default_metric(experiment)
    told = {NSGA2: f"the highest mean {metric}, the lowest USD (if known) and the fewest seconds per question"}
    rounds = ", ".join(map(str, search.rounds)) or "none yet"
    return {
        "looked for": told.get(search.by, f"the highest mean {metric}"),
        "trials by round": rounds,
        "ended": why_it_ended(experiment),
    }


def _rounds_table(steps: Sequence[Step], comparison: Comparison) -> Table:
    rows, marks = [], []
    for turn in range(1, steps[-1].round + 1):
        these = [step for step in steps if step.round == turn]
        best = max(these, key=lambda step: -1.0 if step.mean is None else step.mean)
        unranked = sum(step.mean is None for step in these)
        numbers = [_mean(best.mean), _mean(these[-1].best)]
        rows.append([str(turn), str(len(these)), str(unranked), *numbers, best.trial if best.mean is not None else ""])
        marks.append(CHOSEN_ROW if any(step.is_recommended for step in these) else PLAIN)
    columns = ("round", "trials", "not ranked", "best of the round", "best so far", "the round's best trial")
    return Table(f"Rounds, by mean {comparison.metric}; the round of the recommended trial is marked", columns, rows,
                 frozenset(columns[:-1]), marks)  # fmt: skip


def _front(comparison: Comparison) -> list[Any]:
    """The trials that no other dominates in quality, cost and seconds."""
    front = [standing for standing in comparison.ranked if standing.on_front]
    columns = ("#", "trial", comparison.metric, "USD per 1,000 questions", "tokens per question", "seconds per answer")
    rows = [_front_row(standing) for standing in front]
    marks = [CHOSEN_ROW if standing is comparison.recommended else PLAIN for standing in front]
    text = (
        f"{len(front)} of {len(comparison.ranked)} ranked trials are on the Pareto front of quality, cost "
        f"({comparison.cost_unit}) and seconds: no other is at least as good in all three and better in one. Means and "
        f"seconds are measured values, so a trial may be on it by luck. The next section shows all trials."
    )
    table = Table("The Pareto front", columns, rows, frozenset(columns) - {"trial"}, marks)
    return [Text(text), table]


def _front_row(standing: Standing) -> list[str]:
    cost = standing.cost
    usd = "unknown" if cost.usd is None else f"{1000 * cost.usd:,.2f}"
    tokens = "unknown" if cost.tokens is None else f"{cost.tokens:,.0f}"
    seconds = "unknown" if cost.seconds is None else f"{cost.seconds:.2f}"
    return [str(standing.rank), standing.name, _mean(standing.mean), usd, tokens, seconds]


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _points(name: str, steps: Sequence[Step], marker: dict[str, Any]) -> Any:
    from plotly import graph_objects

    return graph_objects.Scatter(
        name=name,
        mode="markers",
        x=[step.number for step in steps],
        y=[step.mean for step in steps],
        marker=marker,
        hovertext=[f"trial {step.number}: {step.trial}" for step in steps],
        hoverinfo="text+y",
    )
