"""Headings of documents: those marked by `#` in the text, as in Markdown, and those that a reader found beside it."""

import re
from typing import TYPE_CHECKING, NamedTuple

from dream.documents.stored_documents import HEADINGS

if TYPE_CHECKING:
    from llama_index.core import Document

# Raise it when the same documents have other headings than before.
VERSION = 2
# Chunkers that cut where headings are.
FOLLOW_HEADINGS = ("headings",)

_MARKED = re.compile(r"^(#{1,6}) +(\S[^\n]*)", re.MULTILINE)
_CODE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?^[ \t]*\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)


class Heading(NamedTuple):
    """The place of a heading in a text, its level (1 for the highest), and its words."""

    start: int
    level: int
    words: str


def headings_of(document: "Document") -> list[Heading]:
    """The headings of a document in their order; none in blocks of code."""
    text = document.text
    code = [match.span() for match in _CODE.finditer(text)] if "```" in text or "~~~" in text else []
    marked = [
        Heading(match.start(), len(match[1]), match[2].rstrip(" #"))
        for match in _MARKED.finditer(text)
        if not any(start <= match.start() < end for start, end in code)
    ]
    beside = [
        Heading(start, level, " ".join(text[start:end].split()))
        for start, end, level in document.metadata.get(HEADINGS, ())
    ]
    return sorted([*marked, *beside])
