"""Planned model calls by model and stage, with tokens, USD and minutes; and a table of planned and actual calls."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import pandas

from dream.models.pickers import split_identifier
from dream.models.rate_limiter import MAX_CONCURRENCY
from dream.models.usage import CHECK_STAGE, price_of, read_prices
from dream.records import Plan, PlannedCalls, UsageRow, known_sum
from dream.settings import OFFLINE, Endpoint, Settings

# The assumed duration of a call in seconds.
CALL_SECONDS = 1.0


class Counter:
    """Sums planned calls by model and stage."""

    def __init__(self, settings: Settings) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in settings.endpoints}
        self._prices = read_prices(settings.prices)
        self._rows: dict[tuple[str, str], list[int]] = {}

    def add(self, model: str, stage: str, calls: int, cached: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Add calls of a model identifier, if there are any; `cached` of them are already paid for, or by others of
        them; the tokens are those of all calls."""
        if not calls:
            return
        row = self._rows.setdefault((model, stage), [0, 0, 0, 0])
        for column, number in enumerate((calls, cached, prompt_tokens, completion_tokens)):
            row[column] += number

    def part(self) -> "Counter":
        """A counter with the same prices that has counted nothing, for a part of the whole (see `include`)."""
        counter = copy.copy(self)
        counter._rows = {}
        return counter

    def include(self, part: "Counter") -> None:
        """Add all that a part has counted."""
        for (model, stage), row in part._rows.items():
            self.add(model, stage, *row)

    def rows(self) -> tuple[PlannedCalls, ...]:
        """The sums with their price, in the order of the first call."""
        return tuple(
            PlannedCalls(model, stage, row[0], row[1], row[2], row[3], self._usd(model, row))
            for (model, stage), row in self._rows.items()
        )

    def minutes(self) -> float:
        """A lower bound of the duration: the slowest endpoint's calls at its rate limit, or at its concurrency."""
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
        price = price_of(name, plain, base_url, self._prices) if plain else None  # of a service nothing is known
        if price is None:
            return None
        share = 1 - row[1] / row[0] if row[0] else 0.0
        return price.usd(row[2], row[3]) * share


def usd_without_services(rows: Iterable[PlannedCalls]) -> float | None:
    """The price of planned calls of models; None if one is unknown. What the user's own services cost is not in it."""
    return known_sum(row.usd for row in rows if split_identifier(row.model)[1])


def plan_against_actual(plan: Plan, usage: Iterable[UsageRow]) -> pandas.DataFrame:
    """Planned and actual model calls, a row per model and stage.

    Columns: `model`, `stage`, `planned calls`, `planned USD`, and, unless nothing was called, `calls`, `from cache`,
    `sent` (HTTP requests), `tokens`, `estimated` (of these tokens; only where there are any) and `USD` (paid). USD is
    missing (None or NaN) where a price is unknown; a stage without planned or actual calls has 0. `calls_text` prints
    the table.
    """
    planned = {(row.model, row.stage): row for row in plan.calls}
    actual: dict[tuple[str, str], list[UsageRow]] = {}
    for row in usage:
        if row.stage != CHECK_STAGE:
            actual.setdefault((_identifier(row), row.stage), []).append(row)
    table = pandas.DataFrame(
        [_planned_and_actual(*key, planned.get(key), actual.get(key)) for key in dict.fromkeys((*planned, *actual))]
    )
    counts = [name for name in ("calls", "from cache", "sent", "tokens", "estimated") if name in table]
    table[counts] = table[counts].fillna(0).astype(int)
    if "estimated" in table:
        table = table.reindex(columns=[*table.columns.drop(["estimated", "USD"]), "estimated", "USD"])
    if "USD" in table:
        table.loc[table["calls"] == 0, "USD"] = 0.0
    return table


def calls_text(table: pandas.DataFrame) -> str:
    """The table of `plan_against_actual` as text for a terminal: USD with four decimals, "unknown" where it is missing.

    Example:
        >>> print(calls_text(pandas.DataFrame({"model": ["llm"], "stage": ["answer"], "planned USD": [None]})))
        model  stage planned USD
          llm answer     unknown
    """
    shown = table.copy()
    for column in shown.columns.intersection(["planned USD", "USD"]):
        shown[column] = ["unknown" if pandas.isna(value) else f"{value:,.4f}" for value in shown[column]]
    return shown.to_string(index=False)


def _planned_and_actual(
    model: str, stage: str, planned: PlannedCalls | None, actual: Sequence[UsageRow] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "stage": stage}
    row["planned calls"], row["planned USD"] = (planned.calls, planned.usd) if planned else (0, 0.0)
    if actual:
        row["calls"] = sum(usage.calls for usage in actual)
        row["from cache"] = sum(usage.cached for usage in actual)
        row["sent"] = sum(usage.sent for usage in actual)
        row["tokens"] = sum(round(usage.tokens) for usage in actual)
        if estimated := sum(round(usage.estimated_tokens) for usage in actual):
            row["estimated"] = estimated
        row["USD"] = known_sum(usage.usd for usage in actual)
    return row


def _identifier(row: UsageRow) -> str:
    """The model identifier of a metered model, as in the settings."""
    if row.endpoint == OFFLINE:
        return f"{OFFLINE}/{row.model}"
    return row.model if split_identifier(row.model)[0] == row.endpoint else f"{row.model}@{row.endpoint}"
