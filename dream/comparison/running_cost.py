"""The running cost of a trial per question: USD, tokens and seconds, without index building and judging."""

from dataclasses import dataclass

from dream.records import TrialResult, known_sum

# The stages of model calls that a user's question needs in production.
RUNNING_STAGES = ("answer", "query", "rerank")


@dataclass(frozen=True)
class Cost:
    """Running cost per question without a cache; None for an unknown value.

    `tokens` are the prompt and completion tokens of the answering LLM; `seconds` is the mean latency of an answer.
    """

    usd: float | None
    tokens: float | None
    seconds: float | None


def running_cost(result: TrialResult) -> Cost:
    """The running cost of a trial: its model calls of the stages `RUNNING_STAGES`, divided by its number of answers.

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
