"""What a trial costs a question while it answers: USD, tokens and seconds. Building and judging are not counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dream.records import TrialResult

# Stages of the gateway's meter that each question of a user would cost again.
RUNNING_STAGES = ("answer", "query")


@dataclass(frozen=True)
class Cost:
    """Running cost of one question, as if nothing had come from a cache; None where it is not known.

    `tokens` are those of the LLM that answers, prompt and completion; `seconds` is the mean latency of answers.
    """

    usd: float | None
    tokens: float | None
    seconds: float | None


def running_cost(result: TrialResult) -> Cost:
    """A trial's running cost per question, from the meter's rows and its answers.

    Example:
        >>> from dream.records import Answer, Evaluation, Trial
        >>> rows = ({"stage": "answer", "prompt_tokens": 900, "completion_tokens": 100, "usd_full": 0.002},
        ...         {"stage": "judge", "prompt_tokens": 5000, "completion_tokens": 10, "usd_full": 1.0})
        >>> answers = (Answer("a", "text", latency_seconds=1.0), Answer("b", "text", latency_seconds=3.0))
        >>> running_cost(TrialResult(Trial("r", "l", "e"), Evaluation(answers, ()), usage=rows))
        Cost(usd=0.001, tokens=500.0, seconds=2.0)
    """
    answers = result.evaluation.answers if result.evaluation else ()
    if not answers:
        return Cost(None, None, None)
    running = [row for row in result.usage if row.get("stage") in RUNNING_STAGES]
    answering = [row for row in running if row["stage"] == "answer"]
    usd = _sum(row.get("usd_full") for row in running) if answering else None
    tokens = _sum(_tokens(row) for row in answering)
    seconds = [answer.latency_seconds for answer in answers if answer.error is None]
    return Cost(
        None if usd is None else usd / len(answers),
        None if tokens is None else tokens / len(answers),
        sum(seconds) / len(seconds) if seconds else None,
    )


def _tokens(row: Mapping[str, Any]) -> float | None:
    return row.get("prompt_tokens", 0) + row.get("completion_tokens", 0)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, or None where there is nothing to add or one of the values is not known."""
    known = list(values)
    return sum(value for value in known if value is not None) if known and None not in known else None
