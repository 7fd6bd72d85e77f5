"""`locate`: locates the evidence of golden questions in the documents, before any question is asked.

Generated questions have the characters of their evidence. For a user's questions, reference contexts are searched in
the documents, and files and pages are checked. Evidence that cannot be found is reported, because no passage could
cover it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dream.documents.loading import merge_pages, page_of
from dream.documents.stored_documents import StoredDocuments, characters_of
from dream.evaluation.evidence import SHARE, Evidence, Place, runs_of, share_of_runs, text_overlap
from dream.evaluation.normalised_text import UNSPACED, tokens_of
from dream.records import EvidenceSpan, GoldenQuestion, Source

if TYPE_CHECKING:
    from llama_index.core import Document

# Above this number of contexts x characters, reference contexts are not searched, but only compared with passages.
SEARCHED_CHARACTERS = 4_000_000_000
# Characters between which lines may break without a space.
_WITHOUT_SPACES = f"{UNSPACED}\u3000-\u303f\uac00-\ud7a3\uff00-\uffef"
_SPACES_OPTIONAL = re.compile(f"[{_WITHOUT_SPACES}]")
_PARTS = re.compile(f"[{_WITHOUT_SPACES}]| |[^ {_WITHOUT_SPACES}]+")
_RANGE = re.compile(r"(\d+)\s*[-–—]\s*(\d+)")
_PAGES_AT_MOST = 50


def known_evidence(question: GoldenQuestion) -> Evidence:
    """The evidence that a question names, not located in any document."""
    contexts, sources, spans = question.reference_contexts, question.sources, question.evidence
    if spans:
        texts = contexts if len(contexts) == len(spans) else ("",) * len(spans)
        places = [
            Place(span.file, span.digest, span.start, span.end, span.pages, text)
            for span, text in zip(spans, texts, strict=True)
        ]
    elif contexts:
        files = [source.file for source in sources] if len(sources) == len(contexts) else [""] * len(contexts)
        places = [Place(file, text=text) for file, text in zip(files, contexts, strict=True) if tokens_of(text)]
    else:
        places = [Place(source.file, pages=tuple(_pages(source.page))) for source in sources if source.file]
    reason = "" if places else "the question names neither reference contexts nor source files"
    return Evidence(tuple(dict.fromkeys(places)), reason)


def locate(questions: Sequence[GoldenQuestion], documents: "Sequence[Document]") -> dict[str, Evidence]:
    """The evidence of each question, located in the documents, by question id.

    Args:
        documents: pages, as returned by `dream.documents.load_documents`.
    """
    files = _Files(documents)
    contexts = sum(len(question.reference_contexts) for question in questions if not files.has(question))
    searched = contexts * files.characters <= SEARCHED_CHARACTERS
    return {question.id: _located(question, files, searched) for question in questions}


def summary(evidence: Iterable[Evidence]) -> str:
    """A sentence with the number of questions whose evidence can be matched, by kind of information, and the reasons
    for the others.

    Example:
        >>> summary([Evidence((Place("a.pdf", pages=("3",)),)), Evidence(unmatched="it names nothing")])
        'evidence of 1 of 2 questions can be matched (1 by page); not of 1: it names nothing'
    """
    evidences = list(evidence)
    by = Counter(max((place.known_by for place in each.places), key=_LEVELS.index) for each in evidences if each.places)
    levels = ", ".join(f"{by[level]} by {level}" for level in _LEVELS if by[level])
    text = f"evidence of {sum(by.values())} of {len(evidences)} questions can be matched" + (
        f" ({levels})" if by else ""
    )
    reasons = Counter(each.unmatched for each in evidences if not each.places)
    shown = [f"not of {n}: {reason}" for reason, n in reasons.most_common(3)]
    rest = sum(reasons.values()) - sum(n for _, n in reasons.most_common(3))
    return "; ".join([text, *shown, *([f"not of {rest} more"] if rest else [])])


_LEVELS = ("position", "text", "page", "file")


class _Files:
    """The documents by file, for searching; of `StoredDocuments`, only the texts of requested files are read."""

    def __init__(self, documents: "Sequence[Document]") -> None:
        self._documents = documents
        self._pages: dict[str, list[Document]] = {}
        self._whole: dict[str, Document] = {}
        self._runs: dict[str, set[tuple[str, ...]]] = {}
        if isinstance(documents, StoredDocuments):
            self._digests = {file.name: file.digest for file in documents.files}
        else:
            self._digests = {page.metadata["file_name"]: page.metadata["file_digest"] for page in documents}
            for page in documents:
                self._pages.setdefault(page.metadata["file_name"], []).append(page)
        self.names, self.characters = list(self._digests), characters_of(documents)
        self._files = {digest: file for file, digest in self._digests.items()}
        self._plain: dict[str, list[str]] = {}
        for file in self.names:
            self._plain.setdefault(_plain(file), []).append(file)

    def pages(self, file: str) -> set[str]:
        """The labels of the pages of a file that have text."""
        return {label for _, label in self.whole(file).metadata["page_starts"]}

    def whole(self, file: str) -> "Document":
        """A file with its pages joined."""
        if file not in self._whole:
            documents = self._documents
            pages = documents.only([file]) if isinstance(documents, StoredDocuments) else self._pages[file]
            (self._whole[file],) = merge_pages(pages)
        return self._whole[file]

    def has(self, question: GoldenQuestion) -> bool:
        """True if a question has evidence spans, and its files and reference contexts are unchanged."""
        spans, contexts = question.evidence, question.reference_contexts
        if not spans or not all(span.digest in self._files for span in spans):
            return False
        pairs = zip(spans, contexts, strict=True) if len(spans) == len(contexts) else ()
        return all(text_overlap(self._text_at(span), text) >= SHARE for span, text in pairs)

    def _text_at(self, span: EvidenceSpan) -> str:
        return self.whole(self._files[span.digest]).text[span.start : span.end]

    def named(self, file: str) -> str:
        """The file with this name, or with this last part of its path if that is unique; else ""."""
        if file in self._digests:
            return file
        alike = self._plain.get(_plain(file), [])
        return alike[0] if len(alike) == 1 else ""

    def find(self, text: str, files: Sequence[str]) -> Place | None:
        """The place of a text in the files: its characters if it occurs once, else only the text; None if it does not
        occur."""
        hits = list(self._hits(text, files))
        if len(hits) == 1:
            file, start, end = hits[0]
            metadata = self.whole(file).metadata
            pages = dict.fromkeys(page_of(metadata, offset) for offset in _offsets(metadata, start, end))
            return Place(file, metadata["file_digest"], start, end, tuple(page for page in pages if page), text)
        if hits or self._is_in_one(tokens_of(text), files):
            return Place(files[0] if len(files) == 1 else "", text=text)
        return None

    def _hits(self, text: str, files: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """The first two occurrences of a text, ignoring differences in white space."""
        pattern, n = _pattern(text), 0
        for file in files:
            for hit in pattern.finditer(self.whole(file).text):
                yield file, hit.start(), hit.end()
                n += 1
                if n == 2:
                    return

    def _is_in_one(self, tokens: list[str], files: Sequence[str]) -> bool:
        return any(share_of_runs(tokens, self._runs_of(file)) >= SHARE for file in files)

    def _runs_of(self, file: str) -> set[tuple[str, ...]]:
        if file not in self._runs:
            self._runs[file] = runs_of(tokens_of(self.whole(file).text))
        return self._runs[file]


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern for a text with any white space in place of its own; optional around characters of scripts without
    spaces, whose lines break without a space.

    Example:
        >>> bool(_pattern("東京 タワー").search("東\\n京タワー")), bool(_pattern("a well").search("awell"))
        (True, False)
    """
    parts = _PARTS.findall(" ".join(text.split()))
    written = ""
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        if part == " ":
            written += r"\s*" if _SPACES_OPTIONAL.match(before) or _SPACES_OPTIONAL.match(after) else r"\s+"
        elif before not in ("", " ") and (_SPACES_OPTIONAL.match(before) or _SPACES_OPTIONAL.match(part)):
            written += r"\s*" + re.escape(part)
        else:
            written += re.escape(part)
    return re.compile(written)


