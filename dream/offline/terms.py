"""The subject of a text: names, themes, headings, title and summary."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from dream.offline.grammar import infinitive
from dream.offline.text import analyse, blocks, is_content
from dream.offline.words import concept

_CAPITALISED = r"(?:[A-Z][\w’'-]*[\w]|[A-Z])"
_NAME = re.compile(rf"{_CAPITALISED}(?:\s+(?:(?:of|de|van|von|the|for|and)\s+)?{_CAPITALISED})*")
_WORD = re.compile(r"[^\W\d_][\w’'-]*|\d[\w.,%]*|[^\w\s]")
_OPENING = re.compile(r"\S+(?:[ \t]+\S+){2,5}")
_ENDS_NO_NOUN = ("ly", "ous", "ful", "ive", "able", "ible", "ish")
_LONGEST_NAME_WORDS = 5


def names(text: str, most: int) -> list[str]:
    """Named things: capitalised runs and acronyms, the most frequent first; themes are added if there are few names."""
    counted: Counter[str] = Counter()
    for sentence in analyse(text):
        counted.update(_names_in(sentence.text))
    ranked = [name for name, _ in sorted(counted.items(), key=lambda item: -item[1])]
    chosen = _distinct(ranked)[:most]
    wanted = min(most, 5)
    if len(chosen) < wanted:
        chosen += [theme for theme in themes(text, most) if theme.lower() not in {n.lower() for n in chosen}]
        chosen = chosen[:wanted]
    return chosen


def _names_in(sentence: str) -> Iterable[str]:
    for match in _NAME.finditer(sentence):
        name = _without_opener(match[0]) if match.start() == 0 else match[0]
        if name and len(name) > 1 and len(name.split()) <= _LONGEST_NAME_WORDS and is_content(name.lower()):
            yield name


def _without_opener(name: str) -> str:
    """At the start of a sentence, a capital proves nothing: keep acronyms, and what follows a stop word."""
    first, _, remainder = name.partition(" ")
    if not is_content(first.lower()):
        return re.sub(r"^(?:of|the|for|and)\s+", "", remainder)
    if remainder or first.isupper() or any(letter.isupper() or letter.isdigit() for letter in first[1:]):
        return name
    return ""


def themes(text: str, most: int) -> list[str]:
    """Noun-like phrases of one to three words, those of most weight first, each in its most frequent spelling."""
    spelled: dict[tuple[str, ...], Counter[str]] = {}
    counted: Counter[tuple[str, ...]] = Counter()
    for sentence in analyse(text):
        for phrase in _phrases(sentence.text):
            key = tuple(concept(word.lower()) for word in phrase)
            counted[key] += 1
            spelled.setdefault(key, Counter())[" ".join(phrase)] += 1
    words = Counter(root for key, count in counted.items() for root in key for _ in range(count))
    weight = {key: count * sum(words[root] for root in key) ** 0.5 * len(key) ** 0.5 for key, count in counted.items()}
    ranked = sorted(counted, key=lambda key: (-weight[key], key))
    return _distinct(spelled[key].most_common(1)[0][0] for key in ranked)[:most]


def _phrases(sentence: str) -> Iterable[list[str]]:
    run: list[str] = []
    for word in [*_WORD.findall(sentence), "."]:
        if word[0].isalpha() and is_content(word.lower()) and not _is_verb_form(word):
            run.append(word)
            continue
        while run and run[-1].lower().endswith(_ENDS_NO_NOUN):
            run.pop()
        if run and not (len(run) == 1 and len(run[0]) < 4 and not run[0].isupper()):
            yield run[-3:]
        run = []


def _is_verb_form(word: str) -> bool:
    base = infinitive(word.lower())
    return (base is not None and word.lower() != base and not word.lower().endswith("s")) or word.lower().endswith("ly")


def _distinct(phrases: Iterable[str]) -> list[str]:
    """The phrases without those that contain, or are contained in, an earlier one."""
    kept: list[str] = []
    for phrase in phrases:
        lowered = phrase.lower()
        if not any(lowered in other.lower() or other.lower() in lowered for other in kept):
            kept.append(phrase)
    return kept


def headlines(text: str, most: int) -> list[str]:
    """Places to cut a text, each occurring verbatim and in order: its headings, else the openings of its paragraphs."""
    candidates = [block for kind, block in blocks(text) if kind == "heading"]
    candidates = _findable(text, candidates) or _findable(text, _openings(text))
    if len(candidates) <= most:
        return candidates
    step = (len(candidates) - 1) / max(most - 1, 1)
    return [candidates[round(position * step)] for position in range(most)]


def _openings(text: str) -> list[str]:
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    parts = paragraphs if len(paragraphs) > 2 else [part.strip() for part in re.split(r"(?<=[.!?])\s+", text)]
    return [match[0] for part in parts[1:] if (match := _OPENING.match(part))]


def _findable(text: str, candidates: list[str]) -> list[str]:
    kept, reached = [], 0
    for candidate in candidates:
        position = text.find(candidate)
        if position > reached and candidate not in kept:
            kept.append(candidate)
            reached = position
    return kept


def title(text: str) -> str:
    """The first heading, else the first words."""
    first = next((block for kind, block in blocks(text) if kind == "heading"), None)
    return first or " ".join(text.split()[:8])


@lru_cache(maxsize=1024)
def summary(text: str, most_names: int = 10) -> str:
    """The subject of the text in one or two sentences: its names, then its themes.

    Names come first because texts of one collection share them, so that related summaries have similar embeddings.
    """
    named = names(text, most_names)
    if not named:
        return " ".join(text.split()[:60])
    spoken = _distinct([*named, *themes(text, 4)])[len(named) :][:2]
    subject = f" It deals with {' and '.join(spoken)}." if spoken else ""
    return f"The text is about {_listed(named)}.{subject}"


def _listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
