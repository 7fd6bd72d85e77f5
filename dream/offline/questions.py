"""Turn a sentence into a natural question that the sentence answers."""

import re
from dataclasses import replace

from dream.offline.grammar import BE, HAVE, MODALS, PREPOSITIONS, PRONOUNS, Clause, infinitive, parse
from dream.offline.text import is_content
from dream.offline.words import NUMBER_WORDS, TOKEN

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(
    rf"\s*\b(?:in|on|since|by|until|during|around|as of|at the end of|before|after)\s+(?:the year\s+)?(?:early |late )?"
    rf"(?:\d{{1,2}}\.?\s+)?(?:{_MONTH}\s+)?(?:\d{{1,2}},\s+)?(?:1[5-9]\d\d|20\d\d)\b"
)
_WORD_NUMBERS = "|".join(word for word in NUMBER_WORDS if word not in ("once", "twice", "one", "zero"))
_VALUE = rf"(?:\d[\d,]*(?:\.\d+)?|\b(?:{_WORD_NUMBERS})\b)(?:\s+(?:thousand|million|billion|hundred))?"
_HEDGE = (
    r"(?:(?:about|around|over|nearly|almost|roughly|up to|at least|at most|only|more than|less than|fewer than|exactly"
    r"|approximately)\s+)?"
)
_PERCENT = re.compile(rf"(?P<by>\b(?:by|to|at|of)\s+)?{_HEDGE}{_VALUE}\s*(?:%|per ?cent\b)")
_COUNT = re.compile(
    rf"(?<![\w-])(?:(?P<ahead>within|at|for|under|by|to|of|with|in|after|before|over|every)\s+)?(?P<hedge>{_HEDGE}){_VALUE}\s+"
    r"(?P<unit>[a-z][a-z-]+(?:\s+[a-z-]+)?)"
)
_MEASURED = re.compile(rf"^{_HEDGE}{_VALUE}\s+[a-z]+\s+(?P<quality>long|high|deep|wide|old|tall|thick|heavy|away)\b")
_CONDITION = re.compile(r",?\s+\b(?:when|as soon as|after|once|until|if)\s+(?!\d)\w+ .*$")
_NEXT_CLAUSE = re.compile(
    r",\s+(?:which|who|but|so|and|while|where|whereas|although)\b|\s+(?:and|but)\s+(?=(?P<word>[a-z]+)\b)|[;:]\s"
)
_MEANT_BY = re.compile(r"^(?P<before>\w.*)\s(?P<preposition>with|by|from|through)\s.*$")
_LOCATIVE = {
    "on": "",
    "in": "",
    "at": "",
    "near": "",
    "beside": "",
    "between": "",
    "behind": "",
    "along": "",
    "from": " from",
}
_GENERIC_HEADINGS = frozenset(
    """introduction overview summary conclusion conclusions outlook results discussion background abstract contents
    appendix references method methods preface""".split()
)
_CAUSE = re.compile(
    r",?\s+\b(?:because|so that|in order to|since(?! \d| then| the)|due to|owing to)\b.*$", re.IGNORECASE
)
_MEANS = re.compile(r",?\s+\b(?:by \w+ing|through|with the help of|by means of|using)\b.*$")
_AGENT = re.compile(r"\s+by\s+(?:the\s+)?(?:[A-Z][\w.-]*\s?){1,4}")
_PLACE = re.compile(r"\s*\b(?:in|at|near|on)\s+(?:the\s+)?(?:[A-Z][\w-]+\s?){1,3}")
_VAGUE = "What is said about"
_UNIT_STOPS = PREPOSITIONS | frozenset("is are was were it the a each every later long high".split())


def ask(sentence: str, topic: str = "") -> str:
    """The question that `sentence` answers best.

    Args:
        sentence: a statement.
        topic: stands for a pronoun subject ("it"), and widens a subject of one word.

    Example:
        >>> ask("The gateway retries a failed request three times before it gives up.")
        'How many times does the gateway retry a failed request before it gives up?'
    """
    topic = "" if is_generic(topic) else topic
    clause = parse(sentence)
    if clause is None or not (clause := _with_topic(clause, topic)):
        return about(sentence, topic)
    if clause.rest.startswith("that ") and len(clause.rest.split()) > 5:
        return ask(clause.rest[5:], topic)
    clause = replace(clause, rest=_first_clause(clause.rest))
    for template in (_percentage, _how_long, _when, _how_many, _why, _on_condition, _how, _who_or_where, _what):
        if question := template(clause):
            return _tidy(question)
    return about(sentence, topic)


