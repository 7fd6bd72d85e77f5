"""Usage: what is counted, what it cost, and when the budget is spent."""

from dataclasses import replace
from pathlib import Path

import pytest
from model_servers import ModelServer, endpoint_settings

from dream.errors import BudgetError, ConfigurationError
from dream.models import gateway_client
from dream.models.pickers import llm_picker
from dream.models.token_usage import Tokens
from dream.models.usage import CHECK_STAGE, Meter, Price, Usage, UsageRow, add_usage, price_of, read_prices, spent_of
from dream.settings import Budget, Settings


@pytest.fixture
def settings(model_server: ModelServer, relay, no_environment, tmp_path: Path) -> Settings:
    return endpoint_settings(model_server, relay, DREAM_CACHE_URI=str(tmp_path / "cache"))


def test_prices_and_sums():
    own = {"m@lab": Price(1.0, 2.0)}
    assert price_of("lab", "m", "http://lab/v1", own).usd(1e6, 5e5) == 2.0
    assert price_of("lab", "other", "http://lab/v1", own) is None
    row = UsageRow("e", "m", "s", "t", calls=1, usd=0.5)
    for name in ("llm-large@offline", "offline/llm-large"):
        assert price_of("offline", "llm-large", "", {name: Price(1.0, 2.0)}) == Price(1.0, 2.0)
    assert price_of("offline", "llm-large", "", own) == Price(0.0, 0.0)
    assert price_of("openai", "m", "", {"m": Price(3.0, 4.0)}) == Price(3.0, 4.0)
    (total,) = add_usage([row], [replace(row, usd=None)])
    assert (total.calls, total.usd, total.usd_full) == (2, None, 0)


def test_an_unknown_price_is_unknown_and_offline_costs_nothing(settings, no_environment, tmp_path):
    with gateway_client.opened(settings) as gateway:
        llm_picker("llm-large@relay").complete("hello")
        (row,) = gateway.usage()
    assert row.usd is None
    prices = tmp_path / "prices.json"
    prices.write_text('{"llm-large@relay": {"input": 1000000, "output": 0}}')
    with gateway_client.opened(replace(settings, prices=str(prices))) as gateway:
        llm_picker("llm-large@relay").complete("hello again")
        (row,) = gateway.usage()
    assert row.usd == row.paid_prompt_tokens > 0


def test_answers_from_the_cache_count_in_full_and_are_not_paid():
    usage = Usage("e", "m", "answer", "t")
    price = Price(10.0, 20.0)
    usage.count_answer(price, Tokens(100_000, 50_000), paid=True)  # 1 USD for the prompts and 1 for the completions
    usage.count_answer(price, Tokens(100_000, 50_000), paid=False)
    row = usage.row()
    assert (row.tokens, row.paid_prompt_tokens, row.paid_completion_tokens) == (300_000, 100_000, 50_000)
    assert (row.usd, row.usd_full) == (2.0, 4.0)
    usage.count_answer(None, Tokens(1, 1), paid=False)
    assert (usage.row().usd, usage.row().usd_full) == (2.0, None)


@pytest.mark.parametrize(
    ("budget", "spent_before", "ceiling"),
    [
        (Budget(calls=5), {}, None),
        (Budget(calls=4), {}, "calls"),
        (Budget(calls=6), {"calls": 2}, "calls"),
        (Budget(tokens=30), {}, "tokens"),
        (Budget(tokens=31), {"usd": 100.0}, None),
        (Budget(usd=1.5), {}, "usd"),
        (Budget(usd=1.6), {"usd": 0.05}, None),
    ],
)
def test_a_budget_is_spent_where_all_runs_together_reach_a_ceiling(budget: Budget, spent_before: dict, ceiling):
    meter = Meter(budget, spent_before)
    answering = meter.row("e", "m", "answer", "t1")
    assert meter.row("e", "m", "answer", "t1") is answering
    answering.sent, answering.cached, answering.usd, answering.paid_prompt_tokens = 3, 100, 1.5, 20
    judging = meter.row("e", "free", "judge", "t2")
    judging.sent, judging.usd, judging.paid_completion_tokens = 1, None, 10
    meter.row("e", "m", CHECK_STAGE, "").sent = 50  # checks are free of the budget
    assert spent_of(meter.rows()) == {"calls": 4, "tokens": 30, "usd": 1.5}
    assert [row.stage for row in meter.rows("t2")] == ["judge"]
    if ceiling is None:
        meter.check_budget()
    else:
        with pytest.raises(BudgetError, match=f"DREAM_BUDGET_{ceiling.upper()}"):
            meter.check_budget()


def test_every_mistake_in_a_file_of_prices_is_named(tmp_path: Path):
    prices = tmp_path / "prices.json"
    prices.write_text('{"good": {"input": 1, "output": 0}, "half": {"input": 1}, "below": {"input": -1, "output": 2}}')
    with pytest.raises(ConfigurationError) as caught:
        read_prices(str(prices))
    assert [line.split(":")[0].strip(" -") for line in str(caught.value).splitlines()[1:]] == ["half", "below"]
    prices.write_text('{"good": {"input": 1, "output": 0}}')
    assert read_prices(str(prices)) == {"good": Price(1.0, 0.0)}
    assert read_prices(None) == {}
    for content in ("{", "[]"):
        prices.write_text(content)
        with pytest.raises(ConfigurationError, match=r"prices\.json"):
            read_prices(str(prices))


def test_ones_own_price_comes_before_the_listed_one_and_holds_for_its_endpoint():
    url, own = "https://api.openai.com/v1", Price(1.0, 2.0)
    listed = price_of("openai", "gpt-4o-mini", url, {})
    assert listed and listed != own
    assert price_of("openai", "gpt-4o-mini", url, {"gpt-4o-mini": own}) == own
    assert price_of("openai", "gpt-4o-mini", url, {"gpt-4o-mini@lab": own}) == listed
    assert price_of("lab", "gpt-4o-mini", "http://lab/v1", {"gpt-4o-mini": own}) is None
    assert price_of("offline", "llm-small", "", {}) == Price(0.0, 0.0)
