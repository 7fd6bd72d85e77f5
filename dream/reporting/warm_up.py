"""To import this module is to draw a small figure: the first one takes half a second more than others, for fonts and
templates. `dream.tracking.tracker` imports it while trials run.
"""

import tempfile
from pathlib import Path

from plotly.graph_objects import Figure, Scatter

from dream.reporting.static_figures import FORMATS, save_static

_figure = Figure([Scatter(x=[0, 1], y=[0, 1], mode="markers+text", text=["low", "high"])])
_figure.update_layout(template="plotly_white", title="Warm-up", xaxis={"title": "x"})
with tempfile.TemporaryDirectory() as _folder:
    for _suffix in FORMATS:
        save_static(_figure, Path(_folder) / f"figure{_suffix}")
