"""Analysis of text, also extracted from PDFs, into sentences."""

import re
from dataclasses import dataclass
from functools import lru_cache

from dream.offline.words import NEGATIONS, SCALES, STOP_WORDS, concept, number, numbers, tokens

_LIGATURES = str.maketrans({"ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff", "ﬃ": "ffi", "ﬄ": "ffl", "\u00ad": "", "\u00a0": " "})
_HYPHENATED = re.compile(r"([a-z])-[ \t]*\n[ \t]*([a-z])")
_METADATA = re.compile(r"^(?:page_label|file_\w+|creation_date|last_\w+_date|document_id|source|title): .*$")
_PAGE_LINE = re.compile(r"^(?:page\s+)?\d+(?:\s*(?:of|/)\s*\d+)?$|^-\s*\d+\s*-$", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[•▪◦●*–-]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+")
_HOP = re.compile(r"^<\d+-hop>\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|al|approx|fig|figs|eq|no|vol|pp|dr|mr|mrs|ms|prof|st|inc|ltd|co|dept|sec|ca)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])")
_LONGEST_ABBREVIATION = 10
_NEGATION_REACH = 2
_UNITS = frozenset({*SCALES, "percent", "per", "cent"})


@dataclass(frozen=True, slots=True)
class Sentence:
    """One analysed sentence. `stems`: its content words as concepts, in order; `negated`: the negated ones."""

    text: str
    stems: tuple[str, ...]
    bag: frozenset[str]
    numbers: frozenset[str]
    negated: frozenset[str]
    heading: str = ""


@lru_cache(maxsize=4096)
def analyse(text: str) -> tuple[Sentence, ...]:
    """The sentences of a passage, headings and page furniture left out; each knows the heading above it."""
    sentences = []
    heading = ""
    for kind, block in blocks(text):
        if kind == "heading":
            heading = block
        else:
            sentences.extend(analyse_sentence(part, heading) for part in split_sentences(block))
    return tuple(sentence for sentence in sentences if sentence.bag or sentence.numbers)


@lru_cache(maxsize=16384)
def analyse_sentence(text: str, heading: str = "") -> Sentence:
    """Analyse a text that is known to be one sentence, such as a question or a statement."""
    words = tokens(text)
    stems = tuple(concept(word) for word in words if is_content(word))
    return Sentence(text, stems, frozenset(stems), numbers(words), _negated(words), heading)


def is_content(word: str) -> bool:
    """True for a lower-case token that carries meaning: no stop word, no negation, no number, no single letter."""
    return not (len(word) < 2 or word in STOP_WORDS or word in NEGATIONS or word in _UNITS or number(word) is not None)


def _negated(words: list[str]) -> frozenset[str]:
    reached = set()
    for position, word in enumerate(words):
        if word in NEGATIONS:
            following = [concept(other) for other in words[position + 1 :] if is_content(other)]
            reached.update(following[:_NEGATION_REACH])
    return frozenset(reached)


def blocks(text: str) -> list[tuple[str, str]]:
    """Cut a passage into ("heading" | "text", block) pairs: wrapped lines joined, page furniture dropped."""
    text = _HYPHENATED.sub(r"\1\2", text.translate(_LIGATURES).replace("\r", ""))
    pairs: list[tuple[str, str]] = []
    for paragraph in re.split(r"\n\s*\n", text):
        pairs.extend(_paragraph_blocks([line.strip() for line in paragraph.split("\n")]))
    return pairs


def _paragraph_blocks(lines: list[str]) -> list[tuple[str, str]]:
    lines = [_HOP.sub("", line) for line in lines]
    lines = [line for line in lines if line and not _METADATA.match(line) and not _PAGE_LINE.match(line)]
    pairs: list[tuple[str, str]] = []
    running: list[str] = []
    for position, line in enumerate(lines):
        following = lines[position + 1] if position + 1 < len(lines) else ""
        ends_open = bool(running) and not _ends_sentence(running[-1])
        if _is_heading(line, following, ends_open):
            pairs.extend(_flush(running))
            pairs.append(("heading", line.strip("#*= ").strip()))
        elif _BULLET.match(line) or "|" in line:
            pairs.extend(_flush(running))
            running = [_BULLET.sub("", line).strip("| ")]
        else:
            running.append(line)
    return pairs + _flush(running)


def _flush(running: list[str]) -> list[tuple[str, str]]:
    joined = " ".join(running)
    running.clear()
    return [("text", joined)] if joined else []


def _ends_sentence(line: str) -> bool:
    return line.rstrip("\"'”’)]").endswith((".", "!", "?", ":", ";"))


def _is_heading(line: str, following: str, ends_open: bool) -> bool:
    if line.startswith("#"):
        return True
    words = line.split()
    if ends_open or _ends_sentence(line) or len(words) > 9 or len(line) > 80 or not line[0].isalnum():
        return False
    if following and not following[:1].isupper() and not _BULLET.match(following):
        return False
    return line[0].isupper() or bool(re.match(r"\d+(?:\.\d+)*\s+[A-Z]", line))


def split_sentences(block: str) -> list[str]:
    """Split running text at sentence ends, but not after abbreviations or initials."""
    pieces: list[str] = []
    start = 0
    for boundary in _BOUNDARY.finditer(block):
        ending = block[max(start, boundary.start() - _LONGEST_ABBREVIATION) : boundary.start()]
        if _ABBREVIATION.search(ending.rstrip("\"'”’)]")):
            continue
        pieces.append(block[start : boundary.start()])
        start = boundary.end()
    pieces.append(block[start:])
    return [" ".join(piece.split()) for piece in pieces if piece.strip()]
