"""`ConcurrencyLimit`: the number of requests that an endpoint allows at once, learned from what it refuses.

Endpoints that allow a number of requests at once are told by their refusals: all come while more are in flight, and
none while fewer are. Such a number is kept in place of a rate, and one more is tried now and then.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

# what it takes to see that an endpoint limits the requests in flight: so many accepted and refused ones, with few
# exceptions; one more request at once is tried after a time that doubles each time in vain
LEAST_ACCEPTED, LEAST_REFUSED, EXCEPTIONS, COUNTED = 10, 5, 0.05, 200
LEAST_OTHERWISE, MOST_OTHERWISE = 3, 0.1
SECONDS_UNTIL_ONE_MORE, LONGEST_UNTIL_ONE_MORE = 5.0, 60.0


@dataclass
class ConcurrencyLimit:
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
