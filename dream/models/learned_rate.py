"""`LearnedRate`: the rate of requests per second, learned from an endpoint's refusals.

The rate is learned like TCP's congestion window (Jacobson 1988; Chiu and Jain 1989): it is cut when the endpoint
answers 429, doubles every second while it is below half of the fastest proven rate, and grows by 2 % per second above,
faster the longer no request is refused.

Some endpoints refuse a share of all requests at any rate, for instance while they are busy. Cuts do not help there, and
a rate that is cut at each refusal would fall to almost nothing. So when refusals begin, and when cuts do not help, a
test sends some requests at 70 % of the accepted rate. An endpoint with a rate limit refuses none of these. If the same
share is refused as before, that share is usual, and only more refusals than usual cause cuts.
"""

import math
from dataclasses import dataclass

CUT = 0.93
GROWTH_A_SECOND = 0.02
SECONDS_TO_TWICE_THE_GROWTH = 5.0
LEAST_REFUSALS_OF_A_DEEP_CUT = 4
# each cut multiplies the fastest proven rate by this factor, so that old evidence fades
MEMORY = 0.9
# refusals within this time cause a single cut, as all requests in flight above the limit are refused
LEAST_SECONDS_BETWEEN_CUTS = 1.0
SLOWEST_A_SECOND = 0.2

# A cut did not help if requests are refused while the rate is below this part of the rate before it.
EARLY = 0.97
CUTS_IN_VAIN = 3
# A test sends this number of requests, or fewer after this time, at this part of the accepted rate.
TEST_REQUESTS, LEAST_TEST_REQUESTS, LONGEST_TEST_SECONDS = 30, 10, 10.0
TEST_RATE = 0.7
CLOSED_IN_A_ROW = 20
# smaller shares need twice as many requests to be detected
FEW_REFUSALS = 0.1
# the time in which refusals of a test's requests arrive
SETTLE_SECONDS = 0.3
# Shares of refusals that can be usual; an endpoint that refuses more of them has a limit.
LEAST_USUAL, MOST_USUAL = 0.03, 0.6
# a usual share is tested again after this time
USUAL_SECONDS = 60.0
# the number of standard deviations above which refusals are more than usual; one in a thousand samples exceeds it by
# chance
DEVIATIONS = 3.0
# a sample without a limit restarts after this number of requests, so that changes are detected
MOST_SAMPLED = 100


@dataclass
class _Sample:
    """The number of requests since `started`, and of refused ones among them."""

    started: float
    sent: int = 0
    refused: int = 0

    @property
    def share(self) -> float:
        """The share that was refused."""
        return self.refused / max(self.sent, 1)

    @property
    def is_closed(self) -> bool:
        """True if nothing was accepted, which says nothing about the later rate limit."""
        return self.sent > 2 and self.sent - self.refused <= 1

    def accepted(self, now: float) -> float:
        """The accepted requests per second."""
        return (self.sent - self.refused) / max(now - self.started, LEAST_SECONDS_BETWEEN_CUTS)

    def is_usual(self, share: float) -> bool:
        """True if an endpoint that refuses this share of all requests may refuse as many as it did."""
        expected = share * self.sent
        return self.refused < 1 + expected + DEVIATIONS * math.sqrt(expected * (1 - share))

    def is_enough(self, now: float) -> bool:
        """True if the sample is large enough."""
        seconds = now - self.started
        if seconds >= LONGEST_TEST_SECONDS:
            return self.sent >= LEAST_TEST_REQUESTS or seconds >= 2 * LONGEST_TEST_SECONDS
        wanted = TEST_REQUESTS if self.share > FEW_REFUSALS else 2 * TEST_REQUESTS
        return self.sent >= wanted and seconds >= LEAST_SECONDS_BETWEEN_CUTS


@dataclass
class _Test:
    """A test whether refusals depend on the rate. First a sample at the full rate, where `share` is None; then one at a
    lower rate, which is `accepted` if the endpoint has a limit, and goes back to `full_rate` if it has none."""

    sample: _Sample
    full_rate: float | None
    share: float | None = None
    accepted: float = 0.0


