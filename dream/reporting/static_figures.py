"""Plotly figures as PNG or SVG, without a browser and a network: matplotlib draws the same data.

It draws what DREAM's own figures contain: points with error bars and labels, lines, heat maps, parallel coordinates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from dream.comparison.intervals import Floats
from dream.errors import ConfigurationError, explain
from dream.reporting.figure_style import TIED, Caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from plotly.graph_objects import Figure

FORMATS = (".png", ".svg")
_DOTS_PER_INCH = 100
_MARKERS = {"circle": "o", "star": "*", "square": "s", "diamond": "D", "cross": "P", "x": "X"}
_MARKER_PIXELS = 6  # plotly's default


def save_static(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as PNG or SVG, by the path's suffix; the same figure gives the same bytes.

    The size is `layout.width` x `layout.height` in pixels, 1000 x 500 by default.

    Args:
        figure: one of DREAM's figures, or another that consists of numeric scatter and heatmap traces.

    Raises:
        ConfigurationError: for another suffix, or a figure with unsupported parts.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"{path.name}: a static picture ends in {' or '.join(FORMATS)}")
    try:
        _save(figure, path)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            f"{path.name}: this figure has no static form ({explain(error)}); valid: DREAM's own figures, and figures "
            "of numeric scatter traces (markers, lines, text, error bars in x) and numeric heatmap traces"
        ) from error
    return path


def _save(figure: "Figure", path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    traces: tuple[Any, ...] = tuple(figure.data)
    layout: Any = figure.layout
    size = (layout.width or 1000) / _DOTS_PER_INCH, (layout.height or 500) / _DOTS_PER_INCH
    style: Any = {"svg.hashsalt": "dream", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
        axes = canvas.add_subplot()
        if any(trace.type == "parcoords" for trace in traces):
            _parallel(canvas, axes, traces[0])
        else:
            _plane(canvas, axes, traces, layout)
        _title(canvas, Caption.of(figure))
        canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def _plane(canvas: "Canvas", axes: "Axes", traces: Sequence[Any], layout: Any) -> None:
    axes.set_axisbelow(True)
    if all(trace.type != "heatmap" for trace in traces):
        axes.grid(color="#E5E5E5", linewidth=0.7)
    for trace in traces:
        if trace.type == "heatmap":
            _heat_map(canvas, axes, trace)
        elif trace.type == "scatter":
            _scatter(canvas, axes, trace)
        else:
            raise ConfigurationError(f"a {trace.type!r} trace has no static form; DREAM's own figures have one")
    for line in layout.shapes:
        axes.axvline(line.x0, color=line.line.color, linewidth=line.line.width)
    _axis(axes, "x", layout.xaxis)
    _axis(axes, "y", layout.yaxis)
    if sum(bool(trace.name) for trace in traces):
        canvas.legend(loc="outside lower left", ncols=3, frameon=False)


def _scatter(canvas: "Canvas", axes: "Axes", trace: Any) -> None:
    y = numpy.asarray(trace.y, float)
    x = numpy.arange(len(y), dtype=float) if trace.x is None else numpy.asarray(trace.x, float)
    if trace.error_x.array is not None:
        below = trace.error_x.array if trace.error_x.arrayminus is None else trace.error_x.arrayminus
        spans = [below, trace.error_x.array]
        axes.errorbar(x, y, xerr=spans, fmt="none", ecolor=trace.error_x.color, elinewidth=trace.error_x.thickness)
    parts = (trace.mode or ("lines+markers" if len(y) < 20 else "lines")).split("+")  # plotly's default
    if "lines" in parts:
        label = None if "markers" in parts else trace.name
        axes.plot(x, y, color=trace.line.color, linewidth=trace.line.width or 2.0, label=label)
    if "markers" in parts:
        _markers(canvas, axes, trace, x, y)
    texts = () if trace.text is None else [trace.text] * len(y) if isinstance(trace.text, str) else trace.text
    for point, text in enumerate(texts):
        axes.annotate(text, (x[point], y[point]), (6, 5), textcoords="offset points", fontsize=8.5)


def _markers(canvas: "Canvas", axes: "Axes", trace: Any, x: Floats, y: Floats) -> None:
    marker, symbol = trace.marker, trace.marker.symbol or "circle"
    shape, hollow = _MARKERS.get(symbol.removesuffix("-open")), symbol.endswith("-open")
    if shape is None:
        raise ConfigurationError(
            f"the marker symbol {symbol!r} has no static form; valid: {', '.join(_MARKERS)}, each also with -open"
        )
    size = numpy.asarray(_MARKER_PIXELS if marker.size is None else marker.size, float)
    style: dict[str, Any] = {"marker": shape, "s": (size * 0.75) ** 2, "zorder": 3}
    style |= {"label": trace.name, "linewidths": marker.line.width or 1.0}
    colour = marker.color
    if colour is None or isinstance(colour, str) or all(isinstance(each, str) for each in colour):
        colour = TIED if colour is None else colour
        face = "none" if hollow and marker.line.width else "white" if hollow else colour
        axes.scatter(x, y, edgecolors=colour, facecolors=face, **style)
        return
    limits = {"vmin": marker.cmin, "vmax": marker.cmax, "cmap": "cividis", "edgecolors": marker.line.color}
    points = axes.scatter(x, y, c=numpy.asarray(colour, float), **limits, **style)
    if marker.showscale:
        canvas.colorbar(points, ax=axes, label=marker.colorbar.title.text)


def _heat_map(canvas: "Canvas", axes: "Axes", trace: Any) -> None:
    values = numpy.ma.masked_invalid(numpy.asarray(trace.z, float))
    image = axes.pcolormesh(
        trace.x, trace.y, values, vmin=trace.zmin, vmax=trace.zmax, cmap="cividis", shading="nearest"
    )
    image.set_rasterized(True)  # thousands of vector cells would be too slow for browsers
    canvas.colorbar(image, ax=axes, label=trace.colorbar.title.text)


def _axis(axes: "Axes", which: str, axis: Any) -> None:
    from matplotlib import ticker

    if axis.type == "log":
        axes.set(**{f"{which}scale": "log"})
        getattr(axes, f"{which}axis").set_minor_locator(ticker.NullLocator())
    if axis.range is not None:
        axes.set(**{f"{which}lim": tuple(axis.range)})
    elif axis.rangemode == "tozero" and axis.type != "log":
        axes.set(**{f"{which}lim": (0, getattr(axes, f"get_{which}lim")()[1])})
    if axis.tickvals is not None:
        limits = getattr(axes, f"get_{which}lim")()
        shown = [(at, text) for at, text in zip(axis.tickvals, axis.ticktext, strict=True) if _between(at, limits)]
        getattr(axes, f"set_{which}ticks")([at for at, _ in shown], [text for _, text in shown], fontsize=8)
    axes.set(**{f"{which}label": axis.title.text or ""})


def _between(value: float, limits: tuple[float, float]) -> bool:
    return min(limits) <= value <= max(limits)


def _parallel(canvas: "Canvas", axes: "Axes", trace: Any) -> None:
    """Draw a vertical axis with ticks for each dimension, scaled to 0 to 1, and a line for each trial."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colour = numpy.asarray(trace.line.color, float)
    scale = ScalarMappable(Normalize(colour.min(), colour.max()), "cividis")
    columns = [_scaled(dimension, numpy.asarray(dimension["values"], float)) for dimension in trace.dimensions]
    for row in numpy.argsort(colour):
        axes.plot([column[row] for column in columns], color=scale.to_rgba(colour[row]), linewidth=1.3, alpha=0.8)
    for position, dimension in enumerate(trace.dimensions):
        axes.axvline(position, color="#444444", linewidth=0.8)
        for at, text in _ticks(dimension):
            height = float(_scaled(dimension, numpy.array([at]))[0])
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
            axes.text(position + 0.03, height, text, fontsize=7.5, va="center", bbox=box, zorder=4)
    axes.set(xlim=(-0.1, len(columns) - 0.5), ylim=(0, 1), yticks=[])
    axes.set_xticks(range(len(columns)), [dimension["label"] for dimension in trace.dimensions], rotation=15, ha="left")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    canvas.colorbar(scale, ax=axes, label=trace.line.colorbar.title.text)


def _scaled(dimension: Any, values: "numpy.ndarray[Any, Any]") -> "numpy.ndarray[Any, Any]":
    low, high = dimension["range"]
    return (values - low) / (high - low)


def _ticks(dimension: Any) -> Sequence[tuple[float, str]]:
    if dimension["tickvals"] is not None:
        return list(zip(dimension["tickvals"], dimension["ticktext"], strict=True))
    low, high = dimension["range"]
    return [(at, f"{at:.2f}") for at in numpy.linspace(low, high, 6)[1:-1]]


def _title(canvas: "Canvas", caption: Caption) -> None:
    """The headline in full size, and the notes below it, smaller."""
    headline, notes = caption.headline, caption.small_print
    canvas.suptitle("\n".join([*headline, *("" for _ in notes)]), x=0.01, ha="left", fontsize=11)
    height = canvas.get_figheight()
    top = 0.98 - 0.175 * len(headline) / height
    for row, line in enumerate(notes):
        canvas.text(0.01, top - 0.16 * row / height, line, fontsize=8.5, color="#444444", va="top")
