"""`Limiter`: the rate of requests to an endpoint, from the settings, or learned from the requests that it refuses.

The rate is learned like TCP's congestion window (Jacobson 1988; Chiu and Jain 1989): it is cut when the endpoint
answers 429, doubles every second while it is below half of the fastest proven rate, and grows by 2 % per second above,
faster the longer no request was refused.

Endpoints that allow a number of requests at once are told by their refusals: all come while more are in flight, and
none while fewer are. Such a number is kept in place of a rate, and one more is tried now and then.

Some endpoints refuse a share of all requests whatever their rate, for instance while they are busy with others. There,
no cut helps, and a rate that is cut at each refusal falls to almost nothing. So when requests begin to be refused, and
when cuts do not help, some are sent at 70 % of the rate at which they were accepted. A true limit refuses none of
these. If as large a share is refused as before, that share is usual: only more refusals than usual cause cuts then.

Requests wait in one queue per trial and model, and the queues are served round-robin.
"""

import asyncio
import math
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dream.models.response_times import Window

MAX_CONCURRENCY = 256
CUT = 0.93
GROWTH_A_SECOND = 0.02
SECONDS_TO_TWICE_THE_GROWTH = 5.0
LEAST_REFUSALS_OF_A_DEEP_CUT = 4
# each cut multiplies the fastest proven rate by this factor, so that old evidence fades
MEMORY = 0.9
# refusals within this time cause a single cut: all requests in flight when the limit is exceeded are refused
LEAST_SECONDS_BETWEEN_CUTS = 1.0
SLOWEST_A_SECOND = 0.2

# A cut did not help if requests are refused while the rate is below this part of the rate before it.
EARLY = 0.97
CUTS_IN_VAIN = 3
# A test sends so many requests, or fewer after so long, at this part of the accepted rate.
TEST_REQUESTS, LEAST_TEST_REQUESTS, LONGEST_TEST_SECONDS = 30, 10, 10.0
TEST_RATE = 0.7
CLOSED_IN_A_ROW = 20
# smaller shares take twice as many requests to be seen
FEW_REFUSALS = 0.1
# the time in which refusals of the requests of a test come back
SETTLE_SECONDS = 0.3
# Shares of refusals that can be usual; an endpoint that refuses more of them has a limit.
LEAST_USUAL, MOST_USUAL = 0.03, 0.6
# a usual share is tested again after this time
USUAL_SECONDS = 60.0
# what it takes to see that an endpoint limits the requests in flight: so many accepted and refused ones, with few
# exceptions; one more request at once is tried after a time that doubles each time in vain
LEAST_ACCEPTED, LEAST_REFUSED, EXCEPTIONS, COUNTED = 10, 5, 0.05, 200
LEAST_OTHERWISE, MOST_OTHERWISE = 3, 0.1
SECONDS_UNTIL_ONE_MORE, LONGEST_UNTIL_ONE_MORE = 5.0, 60.0
# more refusals than usual are so many standard deviations more, of which one in a thousand samples has as many
DEVIATIONS = 3.0
# a sample without a limit begins anew after so many requests, so that a change shows
MOST_SAMPLED = 100


@dataclass
class _Sample:
    """Requests since `started`, and how many of them were refused."""

    started: float
    sent: int = 0
    refused: int = 0

    @property
    def share(self) -> float:
        """The share that was refused."""
        return self.refused / max(self.sent, 1)

    @property
    def is_closed(self) -> bool:
        """True if nothing was accepted, which says nothing about the rate that is allowed later."""
        return self.sent > 2 and self.sent - self.refused <= 1

    def accepted(self, now: float) -> float:
        """The accepted requests per second."""
        return (self.sent - self.refused) / max(now - self.started, LEAST_SECONDS_BETWEEN_CUTS)

    def is_usual(self, share: float) -> bool:
        """True if an endpoint that refuses this share of all requests may refuse as many as it did."""
        expected = share * self.sent
        return self.refused < 1 + expected + DEVIATIONS * math.sqrt(expected * (1 - share))

    def is_enough(self, now: float) -> bool:
        """True if the share says something."""
        seconds = now - self.started
        if seconds >= LONGEST_TEST_SECONDS:
            return self.sent >= LEAST_TEST_REQUESTS or seconds >= 2 * LONGEST_TEST_SECONDS
        wanted = TEST_REQUESTS if self.share > FEW_REFUSALS else 2 * TEST_REQUESTS
        return self.sent >= wanted and seconds >= LEAST_SECONDS_BETWEEN_CUTS


