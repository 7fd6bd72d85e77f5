"""`Judgement`: the result of a metric for one answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """The value of a metric and its explanation. ragas' `MetricResult` has the same fields."""

    value: float
    reason: str | None = None
