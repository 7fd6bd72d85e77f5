"""The gateway's metrics: scraped over HTTP, read by Prometheus' own parser, equal to the usage table."""

from collections import Counter
from collections.abc import Iterator, Mapping

import openai
import pytest
from model_servers import ModelServer, Relay, Reply, chat_reply, endpoint_settings
from prometheus_client.parser import text_string_to_metric_families
from servers import HTTP

from dream.models import gateway_client
from dream.models.gateway import GatewayOptions
from dream.models.gateway_client import GatewayClient
from dream.models.gateway_metrics import MOST_MODELS, OTHER, Progress
from dream.models.gateway_server import served
from dream.models.usage import Meter, Price
from dream.records import UsageRow
from dream.settings import Budget

TOKEN = "a-token-of-the-tests-93ab"
LABELS = ("endpoint", "model", "stage", "experiment", "kind", "outcome", "unit", "state")
Samples = dict[str, dict[tuple[str, ...], float]]


def ask(url: str, model: str, text: str, label: str = "t1") -> None:
    with openai.OpenAI(base_url=f"{url}/trial/{label}/v1", api_key=TOKEN, max_retries=0) as client:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])


def embed(url: str, model: str, *texts: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as client:
        client.embeddings.create(model=model, input=list(texts))


def scraped(url: str) -> Samples:
    """The samples by name, and the values of their labels in the order of the module's text."""
    answer = HTTP.get(f"{url}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            own = tuple(sample.labels[name] for name in LABELS if name in sample.labels)
            assert len(own) == len(sample.labels)
            found.setdefault(sample.name, {})[own] = sample.value
    return found


@pytest.fixture
def url(gateway: GatewayClient) -> Iterator[str]:
    with served(gateway, TOKEN) as address:
        yield address


def by_stage(rows: list[UsageRow], field: str) -> Mapping[tuple[str, ...], float]:
    """A column of the usage table, summed over trials."""
    sums: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        sums[row.endpoint, row.model, row.stage] += getattr(row, field) or 0
    return sums


def test_a_scrape_has_the_numbers_of_the_usage_table(url: str, gateway: GatewayClient, relay: Relay):
    refusals = iter([Reply(429, {"error": {"message": "slow down"}}), Reply(503, {"error": {"message": "busy"}})])
    relay.script = lambda seen: next(refusals, chat_reply("four"))
    ask(url, "llm-small", "one")
    ask(url, "llm-small", "one", label="t2")  # from the cache, in another trial
    ask(url, "llm-small@relay", "two")  # after a 429 and a 503
    embed(url, "embed-small", "a", "b")
    relay.script = lambda seen: Reply(400, {"error": {"message": "no such parameter"}})
    with pytest.raises(openai.BadRequestError):
        ask(url, "llm-small@relay", "three")
    found, rows = scraped(url), gateway.usage()
    for name, field in [
        ("calls", "calls"),
        ("cache_hits", "cached"),
        ("retries", "retried"),
        ("response_seconds", "seconds"),
    ]:
        assert found[f"dream_model_{name}_total"] == pytest.approx(by_stage(rows, field)), name
    for kind in ("prompt", "completion"):
        for name, field in (("tokens", f"{kind}_tokens"), ("paid_tokens", f"paid_{kind}_tokens")):
            of_kind = {key[:3]: value for key, value in found[f"dream_model_{name}_total"].items() if key[3] == kind}
            assert of_kind == pytest.approx(by_stage(rows, field)), (name, kind)
    sent = Counter(dict.fromkeys(by_stage(rows, "sent"), 0.0))
    for key, value in found["dream_model_requests_total"].items():
        sent[key[:3]] += value
    assert sent == by_stage(rows, "sent")
    requests = {key[3]: value for key, value in found["dream_model_requests_total"].items() if key[0] == "relay"}
    assert requests == {"rate_limited": 1, "server_error": 1, "ok": 1, "rejected": requests["rejected"]}
    failed = {key: value for key, value in found["dream_model_failed_calls_total"].items() if value}
    assert failed == {("relay", "llm-small", "answer", "rejected"): 1}
    assert sum(failed.values()) == sum(row.failed for row in rows)


def test_no_trial_and_no_question_is_a_label(url: str):
    ask(url, "llm-small", "a question that nobody may see", label="secret-trial")
    text = HTTP.get(f"{url}/metrics", headers={"api-key": TOKEN}).text
    assert "secret-trial" not in text
    assert "nobody may see" not in text
    assert HTTP.get(f"{url}/metrics").status_code == 401


def test_a_budget_is_shown_as_it_is_checked_and_what_it_stops_is_counted(
    model_server: ModelServer, relay: Relay, no_environment: None
):
    settings = endpoint_settings(model_server, relay, DREAM_BUDGET_CALLS="4")
    with gateway_client.opened(settings, {"calls": 3, "tokens": 10, "usd": 0.5}) as opened, served(opened, TOKEN) as at:
        ask(at, "llm-small", "one")
        with pytest.raises(openai.APIStatusError):
            ask(at, "llm-small", "two")
        found = scraped(at)
        (row,) = by_stage(opened.usage(), "calls")
    assert found["dream_budget_limit"] == {("", "calls"): 4}
    assert found["dream_budget_spent"][("", "calls")] == 4
    assert found["dream_budget_spent"][("", "usd")] >= 0.5
    assert found["dream_model_failed_calls_total"] == {(*row, "budget"): 1}


def test_the_progress_of_an_experiment_is_shown(url: str, gateway: GatewayClient):
    assert "dream_experiment_questions" not in scraped(url)
    gateway.note_progress(Progress("first", 80, 20, 4, 1))
    found = scraped(url)
    assert found["dream_experiment_questions"] == {("first", "planned"): 80, ("first", "done"): 20}
    assert found["dream_experiment_trials"] == {("first", "planned"): 4, ("first", "done"): 1}
    assert found["dream_experiment_running"] == {("first",): 1}
    assert {key[0] for key in found["dream_budget_spent"]} == {"first"}


def test_an_unknown_price_has_no_sample(gateway: GatewayClient, relay: Relay, model_server: ModelServer, url: str):
    settings = endpoint_settings(model_server, relay)
    prices = {"llm-small@relay": Price(1000, 2000)}
    gateway.configure(GatewayOptions(settings.endpoints, prices=prices, budget=Budget()))
    ask(url, "llm-small@relay", "one")
    ask(url, "llm-large@relay", "one")
    (row,) = [row for row in gateway.usage() if row.model == "llm-small"]
    paid = scraped(url)["dream_model_usd_total"]
    assert paid == {("relay", "llm-small", "answer"): pytest.approx(row.usd)}
    assert row.usd == pytest.approx((1000 * row.paid_prompt_tokens + 2000 * row.paid_completion_tokens) / 1e6)


def test_models_that_programs_make_up_do_not_grow_the_metrics_without_bound():
    from dream.models.gateway_metrics import families

    meter = Meter()
    for number in range(MOST_MODELS + 50):
        meter.row("relay", f"made-up-{number}", "answer", "").calls += 1
    (calls,) = [family for family in families(meter, []) if family.name == "dream_model_calls"]
    values = {sample.labels["model"]: sample.value for sample in calls.samples}
    assert len(values) == MOST_MODELS + 1
    assert values[OTHER] == 50
    assert values["made-up-0"] == 1


def test_what_waits_and_what_is_under_way_is_shown(url: str, gateway: GatewayClient, relay: Relay):
    import threading

    may_answer = threading.Event()

    def slow(seen: object) -> Reply:
        may_answer.wait(20)
        return chat_reply("done")

    relay.script = slow
    asking = threading.Thread(target=ask, args=(url, "llm-small@relay", "one"))
    asking.start()
    try:
        for _ in range(400):
            under_way = scraped(url).get("dream_model_in_flight", {}).get(("relay", "llm-small"))
            if under_way:
                break
        assert under_way == 1
    finally:
        may_answer.set()
        asking.join()
    assert scraped(url)["dream_model_in_flight"][("relay", "llm-small")] == 0
    assert scraped(url)["dream_model_waiting"][("relay", "llm-small")] == 0
