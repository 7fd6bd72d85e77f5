"""Parts of Office documents (.docx, .pptx, .xlsx), and the relations between them."""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from dream.documents.xml import local_name, parse

_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")


class Relation(NamedTuple):
    """A part to which another refers; `kind` is the end of its type, such as "chart" or "drawing"."""

    kind: str
    part: str


class Package:
    """The parts of an Office document by their names; `content` is the whole file."""

    def __init__(self, content: bytes):
        self.content = content
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self.names = frozenset(self._archive.namelist())

    def read(self, part: str) -> bytes:
        """The content of a part."""
        return self._archive.read(part)

    def related(self, part: str) -> dict[str, Relation]:
        """The existing parts to which a part refers, by the id of the relation."""
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        if relations not in self.names:
            return {}
        relations_by_id = {}
        for relation in parse(self.read(relations)):
            target = posixpath.join(f"/{folder}", relation.get("Target") or "")
            related = Relation(posixpath.basename(relation.get("Type") or ""), posixpath.normpath(target).lstrip("/"))
            if related.part in self.names:
                relations_by_id[relation.get("Id")] = related
        return relations_by_id


def transitional(content: bytes) -> bytes:
    """A strict Office document with the names that libraries support; any other document unchanged."""
    package = Package(content)
    if not any(_STRICT.search(package.read(name)) for name in package.names if name == "_rels/.rels"):
        return content
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in package.names:
            part = package.read(name)
            is_markup = name.endswith((".xml", ".rels"))
            copy.writestr(
                name, _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", part) if is_markup else part
            )
    return target.getvalue()


def attribute(node: Any, name: str) -> str:
    """An attribute by its local name in any namespace; "" if it is missing.

    Example:
        >>> attribute(parse(b'<a xmlns:r="urn:x" r:id="rId1"/>'), "id")
        'rId1'
    """
    return next((value for key, value in node.attrib.items() if key.rpartition("}")[2] == name), "")


def is_fallback(node: Any) -> bool:
    """True inside the copy of a shape for old programs."""
    return any(local_name(above) == "Fallback" for above in node.iterancestors())


def paragraphs(root: Any) -> Iterator[Any]:
    """The paragraphs of the shapes in a drawing or diagram, each once."""
    yield from (node for node in root.iter("{*}p") if not is_fallback(node))