@dataclass(frozen=True)
class Permit:
    """When a request was sent, on the clock, and how many were in flight then, itself included."""

    at: float
    in_flight: int


@dataclass
class _AtOnce:
    """The number of requests that an endpoint allows at once, where refusals depend on what is in flight alone.

    Counts accepted and refused requests by what was in flight; the older half fades.
    """

    most: float = math.inf
    _accepted: Counter[int] = field(default_factory=Counter)
    _refused: Counter[int] = field(default_factory=Counter)
    _next_try: float = 0.0
    _pause: float = SECONDS_UNTIL_ONE_MORE
    # what explains the refusals, and since it does: accepted requests, and refused ones with no more in flight
    _known: float = math.inf
    _as_told: int = 0
    _otherwise: int = 0
    _not_before: float = 0.0

    def accepted(self, in_flight: int, now: float) -> None:
        """Count a request, and try one more now and then."""
        self._count(self._accepted, in_flight)
        self._as_told += 1
        if self.most < math.inf and now >= self._next_try:
            self.most, self._next_try = self.most + 1, now + self._pause

    def refused(self, in_flight: int, now: float) -> bool:
        """Count a request; True if a number of requests at once explains all refusals."""
        self._count(self._refused, in_flight)
        self._otherwise += in_flight <= self._known < math.inf
        if self._otherwise >= LEAST_OTHERWISE and self._otherwise > MOST_OTHERWISE * self._as_told:
            self._begin_anew(now)
        tried, self.most = self.most, self._explanation() if now >= self._not_before else math.inf
        if self.most != self._known:
            self._known, self._as_told, self._otherwise = self.most, 0, 0
        if self.most == math.inf:
            return False
        if tried > self.most:  # one more was too many
            self._pause = min(2 * self._pause, LONGEST_UNTIL_ONE_MORE) if tried < math.inf else self._pause
            self._next_try = now + self._pause
        return True

    def _begin_anew(self, now: float) -> None:
        """Forget a number that did not keep the endpoint from refusing."""
        self.most, self._not_before = math.inf, now + LONGEST_UNTIL_ONE_MORE
        self._accepted.clear()
        self._refused.clear()
        self._as_told = self._otherwise = 0

    def _count(self, counts: Counter[int], in_flight: int) -> None:
        counts[in_flight] += 1
        if counts.total() > COUNTED:
            for level in list(counts):
                counts[level] //= 2

    def _explanation(self) -> float:
        """The largest number up to which almost nothing was refused, if almost nothing was accepted above it."""
        accepted, refused = self._accepted.total(), self._refused.total()
        if accepted < LEAST_ACCEPTED or refused < LEAST_REFUSED:
            return math.inf
        accepted_above, refused_below = accepted, 0
        for level in sorted({*self._accepted, *self._refused}):
            refused_below += self._refused[level]
            accepted_above -= self._accepted[level]
            if refused_below > EXCEPTIONS * refused:
                return math.inf
            if accepted_above <= EXCEPTIONS * accepted:
                return level
        return math.inf


