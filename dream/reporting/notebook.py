"""Figures in notebooks, also visible where the notebook is shown without plotly."""

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream.reporting.static_figures import save_static

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def show(figure: "Figure") -> None:
    """Display one of DREAM's figures as the output of a notebook cell, both interactive and as a PNG.

    JupyterLab shows the PNG first, and the interactive figure when the pointer enters it. Exported pages, Git hosts and
    viewers without plotly show the PNG, which needs neither scripts nor a network.
    """
    from IPython.display import display

    display(mime_bundle(figure), raw=True)


def mime_bundle(figure: "Figure") -> dict[str, Any]:
    """The figure by MIME type: as plotly's JSON, as PNG (base64), and its title as text."""
    title = figure.layout.title.text or "figure"  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory() as folder:
        picture = save_static(figure, Path(folder, "figure.png")).read_bytes()
    return {
        "application/vnd.plotly.v1+json": json.loads(figure.to_json() or ""),
        "image/png": base64.b64encode(picture).decode("ascii"),
        "text/plain": title.partition("<br>")[0],
    }
