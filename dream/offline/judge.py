"""The judge: answers the schemas of ragas' metrics by comparing concepts, numbers and negation of the texts given.

Any chat model may be the judge; `llm-small` judges more crudely (see `support`).
All answering functions have one shape: ragas' input, and `careful` (see `support`).
"""

import re
from collections.abc import Callable

from dream.offline.grammar import PRONOUNS, parse
from dream.offline.questions import ask
from dream.offline.support import support
from dream.offline.text import Sentence, analyse, analyse_sentence, blocks, split_sentences
from dream.offline.words import tokens

_NONCOMMITTAL = re.compile(
    r"\b(?:do(?:es)? not (?:contain|mention|provide|say|know|state|include|specify|have)|don't know"
    r"|cannot (?:answer|say|determine)|can't (?:answer|say)|no (?:information|context|answer)"
    r"|not (?:sure|mentioned|provided|certain|specified)|unable to|it depends|unclear|unknown)\b",
    re.IGNORECASE,
)
_SUBSTANTIAL_WORDS = 40
_JOINTS = re.compile(r";\s+|,\s+(?:and|but|while|whereas)\s+(?=(?:the|it|they|this|these|he|she|its|a|an)\s)")
_OPENERS = re.compile(
    r"^(?:according to the (?:text|context|document|passage)s?,?|based on the context,?)\s+", re.IGNORECASE
)


def statements(text: str) -> list[str]:
    """Split an answer into self-contained statements: compounds are cut, leading pronouns are resolved."""
    parts: list[str] = []
    subject = ""
    for sentence in _sentences(text):
        for part in _JOINTS.split(_OPENERS.sub("", sentence)):
            part = _resolved(part.strip(), subject)
            clause = parse(part)
            if clause and clause.subject.split()[0].lower() not in PRONOUNS:
                subject = clause.subject
            if tokens(part):
                parts.append(part if part.endswith((".", "!", "?")) else part + ".")
    return parts


def _sentences(text: str) -> list[str]:
    return [part for _, block in blocks(text) for part in split_sentences(block)]


def _resolved(part: str, subject: str) -> str:
    first, _, remainder = part.partition(" ")
    replaced = f"{subject} {remainder}" if subject and first.lower() in ("it", "they", "he", "she") else part
    return replaced[:1].upper() + replaced[1:]


def is_noncommittal(response: str) -> bool:
    """True when a short answer evades the question, or when a longer one begins by evading it."""
    opening = response if len(response.split()) <= _SUBSTANTIAL_WORDS else (split_sentences(response) or [""])[0]
    return bool(_NONCOMMITTAL.search(opening)) or not response.strip()


def statement_generation(data: dict, careful: bool) -> dict:
    """StatementGeneratorOutput."""
    return {"statements": statements(data["answer"])}


def claims(data: dict, careful: bool) -> dict:
    """ClaimDecompositionOutput."""
    return {"claims": statements(data["response"])}


def faithfulness(data: dict, careful: bool) -> dict:
    """NLIStatementOutput: does the context support each statement?"""
    passage = analyse(data["context"])
    return {"statements": [_nli(statement, passage, careful) for statement in data["statements"]]}


def _nli(statement: str, passage: tuple[Sentence, ...], careful: bool) -> dict:
    verdict = support(analyse_sentence(statement), passage, careful)
    return {"statement": statement, "reason": verdict.reason, "verdict": int(verdict.holds)}


def answer_relevance(data: dict, careful: bool) -> dict:
    """AnswerRelevanceOutput: the question that the response answers, read off its fullest sentence."""
    response = data["response"]
    stated = statements(response)
    fullest = max(stated[:3], key=lambda text: len(analyse_sentence(text).bag), default="")
    question = ask(fullest) if fullest else "What is the answer?"
    return {"question": question, "noncommittal": int(is_noncommittal(response))}


