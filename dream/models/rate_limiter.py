"""`Limiter`: the rate of requests to an endpoint, from the settings, or learned from the requests that it refuses.

The rate is learned like TCP's congestion window (Jacobson 1988; Chiu and Jain 1989): it is cut when the endpoint
answers 429, doubles every second while it is below half of the fastest proven rate, and grows by 2 % per second above.
Requests wait in one queue per trial, and the queues are served round-robin.
"""

import asyncio
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from dream.models.response_times import Window

MAX_CONCURRENCY = 256
CUT = 0.93
GROWTH_A_SECOND = 0.02
# each cut multiplies the fastest proven rate by this factor, so that old evidence fades
MEMORY = 0.9
# refusals within this time cause a single cut: all requests in flight when the limit is exceeded are refused
LEAST_SECONDS_BETWEEN_CUTS = 1.0
SLOWEST_A_SECOND = 0.2


class Limiter:
    """The concurrency and rate of requests to one endpoint, for the whole cluster.

    For each request: await `acquire`, send it, call `succeeded` for status 200 or `refused` for 429, then `release`.

    Args:
        max_concurrency: requests in flight; None for `MAX_CONCURRENCY`.
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
        self._rate_in_settings = requests_per_minute / 60 if requests_per_minute else None
        self._tokens_a_second = tokens_per_minute / 60 if tokens_per_minute else None
        self._clock = clock
        self._rate = self._rate_in_settings
        self._proven = float("inf")
        self._in_flight = 0
        self._windows: dict[str, Window] = {}
        self._queues: OrderedDict[tuple[str, str], deque[tuple[asyncio.Future[None], float]]] = OrderedDict()
        self._next_request = self._next_tokens = self._paused_until = 0.0
        self._period_started = self._last_success = self._last_cut = clock()
        self._successes = self._refusals = self._refusals_in_a_row = 0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def requests_per_minute(self) -> float | None:
        """The current rate; None before any limit is known."""
        return self._rate * 60 if self._rate else None

    @property
    def in_flight(self) -> int:
        """Requests that are acquired and not released."""
        return self._in_flight

    @property
    def last_success(self) -> float:
        """The time of the endpoint's last answer on the clock; at first the time of construction."""
        return self._last_success

    def window(self, model: str) -> Window:
        """The number of requests to a model at the same time."""
        if model not in self._windows:
            self._windows[model] = Window(self._max_concurrency)
        return self._windows[model]

    async def acquire(self, trial: str = "", tokens: float = 0, model: str = "") -> None:
        """Wait until a request may be sent.

        Args:
            trial: with the model, the queue of the request.
            tokens: an estimate of its tokens.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault((trial, model), deque()).append((turn, tokens))
        self._give_permissions()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(model)
            raise

    def release(self, model: str = "") -> None:
        """End a request that was acquired, whatever its outcome."""
        self._in_flight -= 1
        self.window(model).in_flight -= 1
        self._give_permissions()

    def succeeded(self, headers: Mapping[str, str] | None = None) -> None:
        """Record an answer: raise the rate, and obey the rate limit headers of the endpoint."""
        now = self._clock()
        since, self._last_success = now - self._last_success, now
        self._successes += 1
        self._refusals_in_a_row = 0
        if self._rate is not None:
            growth = 1.0 if self._rate < self._proven / 2 else GROWTH_A_SECOND
            seconds = min(since, max(1.0, 1 / self._rate))  # idle time is no evidence for a higher rate
            self._rate = min(self._rate_in_settings or float("inf"), self._rate * (1 + growth * seconds))
        if headers:
            self._obey_headers(headers, now)

    def refused(self, retry_after: float | None) -> None:
        """Record a 429. A single one cuts the rate; several in a row also pause for `retry_after` seconds."""
        now = self._clock()
        self._refusals += 1
        self._refusals_in_a_row += 1
        if retry_after is not None and self._refusals_in_a_row > 1:
            self._paused_until = max(self._paused_until, now + retry_after)
        if now - self._last_cut >= LEAST_SECONDS_BETWEEN_CUTS:
            self._cut(now)

    def _cut(self, now: float) -> None:
        """Cut the rate: by 7 % if at most 20 % of requests were refused, else to the recent rate of answers."""
        period = max(now - self._period_started, LEAST_SECONDS_BETWEEN_CUTS)
        answered = self._successes / period
        if self._rate is not None and self._successes:
            self._proven = max(answered, MEMORY * (self._rate if self._proven == float("inf") else self._proven))
        if self._rate is None or self._refusals > 0.2 * (self._successes + self._refusals):
            self._rate = max(SLOWEST_A_SECOND, answered, (self._rate or 0) / 2)
        else:
            self._rate = max(SLOWEST_A_SECOND, self._rate * CUT)
        self._last_cut = self._period_started = now
        self._successes = self._refusals = 0

    def _obey_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Pause if the `x-ratelimit-*` headers say that no requests or tokens remain."""
        for unit in ("requests", "tokens"):
            left = headers.get(f"x-ratelimit-remaining-{unit}", "")
            wait = seconds_of(headers.get(f"x-ratelimit-reset-{unit}", ""))
            if left.isdigit() and int(left) == 0 and wait is not None:
                self._paused_until = max(self._paused_until, now + min(wait, 60.0))

    def _give_permissions(self) -> None:
        """Let requests pass while concurrency and rate allow it, from the queues of the trials in turn."""
        while self._in_flight < self._max_concurrency and (key := self._next_queue()) is not None:
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
            turn.set_result(None)

    def _next_queue(self) -> tuple[str, str] | None:
        """The first queue of a model that may get another request."""
        return next((key for key in self._queues if self.window(key[1]).has_room), None)

    def _count(self, tokens: float) -> None:
        now = self._clock()
        if self._rate is not None:
            self._next_request = max(self._next_request, now - 0.25) + 1 / self._rate
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
