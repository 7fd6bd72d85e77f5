"""Phrase a question as a persona would: in ragas' styles and lengths."""

import re
from hashlib import blake2b

from dream.offline.text import is_content
from dream.offline.words import TOKEN

_ARTICLES = re.compile(r"\b(?:the|a|an) ", re.IGNORECASE)
_AUXILIARIES = re.compile(r"\b(?:does|do|did|is|are|was|were) ", re.IGNORECASE)
_OPENERS = (
    "As {persona}, I would like to know: {question}",
    "I work as {persona} and need to understand this: {question}",
    "From the point of view of {persona}, {question}",
)


def choice(key: str, count: int) -> int:
    """A number below `count` that depends on `key` alone, the same in every process."""
    return int.from_bytes(blake2b(key.encode(), digest_size=6).digest()) % count


def phrase(question: str, style: str, length: str, persona: str) -> str:
    """Apply one of ragas' query styles and lengths.

    Args:
        question: a question in good English.
        style: ragas' words for it: misspelled, perfect grammar, poor grammar, web search like.
        length: short, medium or long; long names the persona.
        persona: the name of the asking persona.

    Example:
        >>> phrase("How many hives does the farm keep?", "Web search like queries", "short", "Beekeeper")
        'how many hives farm keep'
    """
    style = style.lower()
    if "web search" in style:
        return _web_search(question)
    if length.lower() == "long":
        opener = _OPENERS[choice(question + persona, len(_OPENERS))]
        question = opener.format(persona=_with_article(persona), question=_lower_unless_name(question))
    if "misspell" in style:
        return _misspelled(question)
    if "poor" in style:
        return _poor_grammar(question)
    return question


def _web_search(question: str) -> str:
    kept = [
        word
        for word in TOKEN.findall(question)
        if is_content(word.lower()) or word[:1].isdigit() or word.lower() in ("how", "many", "when", "why")
    ]
    return " ".join(word if word[1:] != word[1:].lower() else word.lower() for word in kept)


def _misspelled(question: str) -> str:
    """Swap two inner letters of one or two long lower-case words."""
    words = question.split()
    long_ones = [position for position, word in enumerate(words) if len(word) > 5 and word.isalpha() and word.islower()]
    for turn in range(min(2, len(long_ones))):
        position = long_ones.pop(choice(f"{question} {turn}", len(long_ones)))
        word = words[position]
        cut = 1 + choice(word, len(word) - 3)
        words[position] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)


def _poor_grammar(question: str) -> str:
    plain = _AUXILIARIES.sub("", _ARTICLES.sub("", question), count=1)
    return plain[:1].lower() + plain[1:].rstrip("?")


def _with_article(persona: str) -> str:
    return f"{'an' if persona[:1].lower() in 'aeiou' else 'a'} {persona}"


def _lower_unless_name(question: str) -> str:
    return question[:1].lower() + question[1:]
