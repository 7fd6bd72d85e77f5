"""Fault injection: switches for latency, rate limits and errors; a seed fixes the sequence of faults."""

import random
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SHARES = ("error_share", "hang_share", "cut_share", "malformed_share", "wrong_schema_share", "truncated_share")


@dataclass(frozen=True)
class Switches:
    """All switches; by default the server is fast and has no faults.

    Latencies are in milliseconds: a number, or [least, most] for a uniform distribution. Shares are probabilities (0 to
    1) that sum to at most 1: each request has at most one fault. `requests_per_minute` 0 is no limit; `burst` is the
    size of the token bucket; `retry_after` False leaves the Retry-After header out of 429 responses.
    """

    chat_latency_ms: float | list[float] = 0.0
    embedding_latency_ms: float | list[float] = 0.0
    requests_per_minute: int = 0
    burst: int = 1
    retry_after: bool = True
    error_share: float = 0.0
    hang_share: float = 0.0
    cut_share: float = 0.0
    malformed_share: float = 0.0
    wrong_schema_share: float = 0.0
    truncated_share: float = 0.0
    hang_seconds: float = 600.0
    seed: int = 0


def changed(switches: Switches, changes: dict[str, Any]) -> Switches:
    """The switches with changes by name.

    Raises:
        ValueError: for unknown switches and invalid values; the message names all of them.
    """
    names = [field.name for field in fields(Switches)]
    unknown = [name for name in changes if name not in names]
    valid = {name: value for name, value in changes.items() if name in names}
    problems = [f"{name!r} is not a switch; valid: {', '.join(names)}" for name in unknown]
    problems += [problem for name, value in valid.items() if (problem := _problem(name, value))]
    if not problems:
        switches = replace(switches, **valid)
        total = sum(getattr(switches, name) for name in SHARES)
        if total > 1 + 1e-9:
            problems.append(f"the shares sum to {total:g}; they must sum to at most 1")
    if problems:
        raise ValueError("; ".join(problems))
    return switches


def _problem(name: str, value: Any) -> str | None:
    if name == "retry_after":
        return None if isinstance(value, bool) else f"retry_after={value!r}: give true or false"
    if name.endswith("_latency_ms") and isinstance(value, list | tuple):
        ordered = len(value) == 2 and all(_is_number(part) and part >= 0 for part in value) and value[0] <= value[1]
        return None if ordered else f"{name}={value!r}: give milliseconds, or [least, most]"
    if not _is_number(value) or value < 0:
        return f"{name}={value!r}: give a number of at least 0"
    if name in SHARES and value > 1:
        return f"{name}={value!r}: give a share between 0 and 1"
    whole = name in ("requests_per_minute", "burst", "seed")
    return f"{name}={value!r}: give a whole number" if whole and value != int(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Faults:
    """Draws the fault of each request. `set` restarts the random sequence from the seed."""

    def __init__(self, switches: Switches):
        self.set(switches)

    def set(self, switches: Switches) -> None:
        self.switches = switches
        self._random = random.Random(switches.seed)
        self._tokens = float(max(switches.burst, 1))
        self._filled_at = time.monotonic()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self.switches)

    def draw(self) -> str | None:
        """The fault of the next request: error, hang, cut, malformed, wrong_schema, truncated, or None."""
        point = self._random.random()
        for name in SHARES:
            point -= getattr(self.switches, name)
            if point < 0:
                return name.removesuffix("_share")
        return None

    def latency_seconds(self, path: str) -> float:
        """The latency of the next response in seconds, drawn from the range if the switch has one."""
        chosen = self.switches.embedding_latency_ms if path.endswith("/embeddings") else self.switches.chat_latency_ms
        if isinstance(chosen, list | tuple):
            chosen = self._random.uniform(*chosen)
        return chosen / 1000

    def seconds_to_wait(self) -> float:
        """Count a request against the rate limit: 0 if it may pass, else the seconds until the next one may."""
        rate = self.switches.requests_per_minute / 60
        if not rate:
            return 0.0
        now = time.monotonic()
        most = max(self.switches.burst, 1)
        self._tokens = min(most, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / rate
