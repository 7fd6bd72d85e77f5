"""The gateway's metrics for Prometheus: what the meter counts, without trials and questions, and what waits now.

They are computed when they are asked for, from the same counters as the usage table. Labels are bounded: endpoints and
stages are DREAM's own, and models beyond the first `MOST_MODELS` share the name `other`.

    dream_model_calls_total{endpoint,model,stage}              all calls
    dream_model_cache_hits_total{endpoint,model,stage}         answered from the cache, or by the same call under way
    dream_model_failed_calls_total{endpoint,model,stage,kind}  without a usable answer (see `outcomes`)
    dream_model_requests_total{endpoint,model,stage,outcome}   HTTP requests that were sent (see `outcomes`)
    dream_model_retries_total{endpoint,model,stage}            of them, attempts after the first
    dream_model_tokens_total{endpoint,model,stage,kind}        prompt or completion, cached answers included
    dream_model_paid_tokens_total{endpoint,model,stage,kind}   the same without cached answers
    dream_model_usd_total{endpoint,model,stage}                paid; absent where a price is not known
    dream_model_usd_without_cache_total{endpoint,model,stage}
    dream_model_response_seconds_total{endpoint,model,stage}   until responses came
    dream_model_wait_seconds_total{endpoint,model,stage}       of requests that the limits of the endpoint held back
    dream_model_in_flight{endpoint,model}, dream_model_waiting{endpoint,model}
    dream_budget_limit{experiment,unit}, dream_budget_spent{experiment,unit}    unit: usd, calls, tokens
    dream_experiment_questions{experiment,state}, dream_experiment_trials{experiment,state}    state: planned, done
    dream_experiment_running{experiment}                       0 when the gateway was closed
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from dream.models.endpoint_client import EndpointClient
from dream.models.usage import Meter, spent_of
from dream.records import add_usage, known_sum

MOST_MODELS = 100
OTHER = "other"
OWN_LABELS = ("endpoint", "model", "stage")
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """The progress of an experiment, over all its runs."""

    experiment: str
    questions_planned: int
    questions_done: int
    trials_planned: int
    trials_done: int


def families(
    meter: Meter,
    clients: Iterable[EndpointClient],
    progress: Progress | None = None,
    *,
    is_closed: bool = False,
) -> list[Metric]:
    """All metrics as they are now.

    Args:
        progress: of the experiment that the gateway serves, if any.
        is_closed: nothing more is sent.
    """
    clients = list(clients)
    found = [*_counters(meter, clients), *_load(clients), *_budget(meter, progress.experiment if progress else "")]
    if progress is not None:
        running = GaugeMetricFamily("dream_experiment_running", "1 while it is run", labels=["experiment"])
        running.add_metric([progress.experiment], float(not is_closed))
        found += [*_progress(progress), running]
    return found


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The metrics in Prometheus' text format (`CONTENT_TYPE_LATEST`)."""
    registry, found = CollectorRegistry(auto_describe=False), list(metrics)

    class Collected:
        def describe(self) -> list[Metric]:
            return []

        def collect(self) -> list[Metric]:
            return found

    registry.register(Collected())  # pyright: ignore[reportArgumentType] - the type that it asks for has no describe
    return generate_latest(registry)


def _counters(meter: Meter, clients: Iterable[EndpointClient]) -> list[Metric]:
    rows = add_usage(replace(row, trial="") for row in meter.rows())
    names = _Names((row.endpoint, row.model) for row in rows)
    sums: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
    usd: dict[str, dict[Labels, float]] = {"usd": {}, "usd_without_cache": {}}
    for row in rows:
        own = names.of(row.endpoint, row.model, row.stage)
        sums["calls"][own] += row.calls
        sums["cache_hits"][own] += row.cached
        sums["retries"][own] += row.retried
        sums["response_seconds"][own] += row.seconds
        for kind in ("prompt", "completion"):
            sums["tokens"][*own, kind] += getattr(row, f"{kind}_tokens")
            sums["paid_tokens"][*own, kind] += getattr(row, f"paid_{kind}_tokens")
        for name, value in (("usd", row.usd), ("usd_without_cache", row.usd_full)):
            if value is not None:
                usd[name][own] = known_sum((usd[name].get(own, 0.0), value)) or 0.0
    for (endpoint, model, stage, kind), n_failed in meter.failures.items():
        sums["failed_calls"][*names.of(endpoint, model, stage), kind] += n_failed
    for client in clients:
        for (model, stage, outcome), n_sent in client.requests.items():
            sums["requests"][*names.of(client.endpoint.name, model, stage), outcome] += n_sent
        for (model, stage), seconds in client.waited.items():
            sums["wait_seconds"][names.of(client.endpoint.name, model, stage)] += seconds
    return [_counter(name, text, label, {**sums, **usd}.get(name, {})) for name, text, label in _COUNTERS]


