"""Text in the drawings of Office documents: shapes, charts and SmartArt."""

from collections.abc import Callable, Iterator
from typing import Any

from dream.documents.charts import chart_lines
from dream.documents.equations import equation_text
from dream.documents.office_parts import Package, attribute, is_fallback, paragraphs
from dream.documents.rows import one_line
from dream.documents.xml import local_name, parse

Chart = Callable[[Any], Iterator[str]]


def drawing_lines(package: Package, part: str, root: Any, chart: Chart = chart_lines) -> Iterator[str]:
    """The lines of shapes, charts and SmartArt under an element of a part, in document order.

    Args:
        chart: returns the lines of a chart's root element.
    """
    related = package.related(part)
    for node in root.iter("{*}txBody", "{*}chart", "{*}relIds"):
        if is_fallback(node):
            continue
        if local_name(node) == "txBody":
            yield from shape_lines(node)
        elif local_name(node) == "chart" and (found := related.get(attribute(node, "id"))):
            chart_root = parse(package.read(found.part))
            yield from chart(chart_root)
            yield from _shapes_on(package, found.part)
        elif found := related.get(attribute(node, "dm")):
            yield from diagram_lines(parse(package.read(found.part)))


def _shapes_on(package: Package, chart: str) -> Iterator[str]:
    """The texts of shapes on a chart."""
    for relation in package.related(chart).values():
        if relation.kind == "chartUserShapes":
            yield from shape_lines(parse(package.read(relation.part)))


def shape_lines(root: Any) -> Iterator[str]:
    """The paragraphs of shapes."""
    yield from filter(None, map(paragraph_text, paragraphs(root)))


def diagram_lines(root: Any) -> Iterator[str]:
    """The texts of SmartArt, as a list."""
    yield from (f"- {line}" for line in shape_lines(root))


def paragraph_text(paragraph: Any) -> str:
    """The text of a paragraph in DrawingML as one line, without slide numbers."""
    return one_line("".join(map(_piece, paragraph)))


def _piece(node: Any) -> str:
    name = local_name(node)
    if name == "br":
        return " "
    if name == "m":
        return f" {''.join(map(equation_text, node))} "
    if name == "AlternateContent":
        choice = node.find("{*}Choice")
        return "" if choice is None else "".join(map(_piece, choice))
    if name == "r" or (name == "fld" and attribute(node, "type") != "slidenum"):
        return "".join(text.text or "" for text in node.iter("{*}t"))
    return ""
