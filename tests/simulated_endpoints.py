"""Endpoints that refuse, on a clock of their own: seconds of requests take milliseconds and are the same each time."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from dream.models.openai_wire import ModelResponse
from dream.models.rate_limiter import Limiter
from dream.models.retry_policy import Outcome, RequestState, Retry, decide

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Does not wait: the clock of its loop is moved to the next event instead."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        super().__init__()
        self._of = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: everybody waits for somebody else")
        self._of.now += max(timeout, 0.0)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything runs, and jumps to the next alarm."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


def simulated(make: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop with a clock of its own."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(make)
    finally:
        loop.close()


class Rule(Protocol):
    """Why an endpoint refuses; `refuses` counts an accepted request against the limit."""

    def refuses(self, now: float, in_flight: int) -> bool: ...

    def retry_after(self, now: float) -> float | None: ...


@dataclass
class Random:
    """Refuses a share of all requests, whatever their rate."""

    share: float
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def refuses(self, now: float, in_flight: int) -> bool:
        return self.chance.random() < self.share

    def retry_after(self, now: float) -> float | None:
        return None


@dataclass
class Bucket:
    """So many requests a minute, `burst` at once. `changes` are later limits by their time."""

    a_minute: float
    burst: float = 1
    says_when: bool = False
    changes: Mapping[float, float] = field(default_factory=dict)
    share_refused_anyway: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(2))
    _filled: float = -1.0
    _at: float = 0.0

    def refuses(self, now: float, in_flight: int) -> bool:
        if self.share_refused_anyway and self.chance.random() < self.share_refused_anyway:
            return True
        self._filled = (
            self.burst if self._filled < 0 else min(self.burst, self._filled + (now - self._at) * self.rate(now))
        )
        self._at = now
        if self._filled < 1 - 1e-9:
            return True
        self._filled -= 1
        return False

    def rate(self, now: float) -> float:
        times = [time for time in self.changes if time <= now]
        return (self.changes[max(times)] if times else self.a_minute) / 60

    def retry_after(self, now: float) -> float | None:
        return (1 - self._filled) / self.rate(now) if self.says_when else None


@dataclass
class SlidingWindow:
    """At most `most` requests in any `seconds`."""

    most: int
    seconds: float = 60.0
    says_when: bool = False
    _times: deque[float] = field(default_factory=deque)

    def refuses(self, now: float, in_flight: int) -> bool:
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) >= self.most:
            return True
        self._times.append(now)
        return False

    def retry_after(self, now: float) -> float | None:
        return self._times[0] + self.seconds - now if self.says_when else None


@dataclass
class AtOnce:
    """At most so many requests in flight."""

    most: int

    def refuses(self, now: float, in_flight: int) -> bool:
        return in_flight > self.most

    def retry_after(self, now: float) -> float | None:
        return None


@dataclass
class Ran:
    """What came of some requests: `seconds` until the last answer, and counts."""

    seconds: float
    answered: int = 0
    refused: int = 0
    failed: int = 0
    in_flight_most: int = 0
    given_up: int = 0


@dataclass
class SimulatedEndpoint:
    """Answers after about `latency` seconds, refuses within 5 ms by its rule, and fails for a share of the others."""

    rule: Rule | None = None
    latency: float = 0.5
    error_share: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(3))
    in_flight: int = 0

    async def status(self, now: float) -> tuple[int, float | None]:
        """The status of one request, and its Retry-After."""
        self.in_flight += 1
        try:
            if self.rule and self.rule.refuses(now, self.in_flight):
                wait = self.rule.retry_after(now)
                await asyncio.sleep(0.005)
                return 429, wait
            if self.chance.random() < self.error_share:
                await asyncio.sleep(0.005)
                return 500, None
            await asyncio.sleep(self.latency * self.chance.uniform(0.7, 1.3))
            return 200, None
        finally:
            self.in_flight -= 1


def ask(endpoint: SimulatedEndpoint, requests: int, clients: int = 64, **limits: Any) -> Ran:
    """Let clients ask an endpoint, as `EndpointClient` does it, until so many requests have ended."""
    return simulated(_ask(endpoint, requests, clients, limits))


async def _ask(endpoint: SimulatedEndpoint, requests: int, clients: int, limits: Mapping[str, Any]) -> Ran:
    clock = asyncio.get_running_loop().time
    limiter, ran, chance = Limiter(**limits, clock=clock), Ran(0.0), random.Random(4)
    left = iter(range(requests))

    async def client(number: int) -> None:
        for _ in left:
            await _one(limiter, endpoint, f"trial {number % 12}", ran, chance)

    await asyncio.gather(*(client(number) for number in range(clients)))
    ran.seconds = clock()
    return ran


async def _one(limiter: Limiter, endpoint: SimulatedEndpoint, trial: str, ran: Ran, chance: random.Random) -> None:
    state = RequestState()
    while True:
        sent = await limiter.acquire(trial, 0, "model")
        ran.in_flight_most = max(ran.in_flight_most, limiter.in_flight)
        started = asyncio.get_running_loop().time()
        try:
            status, wait = await endpoint.status(started)
            if status == 200:
                limiter.window("model").answered(asyncio.get_running_loop().time() - started)
                limiter.succeeded(sent=sent)
            elif status == 429:
                limiter.refused(wait, sent)
        finally:
            limiter.release("model")
        ran.answered += status == 200
        ran.refused += status == 429
        ran.failed += status == 500
        headers = {} if wait is None else {"retry-after": str(wait)}
        decision = decide(Outcome(ModelResponse(status, b""), headers, {} if status == 200 else None), state)
        if not isinstance(decision, Retry):
            ran.given_up += status != 200
            return
        state = decision.state
        await asyncio.sleep(chance.uniform(decision.least_seconds, decision.most_seconds))
