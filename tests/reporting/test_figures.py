"""Pictures: what they hold, that they stay legible with many trials, and that they can be written without a browser."""

import socket
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from PIL import Image
from simulated import experiment, grid, mixed

from dream.comparison.comparison import compare
from dream.errors import ConfigurationError
from dream.records import ExperimentResult, Failure, FailureKind, TrialResult
from dream.reporting.figure_style import NAMES_UP_TO
from dream.reporting.figures import all_figures, forest, heat_map, main_effects, parallel_coordinates, pareto
from dream.reporting.static_figures import save_static

NAMES = ("forest", "pareto", "heat_map", "main_effects", "parallel_coordinates")


def outcome(n_trials: int, priced: bool = True, offline: bool = False) -> ExperimentResult:
    random = numpy.random.default_rng(n_trials)
    scores = {"score": mixed(random, 40, numpy.linspace(-1.5, 1, n_trials)), "other": random.random((40, n_trials))}
    scores["score"][3, 1] = numpy.nan
    made = experiment(scores, usd=list(random.uniform(0.0005, 0.02, n_trials)) if priced else None)
    return replace(made, manifest=replace(made.manifest, offline=offline))


@pytest.fixture(scope="module")
def small() -> tuple[ExperimentResult, dict]:
    made = outcome(12)
    return made, all_figures(compare(made, "score"), made)


@pytest.fixture(scope="module")
def large() -> tuple[ExperimentResult, dict]:
    made = outcome(60)
    return made, all_figures(compare(made, "score"), made)


def test_parallel_coordinates_draws_each_scored_trial_once():
    values = numpy.tile([0.5, 0.6, numpy.nan], (4, 1))
    made = experiment({"answer_correctness": values})
    broken = TrialResult(grid(3)[2], failure=Failure(FailureKind.SERVICE, "gone"))
    figure = parallel_coordinates(
        ExperimentResult("test", replace(made.manifest, offline=True), (*made.results[:2], broken))
    )
    axes = {axis["label"]: list(axis["values"]) for axis in figure.data[0]["dimensions"]}
    assert list(axes) == ["RAG method", "LLM", "embedding model", "answer correctness"]
    assert axes["answer correctness"] == pytest.approx([0.6, 0.5])
    assert "1 without a mean left out" in figure.layout.title.text
    assert "offline" in figure.layout.title.text


def test_the_forest_marks_the_set_and_the_recommendation():
    found = compare(outcome(12), "score")
    traces = {trace.name: trace for trace in forest(found).data}
    worse = [one for one in found.ranked if not one.in_set]
    assert list(traces["recommended"].y) == [found.recommended.rank]
    assert len(traces["statistically indistinguishable from the best"].y) == len(found.tie_set) - 1
    assert list(traces["shown to be worse"].y) == [one.rank for one in worse]
    last = worse[-1].difference
    assert last and traces["shown to be worse"].x[-1] + traces["shown to be worse"].error_x.array[-1] == pytest.approx(
        last.high
    )
    assert len({trace.marker.symbol for trace in traces.values()}) == 3  # not by colour alone


def test_the_heat_map_holds_every_score_with_hard_questions_on_the_right():
    found = compare(outcome(12), "score")
    cells = numpy.asarray(heat_map(found).data[0].z, float)
    assert cells.shape == (12, 40)
    assert numpy.nansum(cells) == pytest.approx(numpy.nansum(found.scores.values))
    assert numpy.isnan(cells).sum() == 1
    means = numpy.nanmean(cells, axis=0)
    assert (numpy.diff(means) <= 1e-12).all()


def test_pareto_counts_usd_or_tokens_and_says_which():
    priced, unpriced = compare(outcome(12), "score"), compare(outcome(12, priced=False), "score")
    assert "USD per 1,000 questions" in pareto(priced).layout.xaxis.title.text
    assert "tokens per question" in pareto(unpriced).layout.xaxis.title.text
    front = next(trace for trace in pareto(priced).data if trace.name.startswith("on the Pareto front"))
    assert list(front.text) == [str(one.rank) for one in priced.ranked if one.on_front]


def test_means_that_hardly_differ_are_shown_close_together():
    low, high = pareto(compare(experiment({"score": numpy.full((40, 12), 0.1021)}), "score")).layout.yaxis.range
    assert (low, high) == pytest.approx((0.0521, 0.1521))


