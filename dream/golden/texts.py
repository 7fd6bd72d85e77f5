"""How much text each file has: what questions are allotted by."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dream.golden.allotment import FileText
from dream.golden.generator import LEAST_TOKENS
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import Document

# The tokens of so many characters are counted; those of a longer file follow from its characters.
COUNTED_CHARACTERS = 20_000
FILES_NAMED = 10


def file_texts(documents: "Iterable[Document]") -> tuple[list[FileText], list[str]]:
    """The files that can be asked about, in order of their names, and a line for each that is too short."""
    pages: dict[str, list[str]] = {}
    for document in documents:
        pages.setdefault(document.metadata["file_name"], []).append(document.text)
    texts = [FileText(file, _tokens(pages[file])) for file in sorted(pages)]
    short = [text for text in texts if text.tokens < LEAST_TOKENS]
    return [text for text in texts if text.tokens >= LEAST_TOKENS], _told(short)


def _tokens(pages: Sequence[str]) -> int:
    counted = length = 0
    for page in pages:
        part = page[: COUNTED_CHARACTERS - length]
        counted += count_tokens(part)
        length += len(part)
        if length >= COUNTED_CHARACTERS:
            break
    return round(counted * sum(map(len, pages)) / length) if length else 0


def _told(short: Sequence[FileText]) -> list[str]:
    needed = f"at least {LEAST_TOKENS} are needed to ask about a text"
    if len(short) <= FILES_NAMED:
        return [f"{text.file}: {text.tokens} tokens; {needed}" for text in short]
    named = ", ".join(text.file for text in short[:FILES_NAMED])
    return [f"{len(short)} files have fewer tokens; {needed}: {named} and {len(short) - FILES_NAMED} more"]
