"""`decide`: the retry policy for model requests, a pure function of the last outcome and the state of the request.

Outcomes that are retried:

    status 200 without the requested JSON                up to 4 attempts
    status 200 with another useless answer               as often as can help (`dream.models.no_answer`)
    status 429 (rate limit)                              while the endpoint answered any request in the last 300 s
    no connection                                        the same; a model check is not retried
    no or partial response                               up to 6 attempts; a model check is not retried
    status in `RETRIED_STATUS`                           up to 6 attempts
    any other status                                     never
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dream.models.openai_wire import ModelResponse

MAX_ATTEMPTS = 6
MAX_USELESS_ANSWERS = 4
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
# a request is given up if the endpoint asks for a longer wait, such as for an exhausted daily quota
LONGEST_RETRY_AFTER_SECONDS = 120.0
RETRIED_STATUS = frozenset({408, 409, 500, 502, 503, 504, 529})
TOO_MANY = 429


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt.

    `response.status` is 0 without an HTTP response; `answer` is the parsed body of a usable one, else None.
    `is_unreachable` means that no connection was made, as opposed to a late or partial response. For a response with
    status 200 that is no answer, `response` is the error in its place, `useless_body` what came, and `most_attempts`
    how often it is asked for at most (None: as often as the status of the error is retried).
    """

    response: ModelResponse
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    is_unreachable: bool = False
    most_attempts: int | None = None
    useless_body: bytes | None = None


@dataclass(frozen=True)
class RequestState:
    """The attempts of a request so far.

    `is_check` marks a model check. `is_patient` is true if the endpoint answered any request, or this request started,
    within the patience of the client. `faults` and `useless_answers` are attempts by their outcome.
    """

    is_check: bool = False
    is_patient: bool = True
    attempts: int = 0
    faults: int = 0
    useless_answers: int = 0


@dataclass(frozen=True)
class Done:
    """The answer is usable."""

    answer: dict[str, Any]


@dataclass(frozen=True)
class Retry:
    """Send again after a random pause between these bounds; `state` is the argument of the next decision."""

    least_seconds: float
    most_seconds: float
    state: RequestState


@dataclass(frozen=True)
class GiveUp:
    """No further attempt; the last response has the reason."""


def decide(
    outcome: Outcome, state: RequestState, first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
) -> Done | Retry | GiveUp:
    """The decision after an attempt. `state` is the state before it, with the current `is_patient`."""
    if outcome.answer is not None:
        return Done(outcome.answer)
    status, retry_after = outcome.response.status, retry_after_seconds(outcome.headers)
    state = replace(state, attempts=state.attempts + 1)
    if status == 200 or outcome.most_attempts is not None:
        state = replace(state, useless_answers=state.useless_answers + 1)
        again = state.useless_answers < (outcome.most_attempts or MAX_USELESS_ANSWERS)
    elif status == TOO_MANY:
        again = state.is_patient and _is_rate_limit(outcome.response, retry_after)
    elif outcome.is_unreachable:
        again = state.is_patient and not state.is_check
    else:
        state = replace(state, faults=state.faults + 1)
        may_pass = status in RETRIED_STATUS or (status == 0 and not state.is_check)
        again = may_pass and state.faults < MAX_ATTEMPTS
    if not again:
        return GiveUp()
    return Retry(*_pause(state, retry_after, first_backoff_seconds), state)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The pause in the header `retry-after-ms` (OpenAI, Azure) or `retry-after`; None without a number."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(headers[name]) / per_second
        except (KeyError, ValueError):
            continue
    return None


def _is_rate_limit(response: ModelResponse, retry_after: float | None) -> bool:
    """True for a limit that resets within minutes; False for an exhausted account or daily quota."""
    return b"insufficient_quota" not in response.body and (retry_after or 0) <= LONGEST_RETRY_AFTER_SECONDS


def _pause(state: RequestState, retry_after: float | None, first_backoff_seconds: float) -> tuple[float, float]:
    """Bounds of the pause in seconds: from the endpoint's `retry-after`, else of an exponential backoff with jitter."""
    if retry_after is not None:
        return retry_after, retry_after + first_backoff_seconds
    number = state.faults + state.useless_answers or state.attempts
    longest = min(LONGEST_BACKOFF_SECONDS, first_backoff_seconds * 2 ** min(number, 16))
    return longest / 2, longest
