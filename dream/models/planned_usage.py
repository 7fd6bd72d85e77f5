"""Model calls by model and stage: as they are planned, with tokens, USD and minutes, and beside what they came to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from dream.models.pickers import split_identifier
from dream.models.rate_limiter import MAX_CONCURRENCY
from dream.models.usage import CHECK_STAGE, price_of, read_prices
from dream.settings import OFFLINE, Endpoint, Settings

# Seconds a call where nothing is known of an endpoint.
CALL_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedCalls:
    """Model calls of one model and stage. `cached` of the `calls` are paid for already, by this very experiment's
    index or by an earlier experiment with the same trial; `usd` counts the others, None where a price is unknown."""

    model: str
    stage: str
    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


class Counter:
    """Adds calls up by model and stage."""

    def __init__(self, settings: Settings) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in settings.endpoints}
        self._prices = read_prices(settings.prices)
        self._rows: dict[tuple[str, str], list[int]] = {}

    def add(self, model: str, stage: str, calls: int, cached: int, prompt_tokens: int, completion_tokens: int) -> None:
        row = self._rows.setdefault((model, stage), [0, 0, 0, 0])
        for place, number in enumerate((calls, cached, prompt_tokens, completion_tokens)):
            row[place] += number

    def rows(self) -> tuple[PlannedCalls, ...]:
        return tuple(
            PlannedCalls(model, stage, row[0], row[1], row[2], row[3], self._usd(model, row))
            for (model, stage), row in self._rows.items()
        )

    def minutes(self) -> float:
        """The slowest endpoint's time: its calls at its rate, or at the concurrency that it is given."""
        by_endpoint: dict[str, int] = {}
        for (model, _), row in self._rows.items():
            name = split_identifier(model)[0]
            by_endpoint[name] = by_endpoint.get(name, 0) + row[0] - row[1]
        return max((self._minutes(name, calls) for name, calls in by_endpoint.items()), default=0.0)

    def _minutes(self, name: str, calls: int) -> float:
        endpoint = self._endpoints.get(name, Endpoint(name, ""))
        at_concurrency = 0.0 if name == OFFLINE else calls * CALL_SECONDS / 60
        at_concurrency /= endpoint.max_concurrency or MAX_CONCURRENCY
        return max(at_concurrency, calls / endpoint.requests_per_minute if endpoint.requests_per_minute else 0.0)

    def _usd(self, model: str, row: Sequence[int]) -> float | None:
        name, plain = split_identifier(model)
        base_url = self._endpoints[name].base_url if name in self._endpoints else ""
        price = price_of(name, plain, base_url, self._prices)
        if price is None:
            return None
        share = 1 - row[1] / row[0] if row[0] else 0.0
        return price.usd(row[2], row[3]) * share


def plan_against_actual(planned: Mapping[str, Any], usage: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """A row for each model and stage: calls and tokens as planned and as they were, what the cache gave, USD."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in planned["calls"]:
        rows[row["model"], row["stage"]] = {"planned calls": row["calls"], "planned USD": row["usd"]}
    for row in usage:
        if row["stage"] == CHECK_STAGE:
            continue
        actual = rows.setdefault((_identifier(row), row["stage"]), {"planned calls": 0, "planned USD": None})
        for name, value in (("calls", row["calls"]), ("from cache", row["cached"]), ("sent", row["sent"])):
            actual[name] = actual.get(name, 0) + value
        tokens = row["prompt_tokens"] + row["completion_tokens"]
        actual["tokens"] = actual.get("tokens", 0) + round(tokens)
        before = actual.get("USD", 0.0)
        actual["USD"] = None if before is None or row["usd"] is None else before + row["usd"]
    table = pandas.DataFrame([{"model": model, "stage": stage, **row} for (model, stage), row in rows.items()])
    counts = [name for name in ("calls", "from cache", "sent", "tokens") if name in table]
    table[counts] = table[counts].fillna(0).astype(int)
    return table


def _identifier(row: Mapping[str, Any]) -> str:
    """How a model of the meter is named in settings."""
    if row["endpoint"] == OFFLINE:
        return f"{OFFLINE}/{row['model']}"
    return row["model"] if split_identifier(row["model"])[0] == row["endpoint"] else f"{row['model']}@{row['endpoint']}"
