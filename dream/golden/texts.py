"""The amount of text per file, in proportion to which questions are allotted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dream.golden.allotment import FileText
from dream.golden.generator import LEAST_TOKENS
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import Document

# Tokens are counted in this many characters, and extrapolated for longer files.
COUNTED_CHARACTERS = 20_000
FILES_NAMED = 10


def file_texts(documents: "Iterable[Document]") -> tuple[list[FileText], list[str]]:
    """The files that are long enough for questions, sorted by name, and a line for each that is too short."""
    counted: dict[str, _Counted] = {}
    for document in documents:
        counted.setdefault(document.metadata["file_name"], _Counted()).add(document.text)
    texts = [FileText(file, counted[file].estimate()) for file in sorted(counted)]
    short = [text for text in texts if text.tokens < LEAST_TOKENS]
    return [text for text in texts if text.tokens >= LEAST_TOKENS], _told(short)


@dataclass
class _Counted:
    """The characters of a file, the number of characters whose tokens were counted, and these tokens."""

    characters: int = 0
    counted: int = 0
    tokens: int = 0

    def add(self, page: str) -> None:
        self.characters += len(page)
        if part := page[: COUNTED_CHARACTERS - self.counted]:
            self.tokens += count_tokens(part)
            self.counted += len(part)

    def estimate(self) -> int:
        return round(self.tokens * self.characters / self.counted) if self.counted else 0


def _told(short: Sequence[FileText]) -> list[str]:
    needed = f"at least {LEAST_TOKENS} are needed for a question"
    if len(short) <= FILES_NAMED:
        return [f"{text.file}: {text.tokens} tokens; {needed}" for text in short]
    named = ", ".join(text.file for text in short[:FILES_NAMED])
    return [f"{len(short)} files have fewer tokens; {needed}: {named} and {len(short) - FILES_NAMED} more"]
