"""`decide`, as a table: what is sent again after which outcome, how often, and after which pause."""

import pytest

from dream.models.openai_wire import ModelResponse
from dream.models.retry_policy import (
    LONGEST_BACKOFF_SECONDS,
    MAX_ATTEMPTS,
    MAX_USELESS_ANSWERS,
    Done,
    GiveUp,
    Outcome,
    RequestState,
    Retry,
    decide,
    retry_after_seconds,
)

CHECK = RequestState(is_check=True)
IMPATIENT = RequestState(is_patient=False)
FIRST = RequestState()


def outcome(status: int, body: bytes = b"", **options) -> Outcome:
    return Outcome(ModelResponse(status, body), **options)


NOBODY = outcome(0, is_unreachable=True)
NO_ANSWER = outcome(0)


def test_a_good_answer_is_the_end():
    assert decide(outcome(200, answer={"id": "1"}), FIRST) == Done({"id": "1"})
    assert decide(outcome(200, answer={}), FIRST) == Done({})


@pytest.mark.parametrize(
    ("last", "state", "again"),
    [
        *((outcome(status), FIRST, True) for status in (408, 409, 500, 502, 503, 504, 529, 429)),
        *((outcome(status), FIRST, False) for status in (301, 400, 401, 403, 404, 422, 501)),
        (outcome(200, b"not JSON"), FIRST, True),
        (outcome(503), CHECK, True),
        (NO_ANSWER, FIRST, True),
        (NO_ANSWER, CHECK, False),
        (NO_ANSWER, IMPATIENT, True),
        (NOBODY, FIRST, True),
        (NOBODY, CHECK, False),
        (NOBODY, IMPATIENT, False),
        (outcome(429), CHECK, True),
        (outcome(429), IMPATIENT, False),
        (outcome(429, b'{"code": "insufficient_quota"}'), FIRST, False),
        (outcome(429, headers={"retry-after": "120"}), FIRST, True),
        (outcome(429, headers={"retry-after": "121"}), FIRST, False),
        (outcome(429, headers={"retry-after-ms": "900", "retry-after": "3600"}), FIRST, True),
    ],
)
def test_after_a_first_attempt(last, state, again):
    assert isinstance(decide(last, state), Retry if again else GiveUp)


@pytest.mark.parametrize(
    ("last", "attempts"),
    [(outcome(500), MAX_ATTEMPTS), (NO_ANSWER, MAX_ATTEMPTS), (outcome(200), MAX_USELESS_ANSWERS)],
)
def test_so_many_attempts_are_made(last, attempts):
    state = FIRST
    for made in range(1, attempts):
        decision = decide(last, state)
        assert isinstance(decision, Retry)
        state = decision.state
        assert state.attempts == made
    assert decide(last, state) == GiveUp()


def test_refusals_and_silence_have_no_number_at_which_they_end():
    state = FIRST
    for last in [outcome(429), NOBODY] * 50:
        decision = decide(last, state)
        assert isinstance(decision, Retry)
        state = decision.state
    assert (state.attempts, state.faults, state.useless_answers) == (100, 0, 0)


def test_each_kind_of_failure_is_counted_by_itself():
    state = FIRST
    for last in [outcome(500), outcome(200), outcome(429), NO_ANSWER]:
        decision = decide(last, state)
        assert isinstance(decision, Retry)
        state = decision.state
    assert (state.attempts, state.faults, state.useless_answers) == (4, 2, 1)


def test_the_pause_doubles_up_to_thirty_seconds_and_has_jitter():
    state, pauses = FIRST, []
    for _ in range(9):
        decision = decide(NOBODY, state, first_backoff_seconds=0.5)
        assert isinstance(decision, Retry)
        state = decision.state
        pauses.append((decision.least_seconds, decision.most_seconds))
    assert pauses[:3] == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert pauses[-1] == (LONGEST_BACKOFF_SECONDS / 2, LONGEST_BACKOFF_SECONDS)


def test_the_endpoints_own_pause_counts():
    decision = decide(outcome(503, headers={"retry-after": "7"}), FIRST, first_backoff_seconds=0.5)
    assert isinstance(decision, Retry)
    assert (decision.least_seconds, decision.most_seconds) == (7, 7.5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "3", "retry-after": "60"}, 0.003),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_the_pause_that_is_asked_for(headers, seconds):
    assert retry_after_seconds(headers) == seconds
