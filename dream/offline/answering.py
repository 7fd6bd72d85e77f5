"""The two answering models. They answer by selecting sentences of the context in the prompt.

`llm-small` selects the single best sentence, and rounds the figures in one of six answers, like a weak model that
hallucinates, so that faithfulness varies. `llm-large` weights rare words, considers headings and the expected type of
the answer, joins up to three sentences, and says so if the context has no answer.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

from dream.offline.phrasing import choice
from dream.offline.prompts import Request, read_request
from dream.offline.text import Sentence, analyse, analyse_sentence
from dream.offline.words import tokens

NO_CONTEXT = "I was given no context, so I cannot answer this question."
NO_ANSWER = "The context does not contain the answer to this question."
_ENOUGH = 0.28
_CLOSE_BEHIND = 0.85
_FAR_BEHIND = 0.35
_NEEDED_GAIN = 0.2
_MOST_SENTENCES = 3
_LONGEST_WORDS = 90
_SLIPS_ONE_IN = 6

_QUANTITY = re.compile(
    r"\b(how (many|much|long|often|old|far|large|big|fast)|percent|percentage|number of|what share)\b", re.I
)
_TIME = re.compile(r"\b(when|what year|which year|what date|how long|in what year)\b", re.I)
_PERSON = re.compile(r"\b(who|whom|whose|which (person|company|country|organi[sz]ation))\b", re.I)
_PLACE = re.compile(r"\b(where|which (city|country|place|region))\b", re.I)
_REASON = re.compile(r"\b(why|for what reason|how come)\b", re.I)
_QUESTION_WORDS = re.compile(
    r"^(?:what|when|where|who|why|how|which)\b(?: many| much| often| long)?\s*(?:is|are|was|were|do|does|did)?\s*", re.I
)
_YEAR = re.compile(
    r"\b(1[5-9]\d\d|20\d\d)\b|\b(January|February|March|April|June|July|August|September|October|November|December)\b"
)
_FIGURE = re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w.-]*\w)")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")
_JOINTS = re.compile(r"\?\s+|;\s+|,?\s+and\s+(?=(?:what|when|where|who|why|how|which)\b)", re.I)
_CAUSE = re.compile(r"\b(because|since|due to|so that|in order to|therefore|as a result|to avoid|caused by)\b", re.I)


def answer(model: str, messages: list[dict]) -> str:
    """The reply of a model to a plain-text chat request."""
    request = read_request(messages)
    return _REPLIES[request.kind](model, request)


def relevance(question: str, text: str) -> float:
    """How much of a question a text covers, from 0 to 1: mostly by its best sentence, a little by the rest."""
    wanted, sentences = analyse_sentence(question), analyse(text)
    best = max((_coverage(wanted, [sentence]) for sentence in sentences), default=0.0)
    return 0.7 * best + 0.3 * _coverage(wanted, sentences)


def _answer(model: str, request: Request) -> str:
    if request.context is None:
        return NO_CONTEXT
    return _from_context(model, request.question, request.context) or NO_ANSWER


def _refine(model: str, request: Request) -> str:
    """Keep the earlier answer unless the answer from the new context covers the question clearly better."""
    question = analyse_sentence(request.question)
    better = _from_context(model, request.question, request.context or "")
    existing = request.existing or NO_ANSWER
    if not better:
        return existing
    if existing.strip() in (NO_ANSWER, NO_CONTEXT):
        return better
    gain = _coverage(question, analyse(better)) - _coverage(question, analyse(existing))
    return better if gain > 0.15 else existing


def _from_context(model: str, question_text: str, context: str) -> str | None:
    question = analyse_sentence(question_text)
    sentences = analyse(context)
    if not sentences or not question.bag | question.numbers:
        return None
    return _one_sentence(question, sentences) if model == "llm-small" else _few_sentences(question, sentences)


def _one_sentence(question: Sentence, sentences: Sequence[Sentence]) -> str | None:
    scores = [len(question.bag & s.bag) / (4 + len(s.bag)) ** 0.5 for s in sentences]
    best = max(range(len(sentences)), key=lambda position: (scores[position], -position))
    if scores[best] <= 0:
        return None
    text = _trim(sentences[best].text)
    return _FIGURE.sub(_rounded, text) if choice(question.text + text, _SLIPS_ONE_IN) == 0 else text


def _rounded(figure: re.Match) -> str:
    """Round to one significant digit: 1,284 becomes 1,000, 38 becomes 40."""
    value = float(figure[0].replace(",", ""))
    return f"{float(f'{value:.0e}'):,.0f}" if value >= 1 else figure[0]


def _few_sentences(question: Sentence, sentences: Sequence[Sentence]) -> str | None:
    rarity = _rarity(sentences)
    scores = [_score(question, sentence, rarity) for sentence in sentences]
    order = sorted(range(len(sentences)), key=lambda position: (-scores[position], position))
    best = sentences[order[0]]
    if _weighted_share(question, best, rarity) * (1.0 + _kind_bonus(question, best)) < _ENOUGH:
        return None
    chosen = [order[0]]
    met = best.bag | best.numbers
    for position in order[1:]:
        if len(chosen) == _MOST_SENTENCES or scores[position] < _FAR_BEHIND * scores[order[0]]:
            break
        close = scores[position] >= _CLOSE_BEHIND * scores[order[0]]
        gain = _weight(question.bag & sentences[position].bag - met, rarity) / _weight(question.bag, rarity)
        if (close or gain >= _NEEDED_GAIN) and not _repeats(
            sentences[position], [sentences[other] for other in chosen]
        ):
            chosen.append(position)
            met |= sentences[position].bag
    return " ".join(_trim(sentences[position].text) for position in sorted(chosen))


def _weight(roots: frozenset[str], rarity: dict[str, float]) -> float:
    rare = 0.6 * max(rarity.values(), default=1.0)
    return sum(rarity.get(root, rare) for root in roots) or 1.0


def _rarity(sentences: Sequence[Sentence]) -> dict[str, float]:
    seen = Counter(root for sentence in sentences for root in sentence.bag)
    return {root: log(1 + len(sentences) / count) for root, count in seen.items()}


def _weighted_share(question: Sentence, sentence: Sentence, rarity: dict[str, float]) -> float:
    """The weighted share of the question's words in a sentence and its heading; unknown words count as rare."""
    rare = max(rarity.values(), default=1.0)
    wanted = {root: rarity.get(root, 0.6 * rare) for root in question.bag}
    total = sum(wanted.values()) + len(question.numbers) * rare
    under = analyse_sentence(sentence.heading).bag if sentence.heading else frozenset()
    met = sum(
        weight * (1.0 if root in sentence.bag else 0.4)
        for root, weight in wanted.items()
        if root in sentence.bag | under
    )
    met += sum(rare for value in question.numbers if value in sentence.numbers)
    return met / total if total else 0.0