class LearnedRate:
    """The rate of requests to one endpoint. All times are in seconds on one clock.

    Args:
        highest: the maximum and initial rate in requests per second; None if unknown.
    """

    def __init__(self, highest: float | None, now: float) -> None:
        self._highest = self._rate = highest
        self._proven = math.inf
        self._usual_share, self._usual_since = 0.0, 0.0
        self._test: _Test | None = None
        self._sample = _Sample(now)
        self._chain: tuple[float, _Sample] | None = None  # the rate before cuts in vain, and the requests since
        self._cuts_in_vain = 0
        self._rate_before = 0.0
        self._last_success = self._last_cut = now
        self._successes = self._refusals_in_a_row = 0

    @property
    def a_second(self) -> float | None:
        """The current rate; None before any limit is known."""
        return self._rate

    @property
    def last_success(self) -> float:
        """The time of the endpoint's last answer; at first the time of construction."""
        return self._last_success

    @property
    def refusals_in_a_row(self) -> int:
        """The number of refusals since the last answer."""
        return self._refusals_in_a_row

    @property
    def are_unusually_many_in_a_row(self) -> bool:
        """True if this many consecutive refusals are unlikely for the usual share of refusals."""
        share = self._usual_share
        return self._refusals_in_a_row >= (2 if not share else 1 + math.ceil(math.log(0.001) / math.log(share)))

    def sent(self, now: float) -> None:
        """Count a request that was sent at `now`."""
        for sample in self._samples():
            sample.sent += 1
        if self._usual_share and self._rate is None and self._sample.sent >= MOST_SAMPLED:
            self._sample = _Sample(now)
        self._advance_test(now)

    def succeeded(self, now: float) -> None:
        """Record an answer: raise the rate."""
        since, self._last_success = now - self._last_success, now
        self._successes += 1
        self._refusals_in_a_row = 0
        self._advance_test(now)
        if self._rate is not None and self._test is None:
            growth = 1.0 if self._rate < self._proven / 2 else self._growth(now)
            seconds = min(since, max(1.0, 1 / self._rate))  # idle time is no evidence for a higher rate
            self._rate = min(self._highest or float("inf"), self._rate * (1 + growth * seconds))

    def count_refusal(self) -> None:
        """Count a refusal as one in a row; `refused` or `forget` follows."""
        self._refusals_in_a_row += 1

    def refused(self, sent_at: float, now: float) -> None:
        """Record the refusal of a request; more refusals than usual cut the rate."""
        if self._refusals_in_a_row >= CLOSED_IN_A_ROW and (self._rate or math.inf) < 2 * SLOWEST_A_SECOND:
            self._proven = math.inf  # nothing is accepted, which says nothing about the rate that is allowed later
        for sample in self._samples():
            sample.refused += sent_at >= sample.started
        if self._test is not None:
            self._advance_test(now)
        elif self._rate is None:
            if not self._sample.is_usual(self._usual_share):
                self._test = _Test(_Sample(now), None)
        elif now - self._last_cut >= LEAST_SECONDS_BETWEEN_CUTS and not self._sample.is_usual(self._usual_share):
            self._cut_or_test(now)
        elif self._usual_share and now - self._usual_since > USUAL_SECONDS and self._sample.is_enough(now):
            self._start_test(self._rate, self._sample, now)

    def forget(self, now: float) -> None:
        """Forget the learned rate, because the endpoint limits concurrency instead."""
        if self._rate is not None or self._test is not None:
            self._chain, self._cuts_in_vain = None, 0
            self._go_on(self._highest, now)

    def _growth(self, now: float) -> float:
        """Faster, the longer no cut was needed: the limit may be another by now."""
        return GROWTH_A_SECOND * (1 + (now - self._last_cut) / SECONDS_TO_TWICE_THE_GROWTH)

    def _samples(self) -> list[_Sample]:
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
        """Start to send at a lower rate; `sample` is that at the full rate."""
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
