"""Metering of model calls and their price, and the check of the budget. The only module that knows prices.

Prices are those of the library genai-prices, overridden by a JSON file that DREAM_PRICES names, in USD per million
tokens:

    {"gpt-4o-mini": {"input": 0.15, "output": 0.60}, "llama-3@vllm": {"input": 0, "output": 0}}

Models are named as everywhere (`dream.models.pickers`). Offline models cost nothing, unless the file has a price for
them. An unknown price is None, never 0.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from dream.errors import BudgetError, ConfigurationError, bullets
from dream.models.token_usage import Tokens
from dream.records import UsageRow, add_usage as add_usage, known_sum
from dream.settings import OFFLINE, OPENAI, Budget

CHECK_STAGE = "check"


@dataclass
class Usage:
    """The counters of one endpoint, model, stage and trial: a mutable `UsageRow`, which describes the fields."""

    endpoint: str
    model: str
    stage: str
    trial: str
    calls: int = 0
    cached: int = 0
    sent: int = 0
    retried: int = 0
    failed: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    paid_prompt_tokens: float = 0
    paid_completion_tokens: float = 0
    seconds: float = 0.0
    usd: float | None = 0.0
    usd_full: float | None = 0.0
    estimated_tokens: float = 0

    def row(self) -> UsageRow:
        """The current values as a record."""
        return UsageRow(**asdict(self))

    def count_answer(self, price: "Price | None", tokens: Tokens, *, paid: bool) -> None:
        """Add the tokens of an answer and their price; `paid` is False for an answer from the cache."""
        prompt_tokens, completion_tokens = tokens.prompt, tokens.completion
        usd = price.usd(prompt_tokens, completion_tokens) if price else None
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.estimated_tokens += tokens.estimated
        self.usd_full = known_sum((self.usd_full, usd))
        if paid:
            self.paid_prompt_tokens += prompt_tokens
            self.paid_completion_tokens += completion_tokens
            self.usd = known_sum((self.usd, usd))


@dataclass(frozen=True)
class Price:
    """USD per million tokens of a prompt (`input`) and of a completion (`output`)."""

    input: float
    output: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The price of these tokens in USD."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def price_of(endpoint: str, model: str, base_url: str, own: Mapping[str, Price]) -> Price | None:
    """The price of a model; None if unknown.

    Args:
        base_url: of the endpoint; it identifies the provider in genai-prices.
        own: the user's prices by the identifiers of models; they come first.

    Example:
        >>> price_of("openai", "gpt-4o-mini", "https://api.openai.com/v1", {})
        Price(input=0.15, output=0.6)
    """
    plain = {OPENAI: [model], OFFLINE: [f"{OFFLINE}/{model}"]}.get(endpoint, [])
    for identifier in (f"{model}@{endpoint}", *plain):
        if identifier in own:
            return own[identifier]
    return Price(0.0, 0.0) if endpoint == OFFLINE else _listed_price(model, base_url)


@lru_cache
def _listed_price(model: str, base_url: str) -> Price | None:
    from genai_prices import Usage as Tokens, calc_price

    million = 1_000_000
    try:
        # the price of short prompts: some models cost more per token for long ones
        input_price = calc_price(Tokens(input_tokens=1000), model, provider_api_url=base_url).total_price
        output_price = calc_price(Tokens(output_tokens=1000), model, provider_api_url=base_url).total_price
    except LookupError:
        return None
    return Price(float(input_price) * million / 1000, float(output_price) * million / 1000)


def read_prices(path: str | None) -> dict[str, Price]:
    """The prices in the user's file, by model; empty if `path` is None.

    Raises:
        ConfigurationError: for a file that cannot be read, with every invalid entry.
    """
    if path is None:
        return {}
    try:
        given = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"DREAM_PRICES={path!r} cannot be read as JSON: {error}") from error
    rows = given.items() if isinstance(given, dict) else [("the file", given)]
    wrong = [f"{name}: {row!r}" for name, row in rows if not _is_price(row)]
    if wrong:
        example = '{"my-model@vllm": {"input": 0.15, "output": 0.6}} in USD per million tokens'
        raise ConfigurationError(bullets(f"DREAM_PRICES={path!r}: write {example}; invalid entries:", wrong))
    return {name: Price(float(row["input"]), float(row["output"])) for name, row in rows}


def _is_price(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and set(row) == {"input", "output"}
        and all(isinstance(value, int | float) and value >= 0 for value in row.values())
    )


@dataclass
class Meter:
    """All usage of one gateway, and its budget.

    `spent_before` is the `spent_of` earlier runs of the same experiment: the budget limits all runs together.
    """

    budget: Budget = field(default_factory=Budget)
    spent_before: Mapping[str, float] = field(default_factory=dict)
    _rows: dict[tuple[str, str, str, str], Usage] = field(default_factory=dict)
    failures: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    def row(self, endpoint: str, model: str, stage: str, trial: str) -> Usage:
        """The counters with these labels, created on first use."""
        key = (endpoint, model, stage, trial)
        return self._rows.setdefault(key, Usage(*key))

    def count_failure(self, usage: Usage, kind: str) -> None:
        """Count a failed call by its kind (`outcomes.failure_kind`), over all trials, in `failures`."""
        self.failures[usage.endpoint, usage.model, usage.stage, kind] += 1

    def rows(self, trial: str | None = None) -> list[UsageRow]:
        """All rows, or those of one trial."""
        return [usage.row() for usage in self._rows.values() if trial is None or usage.trial == trial]

    def check_budget(self) -> None:
        """Raise a BudgetError if a limit is reached; calls of the stage `CHECK_STAGE` do not count."""
        if self.budget == Budget():
            return
        spent = spent_of(self.rows())
        for name, unit in (("usd", "USD"), ("calls", "calls"), ("tokens", "tokens")):
            ceiling = getattr(self.budget, name)
            total = spent[name] + self.spent_before.get(name, 0)
            if ceiling is not None and total >= ceiling:
                raise BudgetError(
                    f"stopped at budget: {total:,.4g} of {ceiling:,.4g} {unit} are spent. Finished work is kept: raise "
                    f"DREAM_BUDGET_{name.upper()} and resume"
                )


def spent_of(rows: Iterable[UsageRow]) -> dict[str, float]:
    """`calls` (HTTP requests), `tokens` (paid) and `usd` (of the models with a known price), without `CHECK_STAGE`."""
    counted = [row for row in rows if row.stage != CHECK_STAGE]
    return {
        "calls": sum(row.sent for row in counted),
        "tokens": sum(row.paid_prompt_tokens + row.paid_completion_tokens for row in counted),
        "usd": sum(row.usd or 0.0 for row in counted),
    }
