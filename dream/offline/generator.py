"""Replies to the prompts of ragas' TestsetGenerator: extraction, personas, scenarios, questions with answers.

All functions have the same signature: ragas' input `data`, and `careful`, which only judging uses.
"""

import re
from collections.abc import Callable, Sequence
from itertools import product

from dream.offline.grammar import PRONOUNS
from dream.offline.phrasing import choice, phrase
from dream.offline.questions import about, ask, is_generic, is_vague
from dream.offline.terms import headlines, names, summary, themes, title
from dream.offline.text import Sentence, analyse, analyse_sentence
from dream.offline.words import concept, count_tokens

_ROLES = {
    "energy power solar wind turbine grid electricity fuel": "Engineer",
    "health patient disease medicine vaccine hospital treatment": "Physician",
    "money revenue market finance bank price budget profit sales": "Analyst",
    "software system data server code model network cluster algorithm gateway": "Developer",
    "school student teacher learning university education": "Teacher",
    "law policy regulation court contract rule government": "Policy Adviser",
    "plant crop soil farm bee forest animal species water climate": "Biologist",
    "history century war empire museum city bridge tower": "Historian",
}
_OTHER_ROLES = ("Researcher", "Journalist", "Project Manager", "Consultant", "Student")
_CANDIDATES = 4
# Questions in other languages than English, each with frequent words of the language
_TEMPLATES = {
    "Was wird über {} gesagt?": frozenset("der die das und ist nicht mit von den dem ein eine auf für wird im".split()),
    "Que dit le texte au sujet de {} ?": frozenset("le la les des et est une dans du que pour par sur au".split()),
    "¿Qué se dice sobre {}?": frozenset("el los las y es una del que para por con en su al".split()),
}
_ENGLISH = frozenset("the and is of to that with for was were are by from this which".split())
_SELF_REFERENCE = re.compile(r"This (?:report|text|document|chapter|section|article|paper|page|book|guide)\b")


def extract_headlines(data: dict, careful: bool) -> dict:
    """The answer to ragas' prompt for `Headlines`."""
    return {"headlines": headlines(data["text"], data.get("max_num", 10))}


def extract_names(data: dict, careful: bool) -> dict:
    """The answer to ragas' prompt for `NEROutput`: names in the text."""
    return {"entities": names(data["text"], data.get("max_num", 10))}


def extract_themes(data: dict, careful: bool) -> dict:
    """The answer to ragas' prompt for `ThemesAndConcepts`."""
    return {"output": themes(data["text"], data.get("max_num", 10))}


def extract_keyphrases(data: dict, careful: bool) -> dict:
    """The answer to ragas' prompt for `Keyphrases`."""
    return {"keyphrases": themes(data["text"], data.get("max_num", 5))}


def describe_topic(data: dict, careful: bool) -> dict:
    """The answer to ragas' prompt for `TopicDescription`."""
    return {"description": summary(data["text"], 3)}


