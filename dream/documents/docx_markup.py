"""Rewrites the markup of Word documents so that mammoth reads all of their text.

mammoth ignores unknown elements and the text in them: equations, simple fields, bidirectional text, ruby, charts,
SmartArt, and text boxes without a copy for old programs. Hidden text is removed.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import IO, Any

from dream.documents.drawings import drawing_lines
from dream.documents.equations import replace_equations
from dream.documents.office_parts import Package, is_fallback
from dream.documents.xml import local_name, parse, to_bytes

_FOLDER, _NOTES = "word/", ("word/footnotes.xml", "word/endnotes.xml")
_MARKS = (b"oMath", b"vanish", b"fldSimple", b"ruby", b":dir ", b":bdo ", b":drawing>", b":cr/", b":ptab ", b":textbox")
_WRAPPERS = ("fldSimple", "dir", "bdo")
# Elements that mammoth does not support, with an equivalent that it supports.
_ALIKE = {"cr": "br", "ptab": "tab", "oval": "rect", "line": "rect", "polyline": "rect", "arc": "rect"}


@contextmanager
def readable(package: Package) -> Iterator[IO[bytes]]:
    """A Word document as a file in which all text is in elements that mammoth supports."""
    parts = (name for name in package.names if name in _NOTES or is_document(name))
    changed = {part: xml for part in parts if (xml := _changed(package, part))}
    if not changed:
        yield io.BytesIO(package.content)
        return
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as copy:
        for name in package.names:
            copy.writestr(name, changed.get(name) or package.read(name))
    target.seek(0)
    yield target


def is_document(part: str) -> bool:
    """True for the part with the text; some programs number it."""
    return part.startswith(f"{_FOLDER}document") and part.endswith(".xml")


def n_inserted_files(package: Package) -> int:
    """The number of external files of other formats that Word inserts into the text on opening."""
    return sum(package.read(name).count(b"altChunk ") for name in package.names if is_document(name))


def _changed(package: Package, part: str) -> bytes | None:
    """The rewritten markup of a part; None if nothing needs to change."""
    xml = package.read(part)
    if not any(mark in xml for mark in _MARKS):
        return None
    root = parse(xml)
    _remove_hidden(root)
    replace_equations(root)
    for wrapper in list(root.iter(*(f"{{*}}{name}" for name in _WRAPPERS))):
        _replace(wrapper, list(wrapper))
    for ruby in list(root.iter("{*}ruby")):
        _replace(ruby, [run for base in ruby.iter("{*}rubyBase") for run in base])
    for node in list(root.iter(*(f"{{*}}{name}" for name in _ALIKE))):
        node.tag = f"{node.tag.partition('}')[0]}}}{_ALIKE[local_name(node)]}"
    for drawing in list(root.iter("{*}drawing")):
        _show_text(package, part, drawing)
    return to_bytes(root)


def _remove_hidden(root: Any) -> None:
    for mark in list(root.iterfind(".//{*}r/{*}rPr/{*}vanish")):
        value = next((text for name, text in mark.attrib.items() if name.endswith("}val")), "1")
        run = mark.getparent().getparent()
        if value not in ("0", "false", "off") and run.getparent() is not None:
            run.getparent().remove(run)


def _replace(node: Any, children: Sequence[Any]) -> None:
    parent = node.getparent()
    index = parent.index(node)
    parent[index : index + 1] = children


def _show_text(package: Package, part: str, drawing: Any) -> None:
    """Insert the text of a drawing next to it as a text box, unless its copy for old programs contains it."""
    if is_fallback(drawing):
        return
    anchor, copy = drawing, None
    for above in drawing.iterancestors("{*}AlternateContent"):
        anchor, copy = above, above.find("{*}Fallback")
    boxes = [] if copy is not None and copy.find(".//{*}txbxContent") is not None else _boxes(drawing)
    if lines := list(drawing_lines(package, part, drawing)):
        boxes.append(_box(drawing, lines))
    words = drawing.tag.partition("}")[0]
    for box in reversed(boxes):
        picture = drawing.makeelement(f"{words}}}pict")
        picture.append(box)
        anchor.addnext(picture)


def _boxes(drawing: Any) -> list[Any]:
    boxes = [box for box in drawing.iter("{*}txbxContent") if not is_fallback(box)]
    inner = {inside for box in boxes for inside in box.iterdescendants("{*}txbxContent")}
    return [deepcopy(box) for box in boxes if box not in inner]


def _box(drawing: Any, lines: Sequence[str]) -> Any:
    """A text box with one paragraph of these lines."""
    words = drawing.tag.partition("}")[0]
    box, paragraph, run = (drawing.makeelement(f"{words}}}{name}") for name in ("txbxContent", "p", "r"))
    box.append(paragraph)
    paragraph.append(run)
    for i, line in enumerate(lines):
        if i:
            run.append(drawing.makeelement(f"{words}}}br"))
        text = drawing.makeelement(f"{words}}}t")
        text.text = line
        run.append(text)
    return box
