"""The running cost of a trial for each question: USD, tokens and seconds. Building and judging are not counted."""

from dataclasses import dataclass

from dream.records import TrialResult, known_sum

# Stages of model calls that every further question of a user would cost.
RUNNING_STAGES = ("answer", "query")


@dataclass(frozen=True)
class Cost:
    """Running cost of one question, as if nothing had come from a cache; None for an unknown value.

    `tokens` are those of the LLM that answers, prompt and completion; `seconds` is the mean latency of answers.
    """

    usd: float | None
    tokens: float | None
    seconds: float | None


def running_cost(result: TrialResult) -> Cost:
    """A trial's running cost per question, from the meter's rows and its answers.

    Example:
        >>> from dream.records import Answer, Evaluation, Trial, UsageRow
        >>> rows = (UsageRow("openai", "llm", "answer", prompt_tokens=900, completion_tokens=100, usd_full=0.002),
        ...         UsageRow("openai", "judge", "judge", prompt_tokens=5000, completion_tokens=10, usd_full=1.0))
        >>> answers = (Answer("a", "text", latency_seconds=1.0), Answer("b", "text", latency_seconds=3.0))
        >>> running_cost(TrialResult(Trial("r", "l", "e"), Evaluation(answers, ()), usage=rows))
        Cost(usd=0.001, tokens=500.0, seconds=2.0)
    """
    n = len(result.answers)
    if not n:
        return Cost(None, None, None)
    running = [row for row in result.usage if row.stage in RUNNING_STAGES]
    answering = [row for row in running if row.stage == "answer"]
    usd = known_sum(row.usd_full for row in running) if answering else None
    tokens = sum(row.tokens for row in answering) if answering else None
    seconds = [answer.latency_seconds for answer in result.answers if answer.failure is None]
    return Cost(
        None if usd is None else usd / n,
        None if tokens is None else tokens / n,
        sum(seconds) / len(seconds) if seconds else None,
    )
