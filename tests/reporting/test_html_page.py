"""The page: everything in it is text, whatever kind of part holds it, and only pictures bring a script."""

import json
from typing import Any

import pytest
from outline import Outline
from plotly import graph_objects
from plotly.offline import get_plotlyjs

from dream.reporting.figure_style import Caption
from dream.reporting.html_page import (
    CHOSEN_ROW,
    PLAIN,
    Bullets,
    Case,
    Choice,
    Facts,
    Fold,
    Note,
    Page,
    Picture,
    Section,
    Table,
    Text,
    render,
)

EVIL = """<script>alert('1')</script><img src=x onerror="alert(2)"> & "quotes" </td></section>"""
TABLE = Table(EVIL, [EVIL, "n"], [[EVIL, "1"], [EVIL, "2"]], frozenset({"n"}), [CHOSEN_ROW, PLAIN])
PARTS = {
    "text": (Text(EVIL), 1),
    "note": (Note(EVIL), 1),
    "choice": (Choice(EVIL, {EVIL: EVIL}), 3),
    "bullets": (Bullets([EVIL, EVIL]), 2),
    "facts": (Facts({EVIL: EVIL}), 2),
    "table": (TABLE, 4),
    "case": (Case(EVIL, {EVIL: EVIL}, [Fold(EVIL, EVIL)], TABLE), 9),
}


def page(*parts: Any, warning: str = "") -> str:
    return render(Page("Title", "lead", warning, [Section("first", "First", parts)], "foot"))


@pytest.mark.parametrize("kind", PARTS)
def test_what_a_part_holds_is_shown_as_text_and_is_never_markup(kind: str):
    part, times = PARTS[kind]
    outline = Outline(page(part))
    assert sum(texts.count(EVIL) for texts in outline.texts.values()) == times
    assert outline.all("script") == outline.all("img") == []
    assert len(outline.all("section")) == 1
    assert not any(name.startswith("on") for _, attributes in outline.elements for name in attributes)


def test_titles_warning_and_foot_are_text_too():
    html = render(Page(EVIL, EVIL, EVIL, [Section("first", EVIL, [])], EVIL))
    outline = Outline(html)
    # the page's title and headline, lead, warning, link, headline of the section, foot
    assert sum(texts.count(EVIL) for texts in outline.texts.values()) == 7
    assert outline.all("script") == outline.all("img") == []


def test_the_warning_is_in_a_box_and_without_one_there_is_no_box():
    assert {"class": "warning", "role": "note"} in Outline(page(Text("text"), warning="Beware.")).all("p")
    assert [one.get("class") for one in Outline(page(Text("text"))).all("p")] == ["lead", None]


def test_rows_are_marked_and_numbers_are_set_right():
    long = "x" * 40
    table = Table("caption", ["name", "n"], [["a", "1"], [long, "2"]], frozenset({"n"}), [PLAIN, CHOSEN_ROW])
    outline = Outline(page(table))
    assert outline.all("th") == [{"scope": "col"}, {"scope": "col", "class": "number"}]
    assert outline.all("tr") == [{}, {}, {"class": CHOSEN_ROW}]
    assert [one["class"] for one in outline.all("td")] == ["short", "number", "long", "number"]


def figure(title: str = "a sentence", **layout: Any) -> graph_objects.Figure:
    points = graph_objects.Scatter(x=[1, 2], y=[3, 4], mode="markers", marker={"size": 8, "color": "#0072B2"})
    return graph_objects.Figure(points).update_layout(title=title, height=500).update_layout(**layout)


def drawn(picture: Picture) -> dict[str, Any]:
    """What the page's script draws."""
    return json.loads(picture.json)


def test_only_a_page_with_pictures_has_scripts_and_a_static_drawing_stands_in_for_each():
    assert len(page(Text("text"))) < 20_000
    html = page(Picture("a", figure()), Picture("b", figure()))
    assert html.count(get_plotlyjs()) == 1
    outline = Outline(html.replace(get_plotlyjs(), ""))
    assert [one.get("data-picture") for one in outline.all("script")] == ["picture-a", "picture-b", None, None]
    assert len(outline.all("svg")) == 2


def test_the_data_of_a_picture_cannot_end_its_script():
    shown = figure().update_xaxes(title="</script><b>")
    assert "<" not in Picture("name", shown).json
    assert drawn(Picture("name", shown))["layout"]["xaxis"]["title"]["text"] == "</script><b>"


def test_a_picture_leaves_its_title_to_the_page():
    caption = Caption("my experiment", "the first\ntrial is  best", ("30 questions", "offline"))
    picture = Picture("name", figure().update_layout(**caption.layout()))
    assert picture.lines == ["The first trial is best", "30 questions; offline"]
    assert drawn(picture)["layout"]["title"] == {}
    assert Picture("name", figure("of somebody else")).lines == ["Of somebody else", ""]


def test_a_picture_without_its_title_is_lower_by_the_titles_margin():
    assert Picture("name", figure(height=640, margin_t=120)).height == 640 - 120 + 60
    assert Picture("name", figure(height=None)).height == 500 - 100 + 60
    axes = graph_objects.Figure(graph_objects.Parcoords(dimensions=[{"label": "n", "values": [1, 2]}]))
    assert Picture("name", axes.update_layout(height=640, margin_t=120)).height == 640 - 120 + 120  # labels above
