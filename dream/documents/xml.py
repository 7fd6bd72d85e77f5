"""Parses the XML in Office documents, without expanding entities, which could grow without limit."""

from typing import Any


def parse(xml: bytes) -> Any:
    """The root element, of lxml."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - lxml has no stubs

    return etree.fromstring(xml, etree.XMLParser(resolve_entities=False))


def to_bytes(root: Any) -> bytes:
    """An element serialised as an XML document."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)


def local_name(node: Any) -> str:
    """The name of an element without its namespace; "" for a comment.

    Example:
        >>> local_name(parse(b"<a xmlns='urn:x'/>"))
        'a'
    """
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