def _score(question: Sentence, sentence: Sentence, rarity: dict[str, float]) -> float:
    share = _weighted_share(question, sentence, rarity)
    length_penalty = 0.004 * max(len(sentence.stems) - 25, 0) + (0.08 if len(sentence.stems) < 4 else 0.0)
    return share * (1.0 + _kind_bonus(question, sentence)) - length_penalty


def _kind_bonus(question: Sentence, sentence: Sentence) -> float:
    bonus = 0.0
    if _QUANTITY.search(question.text) and sentence.numbers - question.numbers:
        bonus += 0.25
    if _TIME.search(question.text) and _YEAR.search(sentence.text):
        bonus += 0.25
    if (_PERSON.search(question.text) or _PLACE.search(question.text)) and _NAME.search(sentence.text):
        bonus += 0.15
    if _REASON.search(question.text) and _CAUSE.search(sentence.text):
        bonus += 0.2
    return bonus


def _repeats(sentence: Sentence, chosen: Sequence[Sentence]) -> bool:
    return any(len(sentence.bag & other.bag) >= 0.7 * min(len(sentence.bag), len(other.bag)) for other in chosen)


def _trim(text: str) -> str:
    words = text.split()
    short = " ".join(words[:_LONGEST_WORDS])
    return short if short.endswith((".", "!", "?")) else short.rstrip(",;:") + "."


def _coverage(question: Sentence, sentences: Sequence[Sentence]) -> float:
    met = frozenset().union(*(sentence.bag | sentence.numbers for sentence in sentences)) if sentences else frozenset()
    wanted = question.bag | question.numbers
    return len(wanted & met) / len(wanted) if wanted else 0.0


def _passage(model: str, request: Request) -> str:
    """A hypothetical passage (HyDE), which repeats the words of the question as a statement."""
    bare = _QUESTION_WORDS.sub("", request.question.strip().rstrip("?"))
    return f"This passage is about {bare}. It explains {bare} and gives the details."


def _queries(model: str, request: Request) -> str:
    """Rephrased search queries, one per line."""
    words = [word for word in tokens(request.question) if analyse_sentence(word).bag or word.isdigit()]
    wordings = [" ".join(words), "What is known about " + " ".join(words) + "?", " ".join(reversed(words)),
                "Details of " + " ".join(words[:4])]  # fmt: skip
    return "\n".join((wordings * request.count)[: request.count])


def _choose(model: str, request: Request) -> str:
    question = analyse_sentence(request.question)
    shares = [(_coverage(question, analyse(body)), label) for label, body in request.documents]
    ranked = sorted((pair for pair in shares if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))
    return "\n".join(f"Doc: {label}, Relevance: {max(1, round(10 * share))}" for share, label in ranked)


def _rate(model: str, request: Request) -> str:
    """A rating from 0 to 10 of each passage, one per line."""
    return "\n".join(f"{label}: {round(10 * relevance(request.question, body))}" for label, body in request.documents)


def _situate(model: str, request: Request) -> str:
    """A text that places a chunk in its document: the headings, and words of the document that are not in the chunk;
    `llm-large` names more of them."""
    known = set(tokens(request.existing or ""))
    seen = Counter(word for word in tokens(request.context or "") if word not in known and analyse_sentence(word).bag)
    topics = [word for word, _ in seen.most_common(3 if model == "llm-small" else 8)]
    about = f", from a document about {', '.join(topics)}" if topics else ""
    return f"This chunk stands under {request.question}{about}."


def _parts(model: str, request: Request) -> str:
    """The questions that a question joins with "and", ";" or "?", one per line."""
    pieces = [piece.strip(" ,") for piece in _JOINTS.split(request.question.strip().rstrip("?"))]
    parts = [f"{piece[:1].upper()}{piece[1:]}?" for piece in pieces if len(piece.split()) > 2]
    return "\n".join(parts[: request.count]) or request.question


_REPLIES = {
    "queries": _queries,
    "parts": _parts,
    "choose": _choose,
    "rate": _rate,
    "situate": _situate,
    "passage": _passage,
    "refine": _refine,
    "answer": _answer,
}