def _located(question: GoldenQuestion, files: _Files, searched: bool) -> Evidence:
    if files.has(question):
        return known_evidence(question)
    contexts, sources = question.reference_contexts, question.sources
    places: list[Place] = []
    for number, text in enumerate(contexts):
        source = sources[number] if len(sources) == len(contexts) else None
        place, reason = _context_place(text, source, sources, files, searched)
        if place is None:
            return Evidence(unmatched=f"reference context {number + 1} {reason}")
        places.append(place)
    if not contexts:
        for source in sources:
            place, reason = _source_place(source, files)
            if place is None:
                return Evidence(unmatched=reason)
            places.append(place)
    return Evidence(tuple(dict.fromkeys(places))) if places else known_evidence(question)


def _context_place(
    text: str, source: Source | None, sources: Sequence[Source], files: _Files, searched: bool
) -> tuple[Place | None, str]:
    """The place of a reference context, by its text or else by its source; None with the reason if neither is found."""
    named = [name for each in ([source] if source else sources) if (name := files.named(each.file))]
    if not tokens_of(text):
        return None, "is empty"
    if not searched:
        return Place(named[0] if len(named) == 1 else "", text=text), ""
    if place := files.find(text, named or files.names):
        return place, ""
    if source and source.file:
        place, reason = _source_place(source, files)
        return place, f"is not in the documents, and {reason}"
    return None, "is not in the documents"


