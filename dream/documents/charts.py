"""Charts of Office documents as text: title, titles of axes, and the table behind the chart."""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from dream.documents.office_parts import attribute
from dream.documents.rows import one_line, row_lines
from dream.documents.xml import local_name

Names = Callable[[str], str]
_CATEGORIES = ("cat", "xVal")
_VALUES = ("val", "yVal", "bubbleSize")


def chart_lines(
    root: Any, name_at: Names = lambda reference: "", is_shown: Callable[[str], bool] | None = None
) -> Iterator[str]:
    """A chart as lines of text.

    Args:
        root: the root of a chart's part, of the kinds `chart` and `chartEx`.
        name_at: returns the text of a cell, for names given as references such as `Data!$B$1`.
        is_shown: returns True for a reference to cells that are read elsewhere, whose values are left out.
    """
    yield from filter(None, (_rich(title) for title in _titles(root)))
    series = [node for node in root.iter("{*}ser", "{*}series") if not _is_hidden(node)]
    rows = [_row(node, root, name_at, is_shown) for node in series]
    for header, group in groupby(rows, key=lambda row: row[0]):
        table = [cells for _, cells in group]
        yield from row_lines([["", *header], *table] if any(header) else table)


def _titles(root: Any) -> Iterator[Any]:
    """The chart's title, then those of its axes."""
    titles = list(root.iter("{*}title"))
    titles.sort(key=lambda title: local_name(title.getparent()) != "chart")
    yield from titles


def _rich(title: Any) -> str:
    """The text of a title, from the chart itself or from a referenced cell."""
    lines = ["".join(node.text or "" for node in p.iter("{*}t")) for p in title.iter("{*}p")]
    return one_line(" ".join(lines)) or one_line(" ".join(node.text or "" for node in title.iter("{*}v")))


def _is_hidden(series: Any) -> bool:
    return attribute(series, "hidden") in ("1", "true")


def _row(series: Any, root: Any, name_at: Names, is_shown: Callable[[str], bool] | None) -> tuple[list[str], list[str]]:
    """The categories and the name with the values of a series."""
    name = _name(series, name_at)
    if local_name(series) == "series":
        data = next((d for d in root.iter("{*}data") if attribute(d, "id") == _data_id(series)), None)
        dimensions = [] if data is None else [node for node in data if local_name(node).endswith("Dim")]
    else:
        dimensions = [node for node in series if local_name(node) in (*_CATEGORIES, *_VALUES)]
    if is_shown is not None and all(is_shown(_formula(node)) for node in dimensions):
        return [], [name]
    categories = [node for node in dimensions if local_name(node) in (*_CATEGORIES, "strDim")]
    values = [node for node in dimensions if node not in categories]
    header = _points(categories[0]) if categories else []
    columns = [_points(node) for node in values]
    width = max(map(len, columns), default=0)
    cells = [
        ", ".join(filter(None, (column[i] if i < len(column) else "" for column in columns))) for i in range(width)
    ]
    return header, [name, *cells]


def _data_id(series: Any) -> str:
    node = series.find("{*}dataId")
    return "" if node is None else attribute(node, "val")


def _name(series: Any, name_at: Names) -> str:
    text = series.find("{*}tx")
    if text is None:
        return ""
    return one_line(" ".join(node.text or "" for node in text.iter("{*}v"))) or one_line(name_at(_formula(text)))


def _formula(node: Any) -> str:
    return next((formula.text or "" for formula in node.iter("{*}f")), "")


def _points(dimension: Any) -> list[str]:
    """The values in their order; of categories on several levels, the upper level first."""
    code = next((node.text or "" for node in dimension.iter("{*}formatCode")), "")
    levels = [_level(node, code) for node in dimension.iter("{*}lvl")] or [_level(dimension, code)]
    width = max(map(len, levels))
    for level in levels:
        level += [""] * (width - len(level))
    for level in levels[1:]:  # an upper level names the first of the categories that it spans
        for i in range(1, width):
            level[i] = level[i] or level[i - 1]
    return [" ".join(filter(None, parts)) for parts in zip(*reversed(levels), strict=True)]


def _level(node: Any, code: str) -> list[str]:
    texts: dict[int, str] = {}
    for point in node.iter("{*}pt"):
        value = point.find("{*}v")
        text = point.text if value is None else value.text
        texts[int(attribute(point, "idx") or 0)] = _shown(one_line(text or ""), attribute(point, "formatCode") or code)
    return [texts.get(i, "") for i in range(max(texts, default=-1) + 1)]


def _shown(text: str, code: str) -> str:
    """A value as displayed, approximately."""
    try:
        number = float(text)
    except ValueError:
        return text
    if code and code != "General":
        from openpyxl.styles.numbers import is_date_format
        from openpyxl.utils.datetime import from_excel

        if is_date_format(code):
            return str(from_excel(number)).removesuffix(" 00:00:00")
        if code.endswith("%"):
            return f"{number * 100:.10g} %"
    return f"{number:.10g}"