@dataclass
class _Test:
    """A test whether refusals depend on the rate. First a sample at the full rate, where `share` is None; then one at a
    lower rate, which is `accepted` if the endpoint has a limit, and goes back to `full_rate` if it has none."""

    sample: _Sample
    full_rate: float | None
    share: float | None = None
    accepted: float = 0.0


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
        self._proven = math.inf
        self._at_once = _AtOnce()
        self._usual_share, self._usual_since = 0.0, 0.0
        self._test: _Test | None = None
        self._sample = _Sample(clock())
        self._chain: tuple[float, _Sample] | None = None  # the rate before cuts in vain, and the requests since
        self._cuts_in_vain = 0
        self._rate_before = 0.0
        self._in_flight = 0
        self._windows: dict[str, Window] = {}
        self._queues: OrderedDict[tuple[str, str], deque[tuple[asyncio.Future[Permit], float]]] = OrderedDict()
        self._next_request = self._next_tokens = self._paused_until = 0.0
        self._last_success = self._last_cut = clock()
        self._successes = self._refusals_in_a_row = 0
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

    def load(self) -> dict[str, tuple[int, int]]:
        """The requests in flight and those that wait, by model."""
        waiting: Counter[str] = Counter()
        for (_, model), queue in self._queues.items():
            waiting[model] += sum(not turn.done() for turn, _ in queue)
        return {model: (window.in_flight, waiting[model]) for model, window in self._windows.items()}

    async def acquire(self, trial: str = "", tokens: float = 0, model: str = "") -> "Permit":
        """Wait until a request may be sent.

        Args:
            trial: with the model, the queue of the request.
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

    def succeeded(self, headers: Mapping[str, str] | None = None, sent: "Permit | None" = None) -> None:
        """Record an answer: raise the rate, and obey the rate limit headers of the endpoint."""
        now = self._clock()
        if sent is not None:
            self._at_once.accepted(sent.in_flight, now)
        since, self._last_success = now - self._last_success, now
        self._successes += 1
        self._refusals_in_a_row = 0
        self._advance_test(now)
        if self._rate is not None and self._test is None:
            growth = 1.0 if self._rate < self._proven / 2 else self._growth(now)
            seconds = min(since, max(1.0, 1 / self._rate))  # idle time is no evidence for a higher rate
            self._rate = min(self._rate_in_settings or float("inf"), self._rate * (1 + growth * seconds))
        if headers:
            self._obey_headers(headers, now)

    def _growth(self, now: float) -> float:
        """Faster, the longer no cut was needed: the limit may be another by now."""
        return GROWTH_A_SECOND * (1 + (now - self._last_cut) / SECONDS_TO_TWICE_THE_GROWTH)

    def refused(self, retry_after: float | None, sent: "Permit | None" = None) -> None:
        """Record a 429. More of them than usual cut the rate; several in a row also pause for `retry_after` seconds.

        Args:
            sent: what `acquire` gave for the request.
        """
        now = self._clock()
        sent = sent or Permit(now, self._in_flight)
        self._refusals_in_a_row += 1
        if self._at_once.refused(sent.in_flight, now):
            self._forget_rate(now)
            return
        if self._rate is not None and self._refusals_in_a_row == 1:  # its turn goes to another, a little later
            self._next_request = max(now + 0.1 / self._rate, self._next_request - 0.9 / self._rate)
        if retry_after is not None and self._refusals_in_a_row >= self._unusual_in_a_row():
            self._paused_until = max(self._paused_until, now + retry_after)
        if self._refusals_in_a_row >= CLOSED_IN_A_ROW and (self._rate or math.inf) < 2 * SLOWEST_A_SECOND:
            self._proven = math.inf  # nothing is accepted, which says nothing about the rate that is allowed later
        for sample in self._samples():
            sample.refused += sent.at >= sample.started
        if self._test is not None:
            self._advance_test(now)
        elif self._rate is None:
            if not self._sample.is_usual(self._usual_share):
                self._test = _Test(_Sample(now), None)
        elif now - self._last_cut >= LEAST_SECONDS_BETWEEN_CUTS and not self._sample.is_usual(self._usual_share):
            self._cut_or_test(now)
        elif self._usual_share and now - self._usual_since > USUAL_SECONDS and self._sample.is_enough(now):
            self._start_test(self._rate, self._sample, now)

    def _forget_rate(self, now: float) -> None:
        """The endpoint limits what is in flight, not the rate."""
        if self._rate is not None or self._test is not None:
            self._chain, self._cuts_in_vain = None, 0
            self._go_on(self._rate_in_settings, now)

    def _unusual_in_a_row(self) -> int:
        """So many refusals one after the other are not usual."""
        return 2 if not self._usual_share else 1 + math.ceil(math.log(0.001) / math.log(self._usual_share))

    def _samples(self) -> "list[_Sample]":
        """All samples that count requests now."""
        samples = [self._sample]
        if self._test is not None:
            samples.append(self._test.sample)
        if self._chain is not None:
            samples.append(self._chain[1])
        return samples

    def _cut_or_test(self, now: float) -> None:
        assert self._rate is not None
        is_early = self._rate < EARLY * self._rate_before
        if not is_early:
            self._chain, self._cuts_in_vain = None, 0
        if self._chain is None:
            self._chain = (self._rate, _Sample(now))
        self._cuts_in_vain += is_early
        full_rate, sample = self._chain
        if self._cuts_in_vain >= CUTS_IN_VAIN and sample.share <= MOST_USUAL and sample.sent >= LEAST_TEST_REQUESTS:
            self._start_test(full_rate, sample, now)
        else:
            self._cut(now)

    def _start_test(self, full_rate: float | None, sample: _Sample, now: float) -> None:
        """Send at a lower rate; `sample` is at the full one."""
        accepted = sample.accepted(now)
        self._test = _Test(_Sample(now), full_rate, sample.share, accepted)
        self._rate = max(SLOWEST_A_SECOND, TEST_RATE * accepted)
        self._chain, self._cuts_in_vain = None, 0

    def _advance_test(self, now: float) -> None:
        """End the sample of a test that is large enough."""
        test = self._test
        if test is None or not test.sample.is_enough(now - SETTLE_SECONDS):
            return
        if test.share is not None:
            self._end_test(test, now)
        elif test.sample.is_usual(self._usual_share):
            self._go_on(test.full_rate, now)
        elif test.sample.share > MOST_USUAL:
            self._go_on(test.sample.accepted(now), now)
            if test.sample.is_closed:
                self._proven = math.inf
        else:
            self._start_test(test.full_rate, test.sample, now)

    def _end_test(self, test: _Test, now: float) -> None:
        assert test.share is not None
        share = test.sample.share
        if test.sample.refused > 1 and LEAST_USUAL <= share <= min(MOST_USUAL, test.share * 1.5 + 0.1):
            self._usual_share, self._usual_since = share, now
            # a larger share at the full rate means that there is a limit as well
            self._go_on(test.full_rate if share >= test.share / 2 else test.accepted / (1 - share), now)
        else:
            self._usual_share = 0.0
            accepted = test.accepted if share < LEAST_USUAL else test.sample.accepted(now)
            self._go_on(accepted, now)

    def _go_on(self, rate: float | None, now: float) -> None:
        """Leave the test with this rate, which the endpoint has proven to allow."""
        self._proven = math.inf if rate is None else rate
        self._rate = None if rate is None else max(SLOWEST_A_SECOND, rate)
        self._test, self._rate_before = None, 0.0
        self._sample, self._last_cut, self._successes = _Sample(now), now, 0

    def _cut(self, now: float) -> None:
        """Cut the rate: by 7 % if at most 20 % more requests than usual were refused, else to the recent rate of
        answers."""
        assert self._rate is not None
        answered = self._successes / max(now - self._sample.started, LEAST_SECONDS_BETWEEN_CUTS)
        if self._successes and not self._sample.is_closed:
            self._proven = max(answered, MEMORY * (self._rate if self._proven == math.inf else self._proven))
        self._rate_before = self._rate
        if self._sample.share - self._usual_share > 0.2 and self._sample.refused >= LEAST_REFUSALS_OF_A_DEEP_CUT:
            self._rate = max(SLOWEST_A_SECOND, answered, self._rate / 2)
        else:
            self._rate = max(SLOWEST_A_SECOND, self._rate * CUT)
        self._sample, self._last_cut, self._successes = _Sample(now), now, 0

    def _obey_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Pause if the `x-ratelimit-*` headers say that no requests or tokens remain."""
        for unit in ("requests", "tokens"):
            left = headers.get(f"x-ratelimit-remaining-{unit}", "")
            wait = seconds_of(headers.get(f"x-ratelimit-reset-{unit}", ""))
            if left.isdigit() and int(left) == 0 and wait is not None:
                self._paused_until = max(self._paused_until, now + min(wait, 60.0))

    def _give_permissions(self) -> None:
        """Let requests pass while concurrency and rate allow it, from the queues of the trials in turn."""
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
        for sample in self._samples():
            sample.sent += 1
        if self._usual_share and self._rate is None and self._sample.sent >= MOST_SAMPLED:
            self._sample = _Sample(now)
        self._advance_test(now)
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
