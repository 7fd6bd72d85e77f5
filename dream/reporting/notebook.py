"""Figures in notebooks, visible wherever the notebook is shown."""

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream.reporting.static_figures import save_static

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def show(figure: "Figure") -> None:
    """Display one of DREAM's figures as the output of a notebook's cell, interactive and as a picture.

    JupyterLab shows the picture first and the interactive figure when the pointer enters it. An exported page, a Git
    host or any viewer without plotly shows the picture, which needs neither scripts nor a network.
    """
    from IPython.display import display

    display(mime_bundle(figure), raw=True)


def mime_bundle(figure: "Figure") -> dict[str, Any]:
    """The figure by MIME type: plotly's JSON, the same drawn as PNG (base64), and its title as text."""
    title = figure.layout.title.text or "figure"  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory() as folder:
        picture = save_static(figure, Path(folder, "figure.png")).read_bytes()
    return {
        "application/vnd.plotly.v1+json": json.loads(figure.to_json() or ""),
        "image/png": base64.b64encode(picture).decode("ascii"),
        "text/plain": title.partition("<br>")[0],
    }