def _source_place(source: Source, files: _Files) -> tuple[Place | None, str]:
    """The page or the file of a source; None with the reason if it does not exist."""
    if not (file := files.named(source.file)):
        return None, f"no document is called {source.file!r}"
    if not source.page:
        return Place(file), ""
    there, asked = files.pages(file), _pages(source.page)
    pages = tuple(page for page in asked if page in there)
    if pages:
        return Place(file, pages=pages), ""
    numbered = sorted((page for page in there if page), key=lambda page: (len(page), page))
    has = f"pages with text are {numbered[0]} to {numbered[-1]}" if numbered else "it is read without pages"
    return None, f"page {source.page!r} of {file} cannot be matched: {has}"


def _pages(text: str) -> list[str]:
    """The pages that a text names: "7", "p. 7", "3-5", "3, 5".

    Example:
        >>> _pages("7"), _pages("p. 3-5, 9"), _pages("iv")
        (['7'], ['3', '4', '5', '9'], ['iv'])
    """
    return list(dict.fromkeys(page for part in text.split(",") for page in _pages_of_part(part)))


def _pages_of_part(text: str) -> list[str]:
    if found := _RANGE.search(text):
        first, last = int(found[1]), int(found[2])
        if first <= last < first + _PAGES_AT_MOST:
            return [str(page) for page in range(first, last + 1)]
    number = re.search(r"\d+", text)
    return [str(int(number[0]))] if number else [text.strip()] if text.strip() else []


def _offsets(metadata: Mapping[str, object], start: int, end: int) -> list[int]:
    """The first character of a span, and of each further page in it."""
    starts = metadata.get("page_starts")
    further = [offset for offset, _ in starts if start < offset < end] if isinstance(starts, list) else []
    return [start, *further]


def _plain(file: str) -> str:
    """The normalised last part of a path, as file systems may not distinguish case or Unicode forms."""
    return unicodedata.normalize("NFC", re.split(r"[/\\]", file)[-1]).casefold()
