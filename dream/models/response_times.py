"""The response times of a model, from which the timeout and the number of concurrent requests are derived.

Local servers compute a few answers at a time, queue further requests, and often continue to compute after a client has
given up. So, unless configured, the timeout grows with the slowest answer, a slow server receives fewer concurrent
requests, and a request that may still be computed is not sent again.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

# The timeout before a model is known, and the minimum afterwards: loading a model or a long prompt on a busy machine
# take minutes.
FIRST_LIMIT_SECONDS = 600.0
LEAST_LIMIT_SECONDS = 120.0
# A model is known after this number of answers; the timeout is then this multiple of the slowest recent answer.
KNOWN_ANSWERS = 20
LIMIT_OF_SLOWEST = 5.0
REMEMBERED_ANSWERS = 200
# A server is quick if all answers took at most this share of the timed-out wait; the request was then lost.
QUICK_SHARE = 0.25

FIRST_WINDOW = 32
GROWTH_AN_ANSWER = 2
# Answers are assumed to wait in a server's queue if they take this many times as long as the quickest, and at least a
# minute.
QUEUE_FACTOR = 8.0
QUEUE_SECONDS = 60.0
LEAST_WINDOW_BY_LATENCY = 8
ANSWERS_OF_A_MEDIAN = 8
# the quickest answer counts a little less with each later one
FORGETTING = 1.0002


class Pace(Enum):
    """The pace of a model's answers, which explains a timeout: the model has never answered; it answers slowly, so the
    request may still be computed; or it answers quickly, so the request was lost."""

    SILENT = "silent"
    SLOW = "slow"
    QUICK = "quick"


@dataclass
class ResponseTimes:
    """The response times of one kind of requests, such as the answers of one model.

    Args:
        configured: the timeout from the settings in seconds; None to derive it.
    """

    configured: float | None = None
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_ANSWERS))

    @property
    def slowest(self) -> float:
        """The slowest of the recent answers in seconds; 0 before the first."""
        return max(self._seconds, default=0.0)

    def answered(self, seconds: float) -> None:
        """Record the response time of an answer."""
        self._seconds.append(seconds)

    def limit(self, timeouts: int = 0) -> float:
        """The timeout in seconds; it doubles for a request that timed out before.

        Example:
            >>> ResponseTimes(configured=300).limit(), ResponseTimes().limit(), ResponseTimes().limit(timeouts=1)
            (300, 600.0, 1200.0)
        """
        if self.configured is not None:
            return self.configured
        least = LEAST_LIMIT_SECONDS if len(self._seconds) >= KNOWN_ANSWERS else FIRST_LIMIT_SECONDS
        return max(least, LIMIT_OF_SLOWEST * self.slowest) * 2**timeouts

    def pace(self, waited: float) -> Pace:
        """The pace of the model, after a request timed out after `waited` seconds."""
        if not self._seconds:
            return Pace.SILENT
        return Pace.QUICK if self.slowest <= QUICK_SHARE * waited else Pace.SLOW


@dataclass
class Window:
    """The number of requests to one model at the same time.

    It grows with each answer up to `most`, shrinks while answers wait in the server's queue, and is halved when a
    request to a slow server times out.
    """

    most: int
    size: float = 0.0
    in_flight: int = 0
    _grows_slowly: bool = False
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=ANSWERS_OF_A_MEDIAN))
    _quickest: float = float("inf")
    _answers_since_change: int = 0

    def __post_init__(self) -> None:
        self.size = self.size or min(self.most, FIRST_WINDOW)

    @property
    def has_room(self) -> bool:
        """True if another request may be sent."""
        return self.in_flight < int(self.size)

    def answered(self, seconds: float) -> None:
        """Record the response time of an answer."""
        self._last.append(seconds)
        self._quickest = min(seconds, self._quickest * FORGETTING)
        self._answers_since_change += 1
        recent, tolerated = median(self._last), max(QUEUE_SECONDS, QUEUE_FACTOR * self._quickest)
        if recent <= tolerated / 2:
            self.size = min(self.most, self.size + (1 / self.size if self._grows_slowly else GROWTH_AN_ANSWER))
        elif recent > tolerated and self._answers_since_change >= ANSWERS_OF_A_MEDIAN:
            least = min(self.size, LEAST_WINDOW_BY_LATENCY)
            self._shrink(max(least, self.size * max(tolerated / recent, 0.5)))

    def timed_out(self) -> None:
        """Record a timeout of a request to a slow server."""
        self._shrink(max(1, min(self.size, self.in_flight + 1) // 2))

    def _shrink(self, size: float) -> None:
        self.size, self._grows_slowly, self._answers_since_change = size, True, 0