def test_main_effects_name_the_factor_that_matters():
    values = mixed(numpy.random.default_rng(0), 80, numpy.tile([0.0, 0.5, 1.0], 4))
    figure = main_effects(compare(experiment({"score": values}), "score"))
    assert "factors shown to matter for score: RAG method" in figure.layout.title.text
    assert len(figure.layout.yaxis.ticktext) == 3 + 2 + 2


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_sentences_axes_have_units_and_many_trials_have_ranks(small, large, name: str):
    for _, figures in (small, large):
        assert figures[name].layout.title.text.startswith("simulated: ")
    if name in ("forest", "heat_map"):
        assert len(small[1][name].layout.yaxis.ticktext) == 12
        assert large[1][name].layout.yaxis.ticktext is None and large[1][name].layout.height < 1000
        assert NAMES_UP_TO < 60
    if name in ("forest", "main_effects", "pareto"):
        axis = small[1][name].layout.yaxis if name == "pareto" else small[1][name].layout.xaxis
        assert "0 to 1" in axis.title.text


def test_offline_scores_are_marked_on_every_picture():
    made = outcome(4, offline=True)
    figures = all_figures(compare(made, "score"), made)
    titles = {name: figures[name].layout.title.text.replace("<br><sub>", " ").replace("</sub>", "") for name in NAMES}
    assert [name for name, title in titles.items() if "say nothing about a real LLM" not in title] == []


@pytest.mark.whole
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_written_without_browser_or_network(small, name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    figure = small[1][name]
    path = save_static(figure, tmp_path / f"{name}.png")
    with Image.open(path) as picture:
        assert picture.size == (1000, figure.layout.height)
        assert len(set(picture.convert("L").resize((100, 50)).tobytes())) > 20  # something is drawn
    first = save_static(figure, tmp_path / "one.svg").read_bytes()
    assert first == save_static(figure, tmp_path / "two.svg").read_bytes()
    assert b"<svg" in first[:1000]


def test_other_formats_and_other_figures_are_refused(small, tmp_path: Path):
    from plotly import graph_objects

    with pytest.raises(ConfigurationError, match=r"ends in \.png or \.svg"):
        save_static(small[1]["forest"], tmp_path / "forest.pdf")
    with pytest.raises(ConfigurationError, match="'bar' trace has no static form"):
        save_static(graph_objects.Figure(graph_objects.Bar(x=[1], y=[1])), tmp_path / "bar.png")


@pytest.mark.whole
@pytest.mark.parametrize(
    "trace",
    [
        {"mode": "markers"},
        {"mode": "markers", "text": "the same for all", "marker": {"size": 9}},
        {
            "mode": "markers+text",
            "text": ["a", "b", "c"],
            "marker": {"size": [4, 8, 12], "color": ["red", "blue", "#000"]},
        },
        {"mode": "lines", "name": "a line", "line": {"color": "#D55E00"}},
        {"x": None, "marker": {"color": [0.1, 0.2, 0.3], "symbol": "square-open"}},
        {"error_x": {"type": "data", "array": [1, 1, 1]}},
    ],
)
def test_a_users_own_scatter_plot_has_a_static_form(trace: dict, tmp_path: Path):
    from plotly import graph_objects

    figure = graph_objects.Figure(graph_objects.Scatter({"x": [1, 2, 3], "y": [2, 3, 1]} | trace))
    assert save_static(figure, tmp_path / "own.png").stat().st_size > 1000
    first = save_static(figure, tmp_path / "own.svg").read_bytes()
    assert first == save_static(figure, tmp_path / "again.svg").read_bytes()


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        ({"x": ["low", "high"], "y": [1, 2]}, "numeric scatter traces"),
        ({"x": [1, 2], "y": None}, "numeric scatter traces"),
        ({"x": [1, 2], "y": [1, 2], "mode": "markers", "marker": {"symbol": "hexagon"}}, "'hexagon'.*valid: circle"),
    ],
)
def test_a_scatter_plot_without_a_static_form_is_refused_with_what_is_valid(trace: dict, reason: str, tmp_path: Path):
    from plotly import graph_objects

    figure = graph_objects.Figure(graph_objects.Scatter(trace))
    with pytest.raises(ConfigurationError, match=reason):
        save_static(figure, tmp_path / "own.png")


@pytest.mark.whole
def test_one_trial_and_identical_trials_can_be_drawn(tmp_path: Path):
    for values in (numpy.full((5, 1), 0.5), numpy.full((5, 3), 0.5)):
        made = experiment({"score": values})
        for name, figure in all_figures(compare(made, "score"), made).items():
            assert save_static(figure, tmp_path / f"{name}.png").stat().st_size > 1000
