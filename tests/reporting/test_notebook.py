"""Figures in notebooks: interactive where plotly runs, a picture in an exported page and on a Git host."""

import base64
import json
from pathlib import Path

import nbformat
import numpy
import plotly.graph_objects
import pytest
import simulated
from browser import Tab
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from dream.comparison import compare
from dream.reporting import all_figures
from dream.reporting.notebook import mime_bundle

PLOTLY = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def figures() -> dict[str, plotly.graph_objects.Figure]:
    scores = numpy.random.default_rng(0).uniform(0, 1, (30, 12))
    experiment = simulated.experiment({"answer_correctness": scores}, usd=[0.001 * place for place in range(1, 13)])
    return all_figures(compare(experiment), experiment)


def test_a_figure_is_there_in_three_forms_and_always_the_same(figures: dict[str, plotly.graph_objects.Figure]):
    for name, figure in figures.items():
        bundle = mime_bundle(figure)
        assert list(bundle) == [PLOTLY, "image/png", "text/plain"]
        assert plotly.graph_objects.Figure(json.loads(json.dumps(bundle[PLOTLY]))) == figure
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
        assert bundle["text/plain"].startswith("simulated: "), name
        assert mime_bundle(figure) == bundle


def test_an_exported_page_shows_every_picture_without_a_network(
    chromium: Tab, figures: dict[str, plotly.graph_objects.Figure], tmp_path: Path
):
    cells = [
        new_code_cell("show(figure)", outputs=[new_output("display_data", mime_bundle(figure))])
        for figure in figures.values()
    ]
    notebook = nbformat.from_dict(new_notebook(cells=cells))
    page = tmp_path / "page.html"
    page.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    chromium.open(page, 1200, scripts=False)
    widths = chromium.value("[...document.querySelectorAll('img')].map(image => image.complete && image.naturalWidth)")
    assert widths == [1000] * len(figures)
