"""The headings that the structure tags of a PDF name: elements H1 to H6, by the numbers of their marked content."""

import ctypes
from collections.abc import Iterator
from typing import Any

# A page with more elements than this is read without tags; so is what is nested deeper.
MAX_ELEMENTS, MAX_DEPTH = 20_000, 60
# Elements that hold no headings, and most of the others.
_CLOSED = frozenset({"P", "Table", "L", "TOC", "Figure", "Formula", "Form", "Caption", "Index", "Span", "Link", "Note"})


def is_tagged(document: Any) -> bool:
    from pypdfium2 import raw

    return bool(raw.FPDFCatalog_IsTagged(document))


def heading_tags(page: Any) -> dict[int, int]:
    """The level of each piece of marked content that belongs to a heading."""
    from pypdfium2 import raw

    tree = raw.FPDF_StructTree_GetForPage(page)
    if not tree:
        return {}
    try:
        levels: dict[int, int] = {}
        for n_elements, (element, level) in enumerate(_elements(tree)):
            if n_elements > MAX_ELEMENTS:
                return {}
            if level:
                levels |= dict.fromkeys(_contents(element), level)
        return levels
    finally:
        raw.FPDF_StructTree_Close(tree)


def _elements(tree: Any) -> Iterator[tuple[Any, int]]:
    """The elements that may hold headings, each with the level of the heading that it is or is in, else 0."""
    from pypdfium2 import raw

    n_roots = raw.FPDF_StructTree_CountChildren(tree)
    waiting = [(raw.FPDF_StructTree_GetChildAtIndex(tree, i), 0, 0) for i in range(n_roots)]
    while waiting:
        element, level, depth = waiting.pop()
        if not element or depth > MAX_DEPTH:
            continue
        kind = _kind(element)
        if level or kind not in _CLOSED:
            level = level or _level(kind)
            yield element, level
            n = raw.FPDF_StructElement_CountChildren(element)
            waiting += [(raw.FPDF_StructElement_GetChildAtIndex(element, i), level, depth + 1) for i in range(n)]


def _kind(element: Any) -> str:
    """The name of an element's type as the standard has it; "" for a longer one than these have."""
    from pypdfium2 import raw

    name = ctypes.create_string_buffer(24)
    size = raw.FPDF_StructElement_GetType(element, name, len(name))
    return name.raw[: size - 2].decode("utf-16-le", "replace") if 2 < size <= len(name) else ""


def _level(kind: str) -> int:
    return int(kind[1]) if len(kind) == 2 and kind[0] == "H" and kind[1] in "123456" else 0


def _contents(element: Any) -> Iterator[int]:
    from pypdfium2 import raw

    for i in range(raw.FPDF_StructElement_GetMarkedContentIdCount(element)):
        if (number := raw.FPDF_StructElement_GetMarkedContentIdAtIndex(element, i)) >= 0:
            yield number