def context_precision(data: dict, careful: bool) -> dict:
    """ContextPrecisionOutput: useful when the context supports at least one statement of the reference answer."""
    passage = analyse(data["context"])
    verdicts = [support(analyse_sentence(text), passage, careful) for text in statements(data["answer"])]
    best = max(verdicts, key=lambda verdict: (verdict.holds, verdict.coverage), default=None)
    if best is None:
        return {"reason": "The answer states nothing.", "verdict": 0}
    return {"reason": best.reason, "verdict": int(best.holds)}


def context_recall(data: dict, careful: bool) -> dict:
    """ContextRecallOutput: which sentences of the reference answer come from the context?"""
    passage = analyse(data["context"])
    return {"classifications": [_attribution(text, passage, careful) for text in statements(data["answer"])]}


def _attribution(statement: str, passage: tuple[Sentence, ...], careful: bool) -> dict:
    verdict = support(analyse_sentence(statement), passage, careful)
    return {"statement": statement, "reason": verdict.reason, "attributed": int(verdict.holds)}


def correctness(data: dict, careful: bool) -> dict:
    """ClassificationWithReason: statements that the ground truth supports (TP) or not (FP), and those missing (FN)."""
    answer = tuple(analyse_sentence(text) for text in data["answer"])
    truth = tuple(analyse_sentence(text) for text in data["ground_truth"])
    classified: dict[str, list[dict]] = {"TP": [], "FP": [], "FN": []}
    for sentence in answer:
        verdict = support(sentence, truth, careful)
        classified["TP" if verdict.holds else "FP"].append({"statement": sentence.text, "reason": verdict.reason})
    for sentence in truth:
        verdict = support(sentence, answer, careful)
        if not verdict.holds:
            classified["FN"].append({"statement": sentence.text, "reason": verdict.reason})
    return classified


def rubric(data: dict, careful: bool) -> dict:
    """RubricScoreOutput, without understanding the levels: higher the more the answer and the reference share."""
    answer, reference = (tuple(map(analyse_sentence, statements(data.get(name) or ""))) for name in _TEXTS)
    shares = [_share_supported(*pair, careful) for pair in ((answer, reference), (reference, answer))]
    level = 1 + round(sum(shares) / 2 * (data["levels"] - 1))
    told = f"{shares[0]:.0%} of the response is in the reference, and {shares[1]:.0%} of the reference in the response."
    return {"feedback": told, "score": level}


_TEXTS = ("response", "reference")


def _share_supported(stated: tuple[Sentence, ...], passage: tuple[Sentence, ...], careful: bool) -> float:
    return sum(support(each, passage, careful).holds for each in stated) / len(stated) if stated else 0.0


def aspect(data: dict, careful: bool) -> dict:
    """AspectCriticOutput, without understanding the criterion: met if the answer does not evade, and the contexts or
    the reference support all of it."""
    response = data.get("response") or ""
    passage = analyse("\n".join([*(data.get("retrieved_contexts") or ()), data.get("reference") or ""]))
    share = _share_supported(tuple(map(analyse_sentence, statements(response))), passage, careful)
    met = share == 1 and not is_noncommittal(response)
    return {"reason": f"{share:.0%} of the response is in the texts given.", "verdict": int(met)}


METRIC_SCHEMAS: dict[str, Callable[[dict, bool], dict]] = {
    "StatementGeneratorOutput": statement_generation,
    "NLIStatementOutput": faithfulness,
    "AnswerRelevanceOutput": answer_relevance,
    "ResponseRelevanceOutput": answer_relevance,
    "ContextPrecisionOutput": context_precision,
    "Verification": context_precision,
    "ContextRecallOutput": context_recall,
    "ContextRecallClassifications": context_recall,
    "ClassificationWithReason": correctness,
    "ClaimDecompositionOutput": claims,
    "StatementFaithfulnessOutput": faithfulness,
    "RubricScoreOutput": rubric,
    "AspectCriticOutput": aspect,
}
