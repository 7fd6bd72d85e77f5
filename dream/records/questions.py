"""Golden questions: question, ground truth, reference contexts and their sources in the documents."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

_SEPARATOR = "; "
_PAGES = re.compile(r"([0-9]+) ?[-–] ?([0-9]+)")
MOST_PAGES = 10_000  # of one range


def digest(value: Any) -> str:
    """The SHA-256 (64 hexadecimal digits) of a JSON value, independent of the order of keys.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_list(values: Iterable[Any]) -> str:
    """`digest(list(values))`, with one value in memory at a time.

    Example:
        >>> digest_of_list(iter(["a", 1])) == digest(["a", 1])
        True
    """
    whole, separator = hashlib.sha256(b"["), b""
    for value in values:
        whole.update(separator + _canonical(value))
        separator = b","
    whole.update(b"]")
    return whole.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


@dataclass(frozen=True)
class Source:
    """The file and page of a passage. `page` counts from 1 and is empty for a file without pages.

    A passage that spans several pages names them all in `page` (see `page_label`).

    Example:
        >>> print(Source("handbook.pdf", "7"), "|", Source("handbook.pdf", "7-9"), "|", Source("notes.md"))
        handbook.pdf, page 7 | handbook.pdf, pages 7-9 | notes.md
    """

    file: str
    page: str = ""

    def __str__(self) -> str:
        plural = "s" * (len(pages_of(self.page)) > 1)
        return f"{self.file}, page{plural} {self.page}" if self.page else self.file

    @property
    def pages(self) -> "tuple[Source, ...]":
        """A source for each named page, so that sources can be compared by page.

        Example:
            >>> Source("handbook.pdf", "7-8").pages
            (Source(file='handbook.pdf', page='7'), Source(file='handbook.pdf', page='8'))
        """
        return tuple(Source(self.file, page) for page in pages_of(self.page) or ("",))


@dataclass(frozen=True)
class EvidenceSpan:
    """The location of a reference context in a document: the file, its SHA-256, the range of characters in the text of
    all pages (see `dream.documents.merge_pages`), and the pages."""

    file: str
    digest: str
    start: int
    end: int
    pages: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EvidenceSpan":
        """The inverse of `asdict`."""
        return cls(data["file"], data["digest"], data["start"], data["end"], tuple(data.get("pages") or ()))


@dataclass(frozen=True)
class GoldenQuestion:
    """One question of the golden dataset, with its ground truth: the answer that is considered correct.

    Attributes:
        id: equal for equal questions and ground truths; trials are paired by it.
        reference_contexts: the passages that contain the ground truth; empty if the dataset has none.
        sources: the source of each reference context in the same order, if the dataset names all of them.
        synthesizer: the ragas synthesizer that generated the question; empty for a user's question.
        evidence: the location of each reference context in the documents, for generated questions.
    """

    id: str
    question: str
    ground_truth: str
    reference_contexts: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    synthesizer: str = ""
    evidence: tuple[EvidenceSpan, ...] = ()

    @staticmethod
    def make_id(question: str, ground_truth: str) -> str:
        """The id of a question: 12 hexadecimal digits from its text and its ground truth."""
        return digest([question, ground_truth])[:12]

    @property
    def document(self) -> str:
        """The file of the first source, which is the cluster of the question in comparisons; empty if unknown."""
        return self.sources[0].file if self.sources else ""

    def to_row(self) -> dict[str, Any]:
        """The question as a row of a table, its sources as the texts of two columns (see `source_columns`)."""
        source_file, source_page = source_columns(self.sources)
        return {
            "id": self.id,
            "question": self.question,
            "ground_truth": self.ground_truth,
            "reference_contexts": list(self.reference_contexts),
            "source_file": source_file,
            "source_page": source_page,
            "synthesizer": self.synthesizer,
            **({"evidence_spans": [asdict(span) for span in self.evidence]} if self.evidence else {}),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "GoldenQuestion":
        """The inverse of `to_row`, also for rows of version 0.1. Only `question` and `ground_truth` are required."""
        return cls(
            row.get("id") or cls.make_id(row["question"], row["ground_truth"]),
            row["question"],
            row["ground_truth"],
            tuple(row.get("reference_contexts") or ()),
            sources_of(row.get("source_file") or "", row.get("source_page") or ""),
            row.get("synthesizer") or "",
            tuple(map(EvidenceSpan.from_json, row.get("evidence_spans") or ())),
        )


@dataclass(frozen=True)
class GoldenDataset:
    """The questions of an experiment, and the URI that they were read from (empty for questions in memory)."""

    questions: tuple[GoldenQuestion, ...]
    uri: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all questions with their fields, in order."""
        return digest([question.to_row() for question in self.questions])


def source_columns(sources: Sequence[Source]) -> tuple[str, str]:
    """The files and the pages of sources as two readable texts; `sources_of` is the inverse.

    Several names are joined by "; ", or written as a JSON list if a name contains the separator.

    Example:
        >>> source_columns([Source("a.pdf", "3"), Source("b.pdf", "7")])
        ('a.pdf; b.pdf', '3; 7')
        >>> source_columns([Source("a; b.pdf", "3")])
        ('["a; b.pdf"]', '3')
    """
    files, pages = [source.file for source in sources], [source.page for source in sources]
    return _column(files), _column(pages) if any(pages) else ""


def sources_of(source_file: str, source_page: str) -> tuple[Source, ...]:
    """The sources in two columns of a table; if one column has fewer entries, the missing ones are empty."""
    pairs = zip_longest(_parts(source_file), _parts(source_page), fillvalue="")
    return tuple(Source(file, page) for file, page in pairs)


def page_label(pages: Iterable[str]) -> str:
    """Pages as one text, with consecutive pages as a range; `pages_of` is the inverse.

    Example:
        >>> page_label(["3", "4", "5", "9", "iv"]), page_label(["3"]), page_label([])
        ('3-5, 9, iv', '3', '')
    """
    runs: list[list[str]] = []
    for page in dict.fromkeys(page for page in pages if page):
        if runs and page.isdecimal() and runs[-1][-1].isdecimal() and int(page) == int(runs[-1][-1]) + 1:
            runs[-1].append(page)
        else:
            runs.append([page])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def pages_of(label: str) -> tuple[str, ...]:
    """Each page that a label names.

    Example:
        >>> pages_of("3-5, 9, iv"), pages_of("A-3"), pages_of("")
        (('3', '4', '5', '9', 'iv'), ('A-3',), ())
    """
    parts = [part.strip() for part in label.split(",") if part.strip()]
    return tuple(dict.fromkeys(page for part in parts for page in _range(part)))


def _range(part: str) -> Sequence[str]:
    match = _PAGES.fullmatch(part)
    first, last = map(int, match.groups()) if match else (0, -1)
    return [str(page) for page in range(first, last + 1)] if 0 <= last - first < MOST_PAGES else [part]


def _column(texts: Sequence[str]) -> str:
    joined = _SEPARATOR.join(texts)
    return joined if _parts(joined) == list(texts) else json.dumps(list(texts), ensure_ascii=False)


def _parts(text: str) -> list[str]:
    if text.startswith("["):
        try:
            parts = json.loads(text)
        except ValueError:
            parts = None
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return parts
    return text.split(_SEPARATOR) if text else []
