"""`Limiter`: permits for requests to an endpoint, at a rate from the settings or learned from refusals.

`learned_rate` learns a rate, `concurrency_limit` a number of concurrent requests. Requests wait in one queue per trial
and model, and the queues are served round-robin.
"""

import asyncio
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dream.models.concurrency_limit import ConcurrencyLimit
from dream.models.learned_rate import LearnedRate
from dream.models.response_times import Window

MAX_CONCURRENCY = 256


@dataclass(frozen=True)
class Permit:
    """The time at which a request was sent, and the number of requests then in flight, including itself."""

    at: float
    in_flight: int


class Limiter:
    """The concurrency and rate of requests to one endpoint, for the whole cluster.

    For each request: await `acquire`, send it, call `succeeded` for status 200 or `refused` for 429, then `release`.

    Args:
        max_concurrency: the maximum number of requests in flight; None for `MAX_CONCURRENCY`.
        requests_per_minute: the upper limit of the rate; None if unknown.
        tokens_per_minute: None if unknown.
        clock: the time in seconds; another clock is for tests.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_concurrency = max_concurrency or MAX_CONCURRENCY
        self._tokens_a_second = tokens_per_minute / 60 if tokens_per_minute else None
        self._clock = clock
        self._rate = LearnedRate(requests_per_minute / 60 if requests_per_minute else None, clock())
        self._at_once = ConcurrencyLimit()
        self._in_flight = 0
        self._windows: dict[str, Window] = {}
        self._queues: OrderedDict[tuple[str, str], deque[tuple[asyncio.Future[Permit], float]]] = OrderedDict()
        self._next_request = self._next_tokens = self._paused_until = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def requests_per_minute(self) -> float | None:
        """The current rate; None before any limit is known."""
        return self._rate.a_second * 60 if self._rate.a_second else None

    @property
    def in_flight(self) -> int:
        """The number of requests that are acquired and not released."""
        return self._in_flight

    @property
    def last_success(self) -> float:
        """The time of the endpoint's last answer on the clock; at first the time of construction."""
        return self._rate.last_success

    def window(self, model: str) -> Window:
        """The number of requests to a model at the same time."""
        if model not in self._windows:
            self._windows[model] = Window(self._max_concurrency)
        return self._windows[model]

    def load(self) -> dict[str, tuple[int, int]]:
        """The numbers of requests in flight and waiting, by model."""
        waiting: Counter[str] = Counter()
        for (_, model), queue in self._queues.items():
            waiting[model] += sum(not turn.done() for turn, _ in queue)
        return {model: (window.in_flight, waiting[model]) for model, window in self._windows.items()}

    async def acquire(self, trial: str = "", tokens: float = 0, model: str = "") -> Permit:
        """Wait until a request may be sent.

        Args:
            trial: together with the model, determines the queue of the request.
            tokens: an estimate of its tokens.
        """
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._queues.setdefault((trial, model), deque()).append((turn, tokens))
        self._give_permissions()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(model)
            raise

    def release(self, model: str = "") -> None:
        """End a request that was acquired, whatever its outcome."""
        self._in_flight -= 1
        self.window(model).in_flight -= 1
        self._give_permissions()

    def succeeded(self, headers: Mapping[str, str] | None = None, sent: Permit | None = None) -> None:
        """Record an answer: raise the rate, and obey the rate limit headers of the endpoint."""
        now = self._clock()
        if sent is not None:
            self._at_once.accepted(sent.in_flight, now)
        self._rate.succeeded(now)
        if headers:
            self._obey_headers(headers, now)

    def refused(self, retry_after: float | None, sent: Permit | None = None) -> None:
        """Record a 429. More of them than usual cut the rate; several in a row also pause for `retry_after` seconds.

        Args:
            sent: the permit that `acquire` returned for the request.
        """
        now, rate = self._clock(), self._rate
        sent = sent or Permit(now, self._in_flight)
        rate.count_refusal()
        if self._at_once.refused(sent.in_flight, now):
            rate.forget(now)
            return
        if rate.a_second is not None and rate.refusals_in_a_row == 1:  # another request takes its turn, a little later
            self._next_request = max(now + 0.1 / rate.a_second, self._next_request - 0.9 / rate.a_second)
        if retry_after is not None and rate.are_unusually_many_in_a_row:
            self._paused_until = max(self._paused_until, now + retry_after)
        rate.refused(sent.at, now)

    def _obey_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Pause if the `x-ratelimit-*` headers say that no requests or tokens remain."""
        for unit in ("requests", "tokens"):
            left = headers.get(f"x-ratelimit-remaining-{unit}", "")
            wait = seconds_of(headers.get(f"x-ratelimit-reset-{unit}", ""))
            if left.isdigit() and int(left) == 0 and wait is not None:
                self._paused_until = max(self._paused_until, now + min(wait, 60.0))

    def _give_permissions(self) -> None:
        """Give permits while concurrency and rate allow it, to the queues of the trials in turn."""
        while (
            self._in_flight < min(self._max_concurrency, self._at_once.most) and (key := self._next_queue()) is not None
        ):
            wait = max(self._paused_until, self._next_request, self._next_tokens) - self._clock()
            if wait > 0:
                self._wake_in(wait)
                return
            queue = self._queues[key]
            turn, tokens = queue.popleft()
            self._queues.move_to_end(key)
            if not queue:
                del self._queues[key]
            if turn.done():
                continue
            self._in_flight += 1
            self.window(key[1]).in_flight += 1
            self._count(tokens)
            turn.set_result(Permit(self._clock(), self._in_flight))

    def _next_queue(self) -> tuple[str, str] | None:
        """The first queue of a model that may get another request."""
        return next((key for key in self._queues if self.window(key[1]).has_room), None)

    def _count(self, tokens: float) -> None:
        now = self._clock()
        self._rate.sent(now)
        if self._rate.a_second is not None:
            self._next_request = max(self._next_request, now - 0.25) + 1 / self._rate.a_second
        if self._tokens_a_second is not None:
            self._next_tokens = max(self._next_tokens, now - 1.0) + tokens / self._tokens_a_second

    def _wake_in(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._give_permissions)


def seconds_of(text: str) -> float | None:
    """The seconds of a duration as OpenAI's headers write it; None for any other text.

    Example:
        >>> seconds_of("1m30s"), seconds_of("250ms"), seconds_of("2"), seconds_of("soon")
        (90.0, 0.25, 2.0, None)
    """

    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)