def _with_topic(clause: Clause, topic: str) -> Clause | None:
    """Put the topic in the place of a pronoun subject ("it", "its cells"); None when there is no topic."""
    first, _, remainder = clause.subject.partition(" ")
    if first.lower() in ("its", "their"):
        return replace(clause, subject=f"the {remainder} of {topic}") if topic else None
    if first.lower() in ("it", "they") and not remainder:
        return replace(clause, subject=topic) if topic else None
    unknown = first.lower() in PRONOUNS and (not remainder or first.lower() in ("his", "her", "there"))
    return None if unknown else clause


def _first_clause(rest: str) -> str:
    """Cut what follows the first clause: ", which ...", "and delivers ..."."""
    for match in _NEXT_CLAUSE.finditer(rest):
        word = match["word"]
        begins_clause = word is None or word in BE or word in HAVE or word in MODALS or _is_verb_form(word)
        if begins_clause and len(rest[: match.start()].split()) >= 2:
            return rest[: match.start()]
    return rest


def _is_verb_form(word: str) -> bool:
    base = infinitive(word)
    return base is not None and base != word and (word.endswith("s") or word.endswith("ed"))


def about(sentence: str, topic: str = "") -> str:
    """The question of last resort: it names the sentence's subject matter."""
    keys = key_words(sentence, 5)
    spoken = ", ".join(keys[:-1]) + (" and " if len(keys) > 1 else "") + keys[-1] if keys else "this"
    tail = f" in connection with {topic}" if topic and topic.lower() not in spoken.lower() else ""
    return _tidy(f"{_VAGUE} {spoken}{tail}?")


def is_vague(question: str) -> bool:
    """True for a question of last resort."""
    return question.startswith(_VAGUE)


def is_generic(heading: str) -> bool:
    """True for headings that any text may have, such as "Introduction"."""
    return heading.lower() in _GENERIC_HEADINGS


def key_words(sentence: str, most: int) -> list[str]:
    """The first content words as written, each once, with runs of capitalised words kept together."""
    runs = re.findall(r"[A-Z][\w-]+(?:\s+[A-Z][\w-]+)+|[\w][\w'’-]*", sentence)
    words: dict[str, str] = {}
    for run in runs:
        if is_content(run.lower()) and infinitive(run.lower()) is None:
            words.setdefault(run.lower(), run)
    return list(words.values())[:most]


def _inverted(clause: Clause, rest: str) -> str:
    """The clause in question order: "does the gateway retry a request", "was the bridge built"."""
    if clause.kind in ("be", "modal"):
        return f"{clause.verb} {clause.subject} {rest}"
    return f"{clause.do} {clause.subject} {clause.base} {rest}"


def _without(pattern: re.Pattern, text: str) -> str:
    return pattern.sub("", text, count=1).strip(" ,")


def _when(clause: Clause) -> str | None:
    match = _DATE.search(clause.rest)
    if not match or clause.kind == "have":
        return None
    rest = _without(_DATE, clause.rest)
    if clause.kind != "be" and not rest and len(clause.subject.split()) < 2:
        return None
    return f"{'Since when' if match[0].strip().startswith('since') else 'When'} {_inverted(clause, rest)}?"


def _percentage(clause: Clause) -> str | None:
    match = _PERCENT.search(clause.rest)
    if not match:
        return None
    before, after = clause.rest[: match.start()].strip(" ,"), clause.rest[match.end() :].strip(" ,")
    if match["by"]:
        return f"{match['by'].strip().capitalize()} what percentage {_inverted(clause, f'{before} {after}')}?"
    if after.startswith("of ") and not before:
        part, _, tail = _split_prepositions(after[3:])
        return f"What percentage of {part} {_inverted(clause, tail)}?"
    return f"What percentage {_inverted(clause, f'{before} {after}')}?"


def _how_long(clause: Clause) -> str | None:
    match = _MEASURED.search(clause.rest)
    if not match or clause.kind != "be":
        return None
    quality = "far away" if match["quality"] == "away" else match["quality"]
    return f"How {quality} {clause.verb} {clause.subject} {clause.rest[match.end() :].strip(' ,')}?"


def _how_many(clause: Clause) -> str | None:
    for match in _COUNT.finditer(clause.rest):
        unit = _unit(match["unit"])
        before = clause.rest[: match.start()].strip(" ,")
        if unit is None or " and " in before or before.endswith(" and"):
            continue
        after = clause.rest[match.start("unit") + len(unit) :].strip(" ,")
        if match["ahead"] == "every":
            return f"How often {_inverted(clause, f'{before} {after}')}?"
        ahead = f"{match['ahead']} " if match["ahead"] else ""
        tail, clause_rest = (after, before) if after.startswith("of ") else ("", f"{before} {after}")
        return f"{ahead}how many {unit} {tail} {_inverted(clause, clause_rest)}?"
    return None


