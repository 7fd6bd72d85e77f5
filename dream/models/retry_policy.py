"""`decide`: the retry policy for model requests. A pure function: it neither waits nor counts attempts.

A fault may pass, so the request is sent again:

    status 200, but not the JSON that was asked for      up to 4 attempts
    status 429, rate limit                               as long as the endpoint answered somebody in the last 300 s
    nothing took the connection                          the same, but a check of a model is given up at once
    no or half an answer, or a status of `RETRIED_STATUS`  up to 6 attempts; a check that got no answer is given up
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
# an endpoint that asks for a longer wait (a spent daily quota) is not waited for
LONGEST_RETRY_AFTER_SECONDS = 120.0
RETRIED_STATUS = frozenset({408, 409, 500, 502, 503, 504, 529})
TOO_MANY = 429


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt.

    `response.status` is 0 where there was no HTTP answer; `answer` is the parsed body of a good one, else None;
    `is_unreachable` means that nothing took the connection, as opposed to an answer that was late or cut off.
    """

    response: ModelResponse
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    is_unreachable: bool = False


@dataclass(frozen=True)
class RequestState:
    """Attempts of a request so far, the last included.

    `is_patient`: the endpoint answered any request, or this one was begun, less than the patience ago.
    """

    is_check: bool = False
    is_patient: bool = True
    attempts: int = 0
    faults: int = 0
    useless_answers: int = 0


@dataclass(frozen=True)
class Done:
    """The answer is good."""

    answer: dict[str, Any]


@dataclass(frozen=True)
class Retry:
    """Send again after a random pause between these bounds; `state` belongs to the next decision."""

    least_seconds: float
    most_seconds: float
    state: RequestState


@dataclass(frozen=True)
class GiveUp:
    """No good answer is to be had; the last response says why."""


def decide(
    outcome: Outcome, state: RequestState, first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
) -> Done | Retry | GiveUp:
    """Decide after an attempt. `state` is the one before it, with `is_patient` as it is now."""
    if outcome.answer is not None:
        return Done(outcome.answer)
    status, retry_after = outcome.response.status, retry_after_seconds(outcome.headers)
    state = replace(state, attempts=state.attempts + 1)
    if status == 200:
        state = replace(state, useless_answers=state.useless_answers + 1)
        again = state.useless_answers < MAX_USELESS_ANSWERS
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
    """The pause that the endpoint asks for: milliseconds where it gives them (OpenAI, Azure), else whole seconds."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(headers[name]) / per_second
        except (KeyError, ValueError):
            continue
    return None


def _is_rate_limit(response: ModelResponse, retry_after: float | None) -> bool:
    """True for a limit that resets within minutes; false for an empty OpenAI account and for a day's quota."""
    return b"insufficient_quota" not in response.body and (retry_after or 0) <= LONGEST_RETRY_AFTER_SECONDS


def _pause(state: RequestState, retry_after: float | None, first_backoff_seconds: float) -> tuple[float, float]:
    """Bounds in seconds: from what the endpoint asked for, else half to whole of an exponential backoff."""
    if retry_after is not None:
        return retry_after, retry_after + first_backoff_seconds
    number = state.faults + state.useless_answers or state.attempts
    longest = min(LONGEST_BACKOFF_SECONDS, first_backoff_seconds * 2 ** min(number, 16))
    return longest / 2, longest
