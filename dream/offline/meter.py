"""Counters of the server, for tests and cost reports."""

from collections import Counter, defaultdict
from hashlib import blake2b
from typing import Any


class Meter:
    """Counters since the start or the last reset. `distinct_bodies` counts request bodies that differ in any byte."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.by_model: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.texts_embedded = 0
        self.in_flight_most = self.in_flight
        self._bodies: defaultdict[str, set[bytes]] = defaultdict(set)

    def arrived(self, path: str, body: bytes) -> None:
        self.calls[path] += 1
        self._bodies[path].add(blake2b(body, digest_size=12).digest())
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)

    def left(self, status: int | str) -> None:
        self.in_flight -= 1
        self.by_status[str(status)] += 1

    def used(self, model: str, tokens_in: int, tokens_out: int, texts: int = 0) -> None:
        self.by_model[model].update(calls=1, tokens_in=tokens_in, tokens_out=tokens_out)
        self.texts_embedded += texts

    def as_dict(self) -> dict[str, Any]:
        return {
            "calls": sum(self.calls.values()),
            "by_path": dict(self.calls),
            "by_status": dict(self.by_status),
            "by_fault": dict(self.by_fault),
            "by_model": {model: dict(counts) for model, counts in self.by_model.items()},
            "tokens_in": sum(counts["tokens_in"] for counts in self.by_model.values()),
            "tokens_out": sum(counts["tokens_out"] for counts in self.by_model.values()),
            "texts_embedded": self.texts_embedded,
            "distinct_bodies": {path: len(bodies) for path, bodies in self._bodies.items()},
            "in_flight": self.in_flight,
            "in_flight_most": self.in_flight_most,
        }
