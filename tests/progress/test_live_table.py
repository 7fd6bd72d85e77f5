"""The table of something that runs: it fits the space that it has, and is safe and complete as HTML."""

import pytest
from rich.cells import cell_len

from dream.progress.live_table import Column, LiveTable, Row, fitting, table_html, table_lines, table_text

COLUMNS = (Column("state", is_number=False), Column("questions"))


def table(*names: str, note: str = "") -> LiveTable:
    rows = tuple(Row(name, ("running", f"{place}/10"), note=note) for place, name in enumerate(names))
    return LiveTable("trial", COLUMNS, rows, ("2 running",))


def texts(made: LiveTable, columns: int) -> list[str]:
    return [line.text for line in table_lines(made, columns)]


def test_names_stand_beside_the_cells_where_they_fit_and_above_them_where_they_do_not():
    made = table("short", "a longer name")
    assert texts(made, 33) == [
        "trial          state    questions",
        "short          running       0/10",
        "a longer name  running       1/10",
        "2 running",
    ]
    assert texts(made, 32) == [
        "trial",
        "  state    questions",
        "short",
        "  running       0/10",
        "a longer name",
        "  running       1/10",
        "2 running",
    ]


def test_a_name_that_is_left_out_keeps_the_form_of_the_table():
    made = LiveTable("trial", COLUMNS, table("short").rows, longest_name="a longer name")
    assert texts(made, 32)[0] == "trial"
    assert texts(made, 33)[1] == "short          running       0/10"


@pytest.mark.parametrize("columns", [1, 10, 20, 40, 80, 200])
def test_no_line_is_longer_than_the_space(columns: int):
    names = ("chunks_with_overlap + gpt + bge (top_k=3)", "検索と生成 + モデル " * 4, "бм25 🐝")
    lines = texts(table(*names, note="ValueError: " + "much to tell " * 30), columns)
    assert max(map(cell_len, lines)) <= columns
    assert len(lines) == (8 if columns == 200 else 12)


def test_as_many_rows_are_made_as_there_are_lines_for():
    def make(most: int) -> LiveTable:
        return table(*[f"trial {n}" for n in range(min(most, 200))], note="")

    assert len(fitting(make, 80, 24)) == 24
    assert len(fitting(make, 20, 24)) in (22, 23, 24)
    assert len(fitting(make, 80, 300)) == 202
    assert [line.text.split()[0] for line in fitting(make, 80, 0)] == ["trial", "trial", "2"]


def test_html_shows_text_as_it_is_and_every_row():
    html = table_html(lambda most: table("<b>mine</b> & yours", note="<script>"))
    assert "&lt;b&gt;mine&lt;/b&gt; &amp; yours" in html and "&lt;script&gt;" in html
    assert "<script>" not in html and html.count("<tr") == 3
    assert "2 running" in table_text(lambda most: table("a"))