_COUNTERS = (
    ("calls", "All calls of models, cached answers included", None),
    ("cache_hits", "Calls answered from the cache, or by the same call under way", None),
    ("failed_calls", "Calls without a usable answer", "kind"),
    ("requests", "HTTP requests to endpoints, by what came of them", "outcome"),
    ("retries", "HTTP requests that were attempts after the first", None),
    ("tokens", "Tokens, cached answers included", "kind"),
    ("paid_tokens", "Tokens without cached answers", "kind"),
    ("usd", "USD paid, of models with a known price", None),
    ("usd_without_cache", "USD that would have been paid without a cache", None),
    ("response_seconds", "Seconds until responses came", None),
    ("wait_seconds", "Seconds that the limits of endpoints held requests back", None),
)


def _counter(name: str, text: str, label: str | None, values: Mapping[Labels, float]) -> Metric:
    labels = [*OWN_LABELS, *([label] if label else [])]
    family = CounterMetricFamily(f"dream_model_{name}", text, labels=labels)
    for own, value in values.items():
        family.add_metric(own, value)
    return family


def _load(clients: Iterable[EndpointClient]) -> list[Metric]:
    in_flight = GaugeMetricFamily("dream_model_in_flight", "Requests under way", labels=["endpoint", "model"])
    waiting = GaugeMetricFamily("dream_model_waiting", "Requests that limits hold back", labels=["endpoint", "model"])
    for client in clients:
        load = client.limiter.load()
        names = _Names((client.endpoint.name, model) for model in load)
        sums: Counter[tuple[Labels, str]] = Counter()
        for model, (under_way, held_back) in load.items():
            own = names.of(client.endpoint.name, model)
            sums[own, "in_flight"] += under_way
            sums[own, "waiting"] += held_back
        for (own, what), value in sums.items():
            (in_flight if what == "in_flight" else waiting).add_metric(own, value)
    return [in_flight, waiting]


def _budget(meter: Meter, experiment: str) -> list[Metric]:
    labels = ["experiment", "unit"]
    limit = GaugeMetricFamily("dream_budget_limit", "The budget, where there is one", labels=labels)
    spent = GaugeMetricFamily("dream_budget_spent", "Spent, over all runs of the experiment", labels=labels)
    for unit, value in spent_of(meter.rows()).items():
        spent.add_metric([experiment, unit], value + meter.spent_before.get(unit, 0))
        if (ceiling := getattr(meter.budget, unit)) is not None:
            limit.add_metric([experiment, unit], ceiling)
    return [limit, spent]


def _progress(progress: Progress) -> list[Metric]:
    found: list[Metric] = []
    for what in ("questions", "trials"):
        family = GaugeMetricFamily(
            f"dream_experiment_{what}", f"{what.title()} of the experiment", labels=["experiment", "state"]
        )
        for state in ("planned", "done"):
            family.add_metric([progress.experiment, state], getattr(progress, f"{what}_{state}"))
        found.append(family)
    return found


class _Names:
    """Labels with at most `MOST_MODELS` models: the first ones."""

    def __init__(self, models: Iterable[tuple[str, str]]) -> None:
        self._kept = set(list(dict.fromkeys(models))[:MOST_MODELS])

    def of(self, endpoint: str, model: str, *stage: str) -> Labels:
        return (endpoint, model if (endpoint, model) in self._kept else OTHER, *stage)
