"""Equations of Office documents as text: `(a + b)/2`, `x^2`, `√(x)`."""

from collections.abc import Callable
from typing import Any

from dream.documents.xml import local_name


def replace_equations(root: Any) -> None:
    """Put ordinary text in the place of the equations of a Word document."""
    words = root.tag.partition("}")[0]
    for equation in [node for node in root.iter("{*}oMath") if node.getparent() is not None]:
        run = root.makeelement(f"{words}}}r")
        text = root.makeelement(f"{words}}}t")
        run.append(text)
        text.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
        text.text = f" {equation_text(equation)} "
        run.tail = equation.tail
        equation.getparent().replace(equation, run)
    for group in list(root.iter("{*}oMathPara")):
        _unwrap(group)


def _unwrap(group: Any) -> None:
    """Put the runs in an element in its place."""
    parent, index = group.getparent(), group.getparent().index(group)
    for child in reversed(list(group)):
        if local_name(child) == "r":
            parent.insert(index, child)
    parent.remove(group)


def equation_text(node: Any) -> str:
    """An equation in Office Math Markup as a line of text."""
    name = local_name(node)
    if name == "t":
        return node.text or ""
    if name in _WRITERS:
        return _WRITERS[name](node)
    return "" if name.endswith("Pr") else _children(node)


def _children(node: Any) -> str:
    return "".join(equation_text(child) for child in node)


def _part(node: Any, name: str) -> str:
    element = node.find(f"{{*}}{name}")
    return "" if element is None else _children(element).strip()


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _property(node: Any, properties: str, name: str, default: str) -> str:
    element = node.find(f"{{*}}{properties}/{{*}}{name}")
    if element is None:
        return default
    return next((value for key, value in element.attrib.items() if key.endswith("val")), default)


def _script(node: Any, below: str = "sub", above: str = "sup") -> str:
    lower, upper = _part(node, below), _part(node, above)
    return (f"_{_grouped(lower)}" if lower else "") + (f"^{_grouped(upper)}" if upper else "")


def _root(node: Any) -> str:
    degree = _part(node, "deg")
    return f"{'' if degree in ('', '2') else f'{degree}-th '}√({_part(node, 'e')})"


def _delimited(node: Any) -> str:
    inside = _property(node, "dPr", "sepChr", "|").join(_children(part).strip() for part in node.findall("{*}e"))
    return f"{_property(node, 'dPr', 'begChr', '(')}{inside}{_property(node, 'dPr', 'endChr', ')')}"


def _matrix(node: Any) -> str:
    rows = [", ".join(_children(cell).strip() for cell in row.findall("{*}e")) for row in node.findall("{*}mr")]
    return f"[{'; '.join(rows)}]"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "f": lambda node: f"{_grouped(_part(node, 'num'))}/{_grouped(_part(node, 'den'))}",
    "sSup": lambda node: _grouped(_part(node, "e")) + _script(node),
    "sSub": lambda node: _grouped(_part(node, "e")) + _script(node),
    "sSubSup": lambda node: _grouped(_part(node, "e")) + _script(node),
    "sPre": lambda node: _script(node) + _part(node, "e"),
    "rad": _root,
    "nary": lambda node: f"{_property(node, 'naryPr', 'chr', '∫')}{_script(node)} {_part(node, 'e')}",
    "d": _delimited,
    "m": _matrix,
    "func": lambda node: f"{_part(node, 'fName')} {_part(node, 'e')}",
    "limLow": lambda node: f"{_part(node, 'e')}_{_grouped(_part(node, 'lim'))}",
    "limUpp": lambda node: f"{_part(node, 'e')}^{_grouped(_part(node, 'lim'))}",
    "eqArr": lambda node: "; ".join(_children(part).strip() for part in node.findall("{*}e")),
}
