"""Evidence: the places in the documents that contain a ground truth, and the retrieved passages that cover them.

Whether a passage covers a place is decided by the most precise information that both have:

* characters of the same document: at least half of the shorter of the two is in the other;
* text (in the same file, if both name one): at least half of the shorter text's runs of three tokens are in the other;
* the same file and page;
* the same file.

So one passage may cover several places, several passages may cover one place, and the chunking of the documents does
not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dream.errors import DataError
from dream.evaluation.normalised_text import tokens_of
from dream.records import Passage

SHARE = 0.5
RUN = 3


@dataclass(frozen=True)
class Place:
    """A place in the documents. At least the file or the text is known.

    Attributes:
        digest: the file's SHA-256; `start` and `end` are characters in the text of all its pages.
        pages: the page numbers, as in `Passage.page_label`.
    """

    file: str = ""
    digest: str = ""
    start: int | None = None
    end: int | None = None
    pages: tuple[str, ...] = ()
    text: str = ""

    @property
    def known_by(self) -> str:
        """The most precise known information: "position", "text", "page" or "file"."""
        if self.digest and self.start is not None:
            return "position"
        return "text" if self.text else "page" if self.pages else "file"

    def __str__(self) -> str:
        pages = f", page {' and '.join(self.pages)}" if self.pages else ""
        return f"{self.file}{pages}" if self.file else f'"{" ".join(self.text.split())[:60]}"'


@dataclass(frozen=True)
class Evidence:
    """The places of a question's ground truth; if there are none, `unmatched` has the reason."""

    places: tuple[Place, ...] = ()
    unmatched: str = ""


@dataclass(frozen=True)
class Covered:
    """A place, and the ranks (starting with 1) of the passages that cover it."""

    place: Place
    ranks: tuple[int, ...]


def coverage(passages: Sequence[Passage], places: Sequence[Place]) -> tuple[Covered, ...]:
    """For each place the ranks of the passages that cover it.

    Raises:
        DataError: if a passage and a place have no comparable information.
    """
    return tuple(
        Covered(place, tuple(rank for rank, passage in enumerate(passages, 1) if covers(passage, place)))
        for place in places
    )


def covers(passage: Passage, place: Place) -> bool:
    """True if a passage covers a place.

    Raises:
        DataError: if they have no comparable information.

    Example:
        >>> covers(Passage("", "wells.pdf", "3"), Place("wells.pdf", pages=("3", "4")))
        True
        >>> covers(Passage("The well is 17 m deep.", "wells.pdf"), Place(text="the well is  17 m deep"))
        True
    """
    if place.known_by == "position" and passage.file_digest and passage.start is not None:
        return _overlap(passage, place) > 0 and passage.file_digest == place.digest
    if place.file and passage.file_name and place.file != passage.file_name:
        return False
    if place.text:
        return text_overlap(passage.text, place.text) >= SHARE
    if place.file and not passage.file_name:
        raise DataError(f"a retrieved passage names no file, so it cannot be compared with {place}")
    if not place.pages:
        return True
    if not (pages := pages_of(passage)):
        raise DataError(f"a passage of {passage.file_name} names no page, so it cannot be compared with {place}")
    return any((place.file, page) in pages for page in place.pages)


def pages_of(passage: Passage) -> set[tuple[str, str]]:
    """The pages that a passage is on, each with its file."""
    return {(source.file, source.page) for source in passage.sources if source.page}


def _overlap(passage: Passage, place: Place) -> int:
    """The number of characters that passage and place share; 0 if it is less than half of the shorter one."""
    first, second = (passage.start or 0, passage.end or 0), (place.start or 0, place.end or 0)
    shared = min(first[1], second[1]) - max(first[0], second[0])
    shorter = min(first[1] - first[0], second[1] - second[0])
    return shared if shared > 0 and shared >= SHARE * shorter else 0


def text_overlap(first: str, second: str) -> float:
    """The share (0 to 1) of the shorter text's runs of three tokens that occur in the other.

    Example:
        >>> text_overlap("The old well is 17 m deep.", "Built in 1931, the old well is 17 m wide.")
        0.8
    """
    shorter, longer = sorted((tokens_of(first), tokens_of(second)), key=len)
    return share_of_runs(shorter, runs_of(longer, min(RUN, len(shorter))))


def share_of_runs(tokens: Sequence[str], runs: set[tuple[str, ...]]) -> float:
    """The share of the runs of tokens that are in a set of runs; 0 without tokens."""
    own = runs_of(tokens, min(RUN, len(tokens)))
    return len(own & runs) / len(own) if own else 0.0


def runs_of(tokens: Sequence[str], length: int = RUN) -> set[tuple[str, ...]]:
    """All runs of `length` tokens; none for a length of 0."""
    return set(zip(*(tokens[i:] for i in range(length)), strict=False)) if length else set()
