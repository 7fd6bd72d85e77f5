"""Usage: sums in which an unknown price stays unknown, and plans as people read them."""

import json
from dataclasses import replace

from dream.records import (
    Plan,
    PlannedCalls,
    UsageRow,
    add_usage,
    known_sum,
)


def test_usage_adds_up_and_an_unknown_price_stays_unknown():
    one = UsageRow("x", "llm", "answer", "t1", 3, 1, 2, prompt_tokens=10, completion_tokens=1, usd=0.5, usd_full=0.75)
    total, other = add_usage([one, replace(one, trial="t2")], [replace(one, calls=4, usd=None)])
    assert (total.calls, total.tokens, total.usd, total.usd_full) == (7, 22, None, 1.5)
    assert other == replace(one, trial="t2")


def test_rows_of_different_labels_stay_apart_and_a_row_comes_back_from_json():
    rows = [UsageRow("x", "llm", "answer", "t1", 1), UsageRow("x", "llm", "judge", "t1", 2)]
    rows += [UsageRow("y", "llm", "answer", "t1", 4), UsageRow("x", "other", "answer", "t1", 8)]
    assert [row.calls for row in add_usage(rows, rows)] == [2, 4, 8, 16]
    assert add_usage() == ()
    for row in (*rows, replace(rows[0], usd=None, usd_full=1.5, seconds=0.25)):
        assert UsageRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_price_that_was_not_kept_is_unknown_and_not_0():
    row = UsageRow.from_json({"endpoint": "x", "model": "llm", "stage": "answer", "calls": 3, "colour": "red"})
    assert row == UsageRow("x", "llm", "answer", calls=3, usd=None, usd_full=None)


def test_a_sum_with_an_unknown_part_is_unknown():
    assert known_sum([0.25, 0.5]) == 0.75
    assert known_sum([0.25, None, 0.5]) is None
    assert known_sum([]) == 0


def test_a_plan_says_what_it_costs_and_what_is_paid_already():
    calls = (
        PlannedCalls("gpt", "answer", 1200, 0, 1_000_000, 20_000, 2.5),
        PlannedCalls("offline/embed", "embed", 40, 40, 500, 0, 0.0),
    )
    planned = Plan(4, 300, 2, 1, 12_345, calls, 2.5, 20.0, ("baselines: 2, for 1 LLM(s)",))
    text = str(planned)
    assert text.startswith(
        "4 trials x 300 questions, 2 indexes, 1 of them already built, 12,345 texts to embed\nbaselines: 2"
    )
    (row,) = [line.split() for line in text.splitlines() if line.strip().startswith("gpt")]
    assert row == ["gpt", "answer", "1,200", "0", "1,020,000", "2.5000"]
    assert "USD: 2.50. At least 20.0 minutes" in text
    assert not planned.is_paid and replace(planned, calls=calls[1:]).is_paid
    unknown = replace(planned, usd=None, calls=(replace(calls[0], usd=None),))
    assert str(unknown).count("unknown") == 2 and "DREAM_PRICES" in str(unknown)
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned
