"""`decide`: the retry policy for model requests, a pure function of the last outcome and the state of the request.

Outcomes that are retried:

    status 200 without the requested JSON                up to 4 attempts status 200 with another useless answer as
    often as may help (`dream.models.no_answer`) status 429 (rate limit)                              while the model
    answered any request in the last 300 s no connection                                        the same; a model check
    is not retried no answer in time, of a model that answers quickly   up to 3 attempts; a model check is not retried
    the same, of a model that answers slowly             up to 2 attempts, the second after the same time again no or
    partial response                               up to 6 attempts; a model check is not retried status in
    `RETRIED_STATUS`                           up to 6 attempts any other status never

A refused key, an empty account, a long requested pause, and a model that does not answer for the whole patience end all
further requests to the model (`GiveUp.ends_all`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dream.models.openai_wire import ModelResponse
from dream.models.refusals import (
    TOO_MANY as TOO_MANY,
    is_exhausted,
    is_missing_model,
    is_refused_key,
    is_without_credit,
    pause_asked_for,
    retry_after_seconds as retry_after_seconds,
)
from dream.models.response_times import Pace

MAX_ATTEMPTS = 6
MAX_USELESS_ANSWERS = 4
MAX_WAITS_IN_VAIN = {Pace.QUICK: 3, Pace.SLOW: 2, Pace.SILENT: 1}
# The first retry comes soon, so that single faults do not slow down a fast endpoint. Pauses after faults grow faster
# than those after refusals, whose number is not limited.
FIRST_BACKOFF_SECONDS = 0.05
GROWTH_AFTER_FAULTS, GROWTH_AFTER_REFUSALS = 4, 2
LONGEST_BACKOFF_SECONDS, LONGEST_AFTER_REFUSALS = 30.0, 5.0
RETRIED_STATUS = frozenset({408, 409, 500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt.

    `response.status` is 0 without an HTTP response; `answer` is the parsed body of a usable one, else None.
    `is_unreachable` means that no connection was made, as opposed to a late or partial response. `waited` is the number
    of seconds after which a request timed out; None for any other outcome. For a useless response with status 200,
    `response` is the error in its place, `useless_body` the original body, and `most_attempts` the maximum number of
    attempts (None: as for the status of the error).
    """

    response: ModelResponse
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    is_unreachable: bool = False
    most_attempts: int | None = None
    useless_body: bytes | None = None
    waited: float | None = None


@dataclass(frozen=True)
class RequestState:
    """The attempts of a request so far.

    `is_check` marks a model check. `is_patient` is true if the model answered any request, or this request started,
    within the patience of the client. `pace` is that of the model's answers. `faults`, `useless_answers` and
    `waits_in_vain` count attempts by their outcome.
    """

    is_check: bool = False
    is_patient: bool = True
    attempts: int = 0
    faults: int = 0
    useless_answers: int = 0
    waits_in_vain: int = 0
    pace: Pace = Pace.QUICK


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
    """No further attempt; the last response has the reason. `ends_all` means that later requests to the model would
    fail for the same reason."""

    ends_all: bool = False


def decide(
    outcome: Outcome, state: RequestState, first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
) -> Done | Retry | GiveUp:
    """The decision after an attempt. `state` is the state before it, with the current `is_patient` and `pace`."""
    if outcome.answer is not None:
        return Done(outcome.answer)
    response = outcome.response
    status, retry_after = response.status, pause_asked_for(response, outcome.headers)
    state, ends_all = replace(state, attempts=state.attempts + 1), not state.is_patient
    if status == 200 or outcome.most_attempts is not None:
        state = replace(state, useless_answers=state.useless_answers + 1)
        again, ends_all = state.useless_answers < (outcome.most_attempts or MAX_USELESS_ANSWERS), False
    elif is_without_credit(response) or is_exhausted(response, outcome.headers):
        again, ends_all = False, True
    elif status == TOO_MANY:
        again = state.is_patient
    elif outcome.is_unreachable:
        again = state.is_patient and not state.is_check
    elif outcome.waited is not None:
        state = replace(state, waits_in_vain=state.waits_in_vain + 1)
        again = state.waits_in_vain < MAX_WAITS_IN_VAIN[state.pace] and not state.is_check
        ends_all = ends_all or state.pace == Pace.SILENT
        if state.pace == Pace.SLOW:
            retry_after = outcome.waited
    else:
        state = replace(state, faults=state.faults + 1)
        may_pass = status in RETRIED_STATUS or (status == 0 and not state.is_check)
        again = may_pass and state.faults < MAX_ATTEMPTS
        ends_all = is_refused_key(response) or is_missing_model(response) or (ends_all and may_pass)
    if not again:
        return GiveUp(ends_all)
    return Retry(*_pause(state, status, retry_after, first_backoff_seconds), state)


def _pause(
    state: RequestState, status: int, retry_after: float | None, first_backoff_seconds: float
) -> tuple[float, float]:
    """Bounds of the pause in seconds: from the endpoint's `retry-after`, else of an exponential backoff with jitter."""
    if retry_after is not None:
        return retry_after, retry_after + first_backoff_seconds
    faults = state.faults + state.useless_answers
    if status == TOO_MANY:  # the limiter delays them
        longest, grown = LONGEST_AFTER_REFUSALS, GROWTH_AFTER_REFUSALS ** min(state.attempts - faults, 16)
    elif faults:
        longest, grown = LONGEST_BACKOFF_SECONDS, 2 * GROWTH_AFTER_FAULTS ** min(faults - 1, 8)
    else:
        longest, grown = LONGEST_BACKOFF_SECONDS, GROWTH_AFTER_REFUSALS ** min(state.attempts, 16)
    longest = min(longest, first_backoff_seconds * grown)
    return longest / 2, longest
