"""Model calls: metered (`UsageRow`) and planned (`PlannedCalls`, `Plan`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

# The stages of the model calls for indexes: vectors, and contexts of chunks.
INDEX_STAGES = ("embed", "context")
# The stage of the model calls of a sift.
SIFT_STAGE = "sift"
# The stage of the model calls for held-out questions.
HELD_OUT_STAGE = "held out"


def known_sum(values: Iterable[float | None]) -> float | None:
    """The sum of the values, or None if any value is None.

    Example:
        >>> known_sum([1.5, 0.5]), known_sum([1.5, None]), known_sum([])
        (2.0, None, 0)
    """
    parts = list(values)
    return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(frozen=True)
class UsageRow:
    """The metered model calls of one endpoint, model, stage and trial.

    Attributes:
        trial: the trial's id; empty for shared calls, such as those for an index.
        calls: all calls; `cached` of them were answered from the cache, `failed` of them got no usable answer.
        sent: HTTP requests to the endpoint; `retried` of them were attempts after the first.
        prompt_tokens, completion_tokens: as the endpoint reports them, including cached answers; `estimated_tokens` of
            them are DREAM's estimates, because the endpoint does not report them.
        paid_prompt_tokens, paid_completion_tokens: the same without cached answers.
        seconds: the sum of the endpoint's response times.
        usd: the price that was paid; None if unknown.
        usd_full: the price without a cache; None if unknown.
    """

    endpoint: str
    model: str
    stage: str
    trial: str = ""
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

    @property
    def tokens(self) -> float:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """Endpoint, model, stage and trial: the key of a row, unique in a table."""
        return self.endpoint, self.model, self.stage, self.trial

    def plus(self, other: "UsageRow") -> "UsageRow":
        """The sum of both rows, with the labels of this one; unknown USD stays unknown."""
        return replace(self, **{name: known_sum((getattr(self, name), getattr(other, name))) for name in _COUNTED})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "UsageRow":
        """The inverse of `to_json`. A missing price is unknown (None); other missing numbers are 0."""
        given = {"usd": None, "usd_full": None, **data}
        return cls(**{name: given[name] for name in _FIELDS if name in given})


_FIELDS = tuple(each.name for each in fields(UsageRow))
_COUNTED = _FIELDS[4:]


def add_usage(*tables: Iterable[UsageRow]) -> tuple[UsageRow, ...]:
    """The rows of several tables, in which rows with the same labels are summed, in the order of first appearance."""
    rows: dict[tuple[str, str, str, str], UsageRow] = {}
    for row in (row for table in tables for row in table):
        rows[row.labels] = rows[row.labels].plus(row) if row.labels in rows else row
    return tuple(rows.values())


@dataclass(frozen=True)
class PlannedCalls:
    """The planned model calls of one model and stage.

    `cached` of the `calls` are already paid for, by an existing index or an earlier experiment with the same trial, or
    are paid once for several trials with the same requests. `usd` is the price of the other calls, None if unknown.
    Tokens are estimates for all calls.
    """

    model: str
    stage: str
    calls: int
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Plan:
    """The planned size of an experiment.

    Attributes:
        indexes: the indexes that the trials need; `indexes_kept` of them already exist in storage.
        texts_to_embed: the texts of the indexes that must be built.
        usd: the price of all calls that are not yet paid for; None if a price is unknown.
        minutes: a lower bound of the duration, from the known rate limits.
        notes: the work besides the trials, such as repeated judgements and baselines, whose calls are included.
        sifted: the number of retrieval combinations that a sift scores first, in the stage "sift"; the calls of trials
            are then those of all trials, if none is sifted out.
        usd_by_trial: the part of `usd` for each trial or baseline, without indexes, by trial id; None if a price is
            unknown. Empty in plans of earlier versions.
    """

    n_trials: int
    n_questions: int
    indexes: int
    indexes_kept: int
    texts_to_embed: int
    calls: tuple[PlannedCalls, ...]
    usd: float | None
    minutes: float
    notes: tuple[str, ...] = ()
    sifted: int = 0
    usd_by_trial: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def is_paid(self) -> bool:
        """True if every call is already paid for."""
        return all(row.cached == row.calls for row in self.calls)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "calls": [asdict(row) for row in self.calls], "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The inverse of `to_json`."""
        names = {each.name for each in fields(cls)}
        call_names = {each.name for each in fields(PlannedCalls)}
        calls = [
            PlannedCalls(**{name: value for name, value in row.items() if name in call_names}) for row in data["calls"]
        ]
        given = {name: value for name, value in data.items() if name in names}
        return cls(**{**given, "calls": tuple(calls), "notes": tuple(data.get("notes", ()))})

    def __str__(self) -> str:
        usd = _usd_of(self.usd)
        kept = f", {self.indexes_kept} of them already built" if self.indexes_kept else ""
        head = (
            f"{self.n_trials} trials x {self.n_questions} questions, {self.indexes} indexes{kept}, "
            f"{self.texts_to_embed:,} texts to embed"
        )
        head = "\n".join([head, *self.notes])
        table = _as_text(self.calls) if self.calls else "no model calls"
        cost = f"USD: {usd}." if not self.sifted else (
            f"USD: {_usd_of(self.sifting)} for the indexes and the sift; with all trials, if none is sifted out, {usd}."
        )  # fmt: skip
        return f"{head}\n\n{table}\n\n{cost}{at_least(self.minutes)}"

    @property
    def sifting(self) -> float | None:
        """The price of the calls before any trial is sifted out; None if unknown."""
        return known_sum(row.usd for row in self.calls if row.stage in (*INDEX_STAGES, SIFT_STAGE))


def at_least(minutes: float) -> str:
    """The sentence of a plan on the time that rate limits make its calls take at least; empty below three seconds.

    Example:
        >>> at_least(20), at_least(0.01)
        (' At least 20.0 minutes at the known limits.', '')
    """
    return f" At least {minutes:.1f} minutes at the known limits." if minutes >= 0.05 else ""


def _usd_of(usd: float | None) -> str:
    return "unknown, because a price is missing (DREAM_PRICES)" if usd is None else f"{usd:,.2f}"


def _as_text(calls: Sequence[PlannedCalls]) -> str:
    """The calls as a table for a terminal."""
    import pandas

    rows = [
        {
            "model": row.model,
            "stage": row.stage,
            "calls": f"{row.calls:,}",
            "from cache": f"{row.cached:,}",
            "tokens": f"{row.tokens:,}",
            "USD": "unknown" if row.usd is None else f"{row.usd:,.4f}",
        }
        for row in calls
    ]
    return pandas.DataFrame(rows).to_string(index=False)
