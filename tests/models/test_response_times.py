"""Limits of waits and windows follow what a server was seen to take."""

from collections import deque

import pytest

from dream.models.response_times import (
    FIRST_LIMIT_SECONDS,
    FIRST_WINDOW,
    KNOWN_ANSWERS,
    LEAST_LIMIT_SECONDS,
    Pace,
    ResponseTimes,
    Window,
)


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        ([], FIRST_LIMIT_SECONDS),
        ([1.0] * (KNOWN_ANSWERS - 1), FIRST_LIMIT_SECONDS),
        ([1.0] * KNOWN_ANSWERS, LEAST_LIMIT_SECONDS),
        ([1.0] * KNOWN_ANSWERS + [100.0], 500.0),
        ([300.0], 1500.0),
    ],
)
def test_the_limit_follows_the_slowest_answer(seconds, limit):
    times = ResponseTimes()
    for one in seconds:
        times.answered(one)
    assert times.limit() == limit
    assert times.limit(timeouts=1) == 2 * limit


@pytest.mark.parametrize("configured", [3.0, 300.0, 5000.0])
def test_a_configured_limit_is_the_limit(configured):
    times = ResponseTimes(configured)
    for one in [1.0] * 30 + [1000.0]:
        times.answered(one)
    assert times.limit() == times.limit(timeouts=1) == configured


def test_the_pace_of_a_model():
    times = ResponseTimes()
    assert times.pace(600) is Pace.SILENT
    times.answered(20)
    assert times.pace(100) is Pace.QUICK
    times.answered(30)
    assert times.pace(100) is Pace.SLOW


def serve(window: Window, slots: int, seconds: float, rounds: int) -> float:
    """The slowest answer of a server that computes `slots` answers at a time and queues the others, over the last
    half of the rounds, on its own clock."""
    queue: deque[float] = deque()
    now, slowest = 0.0, 0.0
    for round_number in range(rounds):
        while window.has_room:
            window.in_flight += 1
            queue.append(now)
        now += seconds
        for _ in range(min(slots, len(queue))):
            taken = now - queue.popleft()
            window.in_flight -= 1
            window.answered(taken)
            slowest = max(slowest, taken) if round_number > rounds / 2 else slowest
    return slowest


@pytest.mark.parametrize("seconds", [0.01, 1.0, 40.0])
def test_a_server_that_computes_all_answers_at_once_gets_as_many_as_are_allowed(seconds):
    window = Window(256)
    serve(window, slots=256, seconds=seconds, rounds=20)
    assert window.size == 256


@pytest.mark.parametrize(("slots", "seconds"), [(1, 30.0), (4, 60.0), (1, 150.0)])
def test_answers_do_not_wait_for_ever_in_the_queue_of_a_slow_server(slots, seconds):
    window = Window(256)
    slowest = serve(window, slots, seconds, rounds=400)
    assert window.size <= FIRST_WINDOW
    assert slowest <= max(10 * seconds, 600)


def test_a_wait_in_vain_halves_the_window_down_to_one_and_it_grows_slowly_then():
    window = Window(256, in_flight=31)
    for size in (16, 8, 4, 2, 1, 1):
        window.timed_out()
        assert window.size == size
        window.in_flight = size - 1
    window.answered(5.0)
    assert window.size == 2
    window.answered(5.0)
    assert window.size == 2.5


def test_a_window_begins_with_what_is_allowed():
    assert Window(4).size == 4
    assert Window(256).size == FIRST_WINDOW
