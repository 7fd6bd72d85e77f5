"""The style of figures: captions that go with a figure, error bars by hand, and names that stay legible."""

from dataclasses import replace

import numpy
import pytest
from plotly import graph_objects
from simulated import experiment

from dream.comparison.comparison import Comparison, compare
from dream.comparison.intervals import Interval
from dream.records import Trial
from dream.reporting.figure_style import OFFLINE_NOTE, WIDTH, Caption, error_bars, rank_axis, short_name, titled


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(experiment({"m": numpy.tile([0.9, 0.5], (12, 1))}), "m")


def test_a_caption_goes_with_its_figure():
    caption = Caption("pilot", "one trial is best", ("30 questions", "a note"))
    figure = graph_objects.Figure().update_layout(**caption.layout())
    assert Caption.of(figure) == caption
    assert figure.layout.title.text == "pilot: one trial is best<br><sub>30 questions; a note</sub>"


def test_the_caption_of_any_other_figure_is_its_title():
    assert Caption.of(graph_objects.Figure().update_layout(title="sales by year")) == Caption("", "sales by year")
    assert Caption.of(graph_objects.Figure()) == Caption("", "")


def test_long_captions_are_broken_into_lines_that_fit():
    caption = Caption("pilot", "many words " * 30, ("a long note " * 30,))
    assert len(caption.headline) == 4 and max(map(len, caption.headline)) <= 100
    assert max(map(len, caption.small_print)) <= 130
    assert " ".join(caption.headline) == f"pilot: {'many words ' * 30}".strip()
    assert Caption("", "a sentence").small_print == []


def test_error_bars_reach_to_both_ends_of_each_interval():
    bars = error_bars([Interval(0.5, 0.25, 1.0, None, 4), None], "#000000", 2.0)
    assert (bars["array"], bars["arrayminus"]) == ([0.5, 0.0], [0.25, 0.0])


def test_a_short_name_has_the_rank_and_no_prefix_of_offline_models(comparison: Comparison):
    standing = replace(comparison.standings[0], trial=Trial("method", "offline/llm-small", "offline/embed-small"))
    assert short_name(standing) == "method + llm-small + embed-small  1"
    assert short_name(replace(standing, rank=None)) == "method + llm-small + embed-small  (not ranked)"


def test_rows_go_down_from_the_first_rank_with_names_or_with_ranks():
    named, ranked = graph_objects.Figure(), graph_objects.Figure()
    rank_axis(named, 2, ["first", "second"])
    rank_axis(ranked, 60, None)
    low, high = named.layout.yaxis.range
    assert low > 2 > 1 > high
    assert list(zip(named.layout.yaxis.tickvals, named.layout.yaxis.ticktext, strict=True)) == [
        (1, "first"),
        (2, "second"),
    ]
    assert ranked.layout.yaxis.ticktext is None and "rank" in ranked.layout.yaxis.title.text


def test_a_title_names_experiment_questions_and_offline_models_and_has_the_room_it_needs(comparison: Comparison):
    short = titled(graph_objects.Figure(), "one is best", "a note", comparison, 500)
    assert Caption.of(short) == Caption("simulated", "one is best", ("a note", "12 questions"))
    long = titled(graph_objects.Figure(), "word " * 60, "a note", replace(comparison, offline=True), 500)
    assert Caption.of(long).notes == ("a note", "12 questions", OFFLINE_NOTE)
    assert (short.layout.width, short.layout.height) == (WIDTH, 500)
    lines_more = len(Caption.of(long).headline) - 1
    assert lines_more == 3
    assert long.layout.margin.t == short.layout.margin.t + 22 * lines_more
