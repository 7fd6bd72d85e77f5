"""Running costs: what a further question would cost, without the index, the judge and the cache."""

import pytest

from dream.comparison.running_cost import Cost, running_cost
from dream.records import Answer, Evaluation, Failure, FailureKind, Trial, TrialResult, UsageRow

ANSWERS = (
    Answer("a", "text", latency_seconds=1.0),
    Answer("b", "text", latency_seconds=2.0),
    Answer("c", None, latency_seconds=60.0, failure=Failure(FailureKind.EXCEPTION, "it failed")),
    Answer("d", "text", latency_seconds=3.0),
)
ANSWERING = UsageRow("x", "llm", "answer", prompt_tokens=900, completion_tokens=100, usd=0.0, usd_full=0.04)
QUERYING = UsageRow("x", "embed", "query", prompt_tokens=80, usd=0.01, usd_full=0.02)
JUDGING = UsageRow("x", "judge", "judge", prompt_tokens=5000, usd=7.0, usd_full=7.0)
EMBEDDING = UsageRow("x", "embed", "embed", prompt_tokens=9000, usd=9.0, usd_full=9.0)


def cost_of(*usage: UsageRow, answers: tuple[Answer, ...] = ANSWERS) -> Cost:
    return running_cost(TrialResult(Trial("method", "llm", "embed"), Evaluation(answers, ()), usage=usage))


def test_answering_and_searching_count_in_full_building_and_judging_do_not():
    cost = cost_of(ANSWERING, QUERYING, JUDGING, EMBEDDING)
    # USD as without a cache, 0.04 + 0.02, and the LLM's 1,000 tokens, over all four questions; the failed question
    # counts for what it cost, and not for its latency
    assert (cost.usd, cost.tokens, cost.seconds) == pytest.approx((0.015, 250.0, 2.0))


def test_what_is_not_known_is_none_and_not_0():
    no_price = UsageRow("x", "llm", "answer", prompt_tokens=400, usd_full=None)
    assert cost_of(no_price, QUERYING) == Cost(None, 100.0, 2.0)
    assert cost_of(QUERYING, JUDGING) == Cost(None, None, 2.0)  # no meter of the answers
    assert cost_of(ANSWERING, answers=ANSWERS[2:3]).seconds is None
    assert cost_of(ANSWERING, answers=()) == Cost(None, None, None)
    assert running_cost(TrialResult(Trial("method", "llm", "embed"))) == Cost(None, None, None)


def test_free_models_cost_0():
    assert cost_of(UsageRow("offline", "llm", "answer", prompt_tokens=4)) == Cost(0.0, 1.0, 2.0)
