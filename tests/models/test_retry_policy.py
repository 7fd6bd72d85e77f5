"""`decide`, as a table: what is sent again after which outcome, how often, and after which pause."""

import pytest

from dream.models.openai_wire import ModelResponse
from dream.models.response_times import Pace
from dream.models.retry_policy import (
    LONGEST_AFTER_REFUSALS,
    LONGEST_BACKOFF_SECONDS,
    MAX_ATTEMPTS,
    MAX_USELESS_ANSWERS,
    MAX_WAITS_IN_VAIN,
    Done,
    GiveUp,
    Outcome,
    RequestState,
    Retry,
    decide,
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


@pytest.mark.parametrize(
    ("last", "state", "ends_all"),
    [
        (outcome(402, b'{"error": {"message": "Insufficient Balance"}}'), FIRST, True),
        (outcome(429, b'{"error": {"message": "your quota", "code": "insufficient_quota"}}'), FIRST, True),
        (outcome(400, b'{"error": {"message": "Your credit balance is too low to access the API."}}'), FIRST, True),
        (outcome(429, headers={"retry-after": "3600"}), FIRST, True),
        (outcome(401), FIRST, True),
        (outcome(404, b'{"error": {"message": "The model `x` does not exist"}}'), FIRST, True),
        (outcome(403), FIRST, True),
        (outcome(429), IMPATIENT, True),
        (NOBODY, IMPATIENT, True),
        (outcome(400, b'{"error": {"message": "the prompt is too long"}}'), FIRST, False),
        (outcome(413), IMPATIENT, False),
        (outcome(404), FIRST, False),
    ],
)
def test_what_refuses_every_later_request_ends_all(last, state, ends_all):
    assert decide(last, state) == GiveUp(ends_all)


def test_a_lasting_fault_of_a_model_that_answers_nothing_ends_all():
    assert decide(outcome(503), RequestState(is_patient=False, faults=MAX_ATTEMPTS - 1)) == GiveUp(True)
    assert decide(outcome(503), RequestState(is_patient=True, faults=MAX_ATTEMPTS - 1)) == GiveUp(False)
    assert decide(outcome(200, b"{}"), RequestState(is_patient=False, useless_answers=9)) == GiveUp(False)


@pytest.mark.parametrize(("pace", "ends_all"), [(Pace.QUICK, False), (Pace.SLOW, False), (Pace.SILENT, True)])
def test_a_wait_in_vain_is_repeated_as_the_pace_of_the_model_allows(pace, ends_all):
    state, last = RequestState(pace=pace), outcome(0, waited=40.0)
    for _ in range(MAX_WAITS_IN_VAIN[pace] - 1):
        decision = decide(last, state)
        assert isinstance(decision, Retry)
        # what a slow server may still be computing gets as long again before it is asked for a second time
        assert (decision.least_seconds >= 40) == (pace is Pace.SLOW)
        state = decision.state
    assert decide(last, state) == GiveUp(ends_all)
    assert isinstance(decide(last, RequestState(pace=pace, is_check=True)), GiveUp)


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


@pytest.mark.parametrize(
    ("last", "first", "longest"),
    [
        (NOBODY, [(0.1, 0.2), (0.2, 0.4), (0.4, 0.8)], LONGEST_BACKOFF_SECONDS),
        (outcome(429), [(0.1, 0.2), (0.2, 0.4), (0.4, 0.8)], LONGEST_AFTER_REFUSALS),
        (outcome(503), [(0.1, 0.2), (0.4, 0.8), (1.6, 3.2)], LONGEST_BACKOFF_SECONDS),
    ],
)
def test_the_pause_grows_up_to_a_longest_one_and_has_jitter(last, first, longest):
    state, pauses = FIRST, []
    for _ in range(5 if last.response.status == 503 else 12):
        decision = decide(last, state, first_backoff_seconds=0.1)
        assert isinstance(decision, Retry)
        state = decision.state
        pauses.append((decision.least_seconds, decision.most_seconds))
    assert pauses[:3] == [pytest.approx(pause) for pause in first]
    assert pauses[-1] == (longest / 2, longest)


def test_the_endpoints_own_pause_counts():
    decision = decide(outcome(503, headers={"retry-after": "7"}), FIRST, first_backoff_seconds=0.5)
    assert isinstance(decision, Retry)
    assert (decision.least_seconds, decision.most_seconds) == (7, 7.5)