def make_summary(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `StringIO` to an instruction that asks for a summary."""
    return {"text": summary(data["text"])}


def extract_title(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `StringIO` to an instruction that asks for a title."""
    return {"text": title(data["text"])}


def rate_potential(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `QuestionPotentialOutput`: a score from 1 to 5; ragas drops nodes below 3."""
    sentences = [sentence for sentence in analyse(data["node_content"]) if len(sentence.bag) >= 4]
    if len(sentences) < 2:
        return {"score": 1 if count_tokens(data["node_content"]) < 30 else 2}
    spoken = frozenset().union(*(sentence.bag for sentence in analyse(data["document_summary"])))
    met = sum(len(sentence.bag & spoken) / len(sentence.bag) for sentence in sentences) / len(sentences)
    return {"score": 3 + (met > 0.2) + (met > 0.45)}


def make_persona(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `Persona`: someone who would read a text with this summary."""
    subjects = themes(data["text"], 4) or ["general matters"]
    words = analyse_sentence(data["text"]).bag
    fits = {role: sum(concept(key) in words for key in keys.split()) for keys, role in _ROLES.items()}
    best = max(fits, key=lambda role: fits[role])
    role = best if fits[best] else _OTHER_ROLES[choice(data["text"], len(_OTHER_ROLES))]
    subject = subjects[choice(data["text"], len(subjects))]
    focus = " and ".join(theme for theme in subjects[:3] if theme != subject) or subject
    description = f"Works with {subject} and wants to understand {focus}."
    return {"name": f"{subject[:1].upper()}{subject[1:]} {role}", "role_description": description}


def match_personas(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `PersonaThemesMapping`: the themes that a persona's role mentions, and half of the
    others; every theme belongs to some persona."""
    mapping: dict[str, list[str]] = {persona["name"]: [] for persona in data["personas"]}
    roles = {persona["name"]: analyse_sentence(persona["role_description"]).bag for persona in data["personas"]}
    for theme in dict.fromkeys(data["themes"]):
        bag = analyse_sentence(theme).bag
        fitting = [name for name in mapping if bag & roles[name] or choice(f"{name} {theme}", 2)]
        for name in fitting or list(mapping)[choice(theme, len(mapping)) :][:1]:
            mapping[name].append(theme)
    return {"mapping": mapping}


def combine_concepts(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `ConceptCombinations`: pairs of concepts from different lists, those near the top of
    their lists first."""
    lists = [concepts for concepts in data["lists_of_concepts"] if concepts]
    pairs: list[tuple[int, list[str]]] = []
    for left, right in product(range(len(lists)), repeat=2):
        if left < right:
            pairs += [
                (i + j, [first, second])
                for i, first in enumerate(lists[left])
                for j, second in enumerate(lists[right])
                if first != second
            ]
    if not pairs and lists:
        pairs = [(position, list(pair)) for position, pair in enumerate(zip(lists[0], lists[0][1:], strict=False))]
    ordered = [pair for _, pair in sorted(pairs, key=lambda item: item[0])]
    return {"combinations": _spread(ordered)[: data.get("max_combinations", 5)]}


def _spread(pairs: list[list[str]]) -> list[list[str]]:
    """Reorder the pairs: those whose concepts are not used yet come first."""
    fresh, used, met = [], [], set()
    for pair in pairs:
        (used if met & set(pair) else fresh).append(pair)
        met.update(pair)
    return fresh + used


def write_question(data: dict, careful: bool) -> dict:
    """The answer in ragas' form `GeneratedQueryAnswer`, for one context (single hop) or several (multi-hop)."""
    contexts = data["context"] if isinstance(data["context"], list) else [data["context"]]
    wanted = [data["term"]] if "term" in data else list(data["themes"])
    persona, style, length = data["persona"]["name"], data["query_style"], data["query_length"]
    key = "|".join([persona, style, length, *wanted])
    facts = _facts(contexts, wanted, key, 2 if len(contexts) > 1 or length.lower() == "long" else 1)
    question = _joined([_question(sentence, wanted) for sentence in facts])
    question = _naming(question, wanted)
    template = _template(contexts[0]) if "language of the context" in (data.get("llm_context") or "") else ""
    return {
        "query": template.format(" / ".join(wanted[:2])) if template else phrase(question, style, length, persona),
        "answer": " ".join(_stated(sentence, wanted) for sentence in facts),
    }


def _template(context: str) -> str:
    """A question in the language of the context, if it is one of the few known besides English; otherwise ""."""
    words = context.lower().split()
    met = {template: sum(word in common for word in words) for template, common in _TEMPLATES.items()}
    best = max(met, key=lambda template: met[template])
    return best if met[best] > max(len(words) / 20, sum(word in _ENGLISH for word in words)) else ""


def _facts(contexts: Sequence[str], wanted: list[str], key: str, count: int) -> list[Sentence]:
    """Sentences to ask about: from different contexts as far as possible, and about the wanted terms where possible."""
    chosen: list[Sentence] = []
    order = list(range(len(contexts)))
    while len(chosen) < count and order:
        position = order.pop(0)
        ranked = [sentence for sentence in _ranked(contexts[position], wanted) if not _said(sentence, chosen)]
        if ranked:
            chosen.append(ranked[choice(f"{key}|{len(chosen)}", min(_CANDIDATES, len(ranked)))])
            if not order and len(contexts) < count:
                order.append(position)
    return chosen or [analyse_sentence(" ".join(contexts[0].split()[:30]))]


def _said(sentence: Sentence, chosen: list[Sentence]) -> bool:
    return any(sentence.text == other.text or sentence.bag == other.bag for other in chosen)


def _ranked(context: str, wanted: list[str]) -> list[Sentence]:
    """Sentences that can be asked about, the best first; if any are about the wanted terms, only those."""
    terms = frozenset().union(*(analyse_sentence(term).bag for term in wanted)) if wanted else frozenset()
    sentences = [sentence for sentence in analyse(context) if 5 <= len(sentence.text.split()) <= 45] or list(
        analyse(context)
    )
    fitting = [sentence for sentence in sentences if terms & sentence.bag] or sentences
    fitting = [sentence for sentence in fitting if not _SELF_REFERENCE.match(sentence.text)] or fitting
    clear = [sentence for sentence in fitting if not is_vague(ask(sentence.text, sentence.heading))] or fitting
    return sorted(clear, key=lambda sentence: -_askable(sentence, terms))


def _askable(sentence: Sentence, terms: frozenset[str]) -> float:
    """Prefer sentences about the terms, with a figure, that stand alone."""
    score = 2.0 * len(terms & sentence.bag) / max(len(terms), 1) + 0.1 * min(len(sentence.bag), 10)
    score += 1.0 if sentence.numbers else 0.0
    return score - (1.0 if sentence.text.split()[0].lower() in PRONOUNS else 0.0)


def _topic(sentence: Sentence, wanted: list[str]) -> str:
    """The noun that a pronoun stands for: the heading above it if that is informative, else the first wanted term."""
    heading = sentence.heading
    if heading and not heading[0].isdigit() and not is_generic(heading):
        return heading
    return wanted[0] if wanted else ""


def _question(sentence: Sentence, wanted: list[str]) -> str:
    question = ask(sentence.text, _topic(sentence, wanted))
    if len(analyse_sentence(question).bag) >= 2:
        return question
    return about(sentence.text, _topic(sentence, wanted))


def _joined(questions: list[str]) -> str:
    first, *others = dict.fromkeys(questions)
    return first if not others else f"{first.rstrip('?')}, and {_lower_first_letter(others[0])}"


def _lower_first_letter(question: str) -> str:
    """Questions begin with a question word, which is never a name."""
    return question[:1].lower() + question[1:]


def _naming(question: str, wanted: list[str]) -> str:
    """Make sure that at least one wanted term is mentioned."""
    bag = analyse_sentence(question).bag
    if not wanted or any(analyse_sentence(term).bag & bag for term in wanted):
        return question
    return f"{question.rstrip('?')}, with regard to {' and '.join(wanted[:2])}?"


def _stated(sentence: Sentence, wanted: list[str]) -> str:
    """The sentence as an answer that stands alone: a leading pronoun becomes the topic."""
    first, _, remainder = sentence.text.partition(" ")
    if first.lower() in ("it", "they") and remainder:
        topic = _topic(sentence, wanted)
        return f"{topic[:1].upper()}{topic[1:]} {remainder}" if topic else sentence.text
    return sentence.text if sentence.text.endswith((".", "!", "?")) else sentence.text + "."


TESTSET_SCHEMAS: dict[str, Callable[[dict, bool], dict]] = {
    "Headlines": extract_headlines,
    "NEROutput": extract_names,
    "ThemesAndConcepts": extract_themes,
    "Keyphrases": extract_keyphrases,
    "TopicDescription": describe_topic,
    "QuestionPotentialOutput": rate_potential,
    "Persona": make_persona,
    "PersonaThemesMapping": match_personas,
    "ConceptCombinations": combine_concepts,
    "GeneratedQueryAnswer": write_question,
}

# ragas uses one schema for several tasks; a word of the instruction distinguishes them
STRING_TASKS: dict[str, Callable[[dict, bool], dict]] = {"title": extract_title, "summarize": make_summary}
