"""`ConcurrencyLimit`: the number of concurrent requests that an endpoint allows, learned from its refusals.

Endpoints with a concurrency limit are recognised by their refusals: they refuse all requests above the limit, and none
below it. The limit is then used instead of a rate, and one more request is tried from time to time.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

# the evidence for a concurrency limit: this many accepted and refused requests, with few exceptions; one more
# concurrent request is tried after a time that doubles with each failure
LEAST_ACCEPTED, LEAST_REFUSED, EXCEPTIONS, COUNTED = 10, 5, 0.05, 200
LEAST_OTHERWISE, MOST_OTHERWISE = 3, 0.1
SECONDS_UNTIL_ONE_MORE, LONGEST_UNTIL_ONE_MORE = 5.0, 60.0


@dataclass
class ConcurrencyLimit:
    """The number of concurrent requests that an endpoint allows, if its refusals depend only on the requests in flight.

    Counts accepted and refused requests by the number in flight; old counts fade.
    """

    most: float = math.inf
    _accepted: Counter[int] = field(default_factory=Counter)
    _refused: Counter[int] = field(default_factory=Counter)
    _next_try: float = 0.0
    _pause: float = SECONDS_UNTIL_ONE_MORE
    # the explanation of the refusals, and since then: accepted requests, and refused ones that contradict it
    _known: float = math.inf
    _as_told: int = 0
    _otherwise: int = 0
    _not_before: float = 0.0

    def accepted(self, in_flight: int, now: float) -> None:
        """Count an accepted request, and occasionally raise the limit by one."""
        self._count(self._accepted, in_flight)
        self._as_told += 1
        if self.most < math.inf and now >= self._next_try:
            self.most, self._next_try = self.most + 1, now + self._pause

    def refused(self, in_flight: int, now: float) -> bool:
        """Count a refused request; True if a concurrency limit explains all refusals."""
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
        """Forget a limit that did not prevent refusals."""
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
        """The largest number in flight up to which almost nothing was refused, if almost nothing was accepted above
        it."""
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