def _unit(words: str) -> str | None:
    kept = []
    for word in words.split():
        if word in _UNIT_STOPS or (kept and word.endswith(("ed", "ing", "ly"))):
            break
        kept.append(word)
        if word.endswith("s"):
            break
    return " ".join(kept) if kept and kept[-1].endswith("s") else None


def _why(clause: Clause) -> str | None:
    if not _CAUSE.search(clause.rest):
        return None
    rest = _without(_CAUSE, clause.rest)
    return f"Why {_inverted(clause, rest)}?" if rest or clause.kind == "verb" else None


def _on_condition(clause: Clause) -> str | None:
    rest = _without(_CONDITION, clause.rest)
    if rest == clause.rest or not rest:
        return None
    return f"When {_inverted(clause, rest)}?"


def _how(clause: Clause) -> str | None:
    rest = _without(_MEANS, clause.rest)
    if rest == clause.rest or not rest:
        return None
    return f"How {_inverted(clause, rest)}?"


def _who_or_where(clause: Clause) -> str | None:
    if clause.kind != "be":
        return None
    if _AGENT.search(" " + clause.rest):
        return f"Who {clause.verb} {clause.subject} {_without(_AGENT, ' ' + clause.rest)} by?"
    first = clause.rest.split()[0] if clause.rest else ""
    if infinitive(first.lower()) and first.endswith(("ed", "t", "n")) and _PLACE.search(clause.rest):
        return f"Where {clause.verb} {clause.subject} {_without(_PLACE, clause.rest)}?"
    return None


def _what(clause: Clause) -> str | None:
    if clause.kind == "be":
        return _what_is(clause)
    if clause.kind == "modal":
        return _what_can(clause)
    first = clause.rest.split()[0].lower() if clause.rest else ""
    if clause.kind == "verb" and first in PREPOSITIONS:
        return f"Where {_inverted(clause, '')}{_LOCATIVE[first]}?" if first in _LOCATIVE else None
    target, preposition, tail = _split_prepositions(clause.rest)
    if not target or (clause.kind == "have" and infinitive(target.split()[0].lower())):
        return None
    if preposition and not (clause.subject.split()[-1][:1].isupper() and len(tail.split()) < 3):
        return f"What {_inverted(clause, tail)}?"
    singular = clause.do != "do"
    if singular and _content_count(clause.rest) >= 2:
        return f"What {clause.verb} {clause.rest}?"
    return f"What {_inverted(clause, '')}?" if _content_count(clause.subject) >= 2 else None


def _what_is(clause: Clause) -> str | None:
    singular = clause.verb in ("is", "was")
    first = clause.rest.split()[0].lower() if clause.rest else ""
    if infinitive(first) and first.endswith(("ed", "t", "n", "ing")):
        if match := _MEANT_BY.match(clause.rest):
            return f"{match['preposition']} what {clause.verb} {clause.subject} {match['before']}?"
        return f"What {clause.verb} {clause.rest}?" if singular and _content_count(clause.rest) >= 2 else None
    if _content_count(clause.subject) >= 2:
        return f"What {clause.verb} {clause.subject}?"
    return f"What {clause.verb} {clause.rest}?" if singular and _content_count(clause.rest) >= 2 else None


def _what_can(clause: Clause) -> str | None:
    head, _, rest = clause.rest.partition(" ")
    if head in ("not", "never") or head in MODALS or not rest:
        return None
    if head == "be":
        return f"How {_inverted(clause, clause.rest)}?"
    _, preposition, tail = _split_prepositions(rest)
    return f"What {clause.verb} {clause.subject} {head} {tail if preposition else ''}?"


def _split_prepositions(rest: str) -> tuple[str, str, str]:
    """Cut "every answer in a cache" into ("every answer", "in", "in a cache")."""
    words = rest.split()
    for position, word in enumerate(words[1:], start=1):
        if word.lower() in PREPOSITIONS and word.lower() not in ("of", "that", "and", "or", "which", "who", "but"):
            return " ".join(words[:position]).strip(" ,"), word, " ".join(words[position:])
    return rest, "", ""


def _content_count(text: str) -> int:
    return sum(is_content(word.lower()) for word in TOKEN.findall(text))


def _tidy(question: str) -> str:
    question = re.sub(r"\s+", " ", question).replace(" ?", "?").replace(" ,", ",")
    question = re.sub(r"[,;:.\s]+\?$", "?", question)
    return question[:1].upper() + question[1:]
