"""Headings of documents: Markdown headings in the text, and those that a reader detected."""

import re
from typing import TYPE_CHECKING, NamedTuple

from dream.documents.stored_documents import HEADINGS

if TYPE_CHECKING:
    from llama_index.core import Document

# Increment this when the same documents get other headings.
VERSION = 2
# Chunkers that cut at headings.
FOLLOW_HEADINGS = ("headings",)

_MARKED = re.compile(r"^(#{1,6}) +(\S[^\n]*)", re.MULTILINE)
_CODE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?^[ \t]*\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)


class Heading(NamedTuple):
    """The place of a heading in a text, its level (1 for the highest), and its words."""

    start: int
    level: int
    words: str


def headings_of(document: "Document") -> list[Heading]:
    """The headings of a document in their order, without those in code blocks."""
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
