"""Planned calls: sums, USD and minutes by hand, and the plan beside what was called."""

import json
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from dream.models.planned_usage import Counter, calls_text, plan_against_actual
from dream.models.usage import CHECK_STAGE
from dream.records import Plan, PlannedCalls, UsageRow
from dream.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An endpoint of 30 requests a minute, another for 2 calls at a time, and one price."""
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"llm@slow": {"input": 10, "output": 20}}))
    return Settings.from_environment(
        {
            "DREAM_PRICES": str(prices),
            "DREAM_ENDPOINT_SLOW_BASE_URL": "http://slow.example/v1",
            "DREAM_ENDPOINT_SLOW_REQUESTS_PER_MINUTE": "30",
            "DREAM_ENDPOINT_NARROW_BASE_URL": "http://narrow.example/v1",
            "DREAM_ENDPOINT_NARROW_MAX_CONCURRENCY": "2",
        }
    )


def test_calls_add_up_by_model_and_stage_and_cached_ones_cost_nothing(settings: Settings):
    counter = Counter(settings)
    counter.add("llm@slow", "answer", 3, 0, 60_000, 20_000)
    counter.add("llm@slow", "answer", 1, 1, 40_000, 0)
    counter.add("llm@slow", "judge", 2, 2, 1000, 1000)
    counter.add("unpriced@slow", "judge", 1, 0, 1000, 1000)
    counter.add("offline/llm", "answer", 5, 0, 1000, 1000)
    # 0.1 million x 10 + 0.02 million x 20 = 1.4 USD, of which one call of four is paid already
    assert counter.rows() == (
        PlannedCalls("llm@slow", "answer", 4, 1, 100_000, 20_000, pytest.approx(1.05)),
        PlannedCalls("llm@slow", "judge", 2, 2, 1000, 1000, 0.0),
        PlannedCalls("unpriced@slow", "judge", 1, 0, 1000, 1000, None),
        PlannedCalls("offline/llm", "answer", 5, 0, 1000, 1000, 0.0),
    )


def test_the_slowest_endpoint_sets_the_minutes(settings: Settings):
    counter = Counter(settings)
    assert counter.minutes() == 0.0
    counter.add("offline/llm", "answer", 10_000, 0, 0, 0)
    assert counter.minutes() == 0.0
    counter.add("llm@narrow", "answer", 400, 40, 0, 0)  # 360 calls of a second, two at a time
    assert counter.minutes() == pytest.approx(3.0)
    counter.add("llm@slow", "answer", 90, 0, 0, 0)
    counter.add("other@slow", "judge", 60, 0, 0, 0)  # 150 calls at 30 a minute
    assert counter.minutes() == pytest.approx(5.0)


def test_the_plan_stands_beside_what_was_called():
    calls = (PlannedCalls("llm", "answer", 30, usd=1.5), PlannedCalls("offline/embed", "embed", 4, usd=0.0))
    row = UsageRow("openai", "llm", "answer", "t1", calls=10, cached=4, sent=7, prompt_tokens=99.6, usd=0.25)
    usage = [
        row,
        replace(row, trial="t2"),
        UsageRow("lab", "judge", "judge", "t1", calls=3, usd=None),
        replace(row, stage=CHECK_STAGE),
    ]
    plan = Plan(2, 15, 1, 0, 100, calls, 1.5, 1.0)
    table = plan_against_actual(plan, usage).set_index(["model", "stage"])
    assert list(table.index) == [("llm", "answer"), ("offline/embed", "embed"), ("judge@lab", "judge")]
    answering = table.loc[("llm", "answer")]
    assert list(answering[["planned calls", "calls", "from cache", "sent", "tokens"]]) == [30, 20, 8, 14, 200]
    assert (answering["planned USD"], answering["USD"]) == (1.5, 0.5)
    assert list(table.loc[("offline/embed", "embed"), ["planned calls", "calls", "tokens"]]) == [4, 0, 0]
    unplanned = table.loc[("judge@lab", "judge")]
    assert (unplanned["planned calls"], unplanned["calls"]) == (0, 3)
    assert unplanned["planned USD"] == 0.0 and pandas.isna(unplanned["USD"])  # the price is unknown, so not 0
    assert table.loc[("offline/embed", "embed"), "USD"] == 0.0  # nothing was called


def test_estimated_tokens_have_a_column_where_there_are_any():
    row = UsageRow("openai", "llm", "answer", "t1", calls=10, prompt_tokens=100, estimated_tokens=40, usd=0.25)
    plan = Plan(1, 10, 1, 0, 100, (PlannedCalls("other", "embed", 1),), None, 1.0)
    table = plan_against_actual(plan, [row])
    assert list(table.columns[-3:]) == ["tokens", "estimated", "USD"]
    assert list(table["estimated"]) == [0, 40]
    assert "estimated" not in plan_against_actual(plan, [replace(row, estimated_tokens=0)])


def test_an_unknown_price_is_printed_as_unknown():
    planned = PlannedCalls("llm@lab", "answer", 30, prompt_tokens=900, usd=None)
    usage = [UsageRow("lab", "llm", "answer", "t1", calls=10, sent=10, usd=None)]
    plan = Plan(2, 15, 1, 0, 100, (planned, PlannedCalls("llm", "judge", 4, usd=1234.5)), None, 1.0)
    text = calls_text(plan_against_actual(plan, usage))
    lines = [line.split() for line in text.splitlines()[1:]]
    assert lines[0][:4] == ["llm@lab", "answer", "30", "unknown"] and lines[0][-1] == "unknown"
    assert lines[1][:4] == ["llm", "judge", "4", "1,234.5000"] and lines[1][-1] == "0.0000"
    assert not {"None", "NaN", "nan"} & set(text.split()) | ({"None", "NaN"} & set(str(plan).split()))
