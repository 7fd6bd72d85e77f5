"""Metrics of an answer against the ground truth, without a judge: exact_match, token_f1, numbers_agree."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from dream.evaluation.judgement import Judgement
from dream.evaluation.normalised_text import answer_tokens
from dream.evaluation.numbers_in_text import Number, agreeing, numbers_of
from dream.metrics import Metric


def exact_match(question: str, answer: str, ground_truth: str) -> Judgement:
    """1 if both texts have the same tokens in the same order.

    Example:
        >>> exact_match("Who?", "The Eiffel tower.", "Eiffel Tower").value
        1.0
    """
    return Judgement(float(answer_tokens(answer) == answer_tokens(ground_truth)))


def token_f1(question: str, answer: str, ground_truth: str) -> Judgement:
    """The harmonic mean of the shares of tokens that both texts have in common, as in SQuAD.

    Example:
        >>> token_f1("How deep?", "It is 17 m deep", "17 m").value  # precision 2 / 5, recall 2 / 2
        0.5714285714285714
    """
    given, wanted = answer_tokens(answer), answer_tokens(ground_truth)
    common = sum((Counter(given) & Counter(wanted)).values())
    if not given or not wanted:
        return Judgement(float(given == wanted))
    return Judgement(2 * common / (len(given) + len(wanted)))


def numbers_agree(question: str, answer: str, ground_truth: str) -> Judgement:
    """The share of the ground truth's numbers that the answer has.

    Example:
        >>> numbers_agree("How much?", "1.2 million, or 7 %", "1,200,000 (8 %)").value
        0.5
    """
    wanted = numbers_asked_for(question, ground_truth)
    there = agreeing(wanted, numbers_of(answer))
    missing = [_shown(number) for number in wanted if number not in there]
    return Judgement(len(there) / len(wanted), f"missing: {', '.join(missing)}" if missing else None)


def numbers_asked_for(question: str, ground_truth: str) -> list[Number]:
    """The numbers of a ground truth without those in the question, unless the question has all of them.

    Example:
        >>> [*map(_shown, numbers_asked_for("How many in 2022?", "In 2022 it was 127."))]
        ['127']
    """
    wanted = numbers_of(ground_truth)
    named = agreeing(wanted, numbers_of(question))
    return [number for number in wanted if number not in named] or wanted


def why_no_answer_metric(name: str, ground_truth: str) -> str:
    """The reason why a metric has no value for a ground truth; empty if it has one."""
    if name == "numbers_agree" and not numbers_of(ground_truth):
        return "the ground truth has no number"
    return ""


def _shown(number: Number) -> str:
    return " or ".join(f"{value:f}" for value in sorted(number.values)) + " %" * number.percent


_FUNCTIONS: dict[str, Callable[[str, str, str], Judgement]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "numbers_agree": numbers_agree,
}


@dataclass(frozen=True)
class AnswerMetric:
    """An answer metric of `dream.metrics` with the `ascore` interface of ragas' metrics."""

    definition: Metric

    async def ascore(self, user_input: str, response: str, reference: str) -> Judgement:
        return _FUNCTIONS[self.definition.name](user_input, response, reference)
