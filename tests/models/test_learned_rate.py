"""The rate that is learned from an endpoint, through the limiter, on a clock of the test's own."""

import asyncio

import pytest
from simulated_endpoints import Bucket, Random, SimulatedEndpoint, SlidingWindow, ask

from dream.models.rate_limiter import Limiter


async def simulate(
    limiter_options: dict, allowed_a_second: float, seconds: float, retry_after: float | None, closed: float = 0.0
) -> tuple[int, int]:
    """Requests answered and refused by a server with a bucket of one request and clients that always ask something,
    on a clock of its own.

    It refuses everything in the first `closed` seconds.
    """
    now = [0.0]
    limiter = Limiter(max_concurrency=64, clock=lambda: now[0], **limiter_options)
    next_free, answered, refused = 0.0, 0, 0
    while now[0] < seconds:
        now[0] += 0.005
        permission = asyncio.create_task(limiter.acquire("t"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if permission.done():
            if now[0] >= max(next_free, closed):
                next_free = max(next_free, now[0] - 1 / allowed_a_second) + 1 / allowed_a_second
                answered += 1
                limiter.succeeded()
            else:
                refused += 1
                limiter.refused(retry_after)
            limiter.release()
        else:
            permission.cancel()
            await asyncio.sleep(0)
    return answered, refused


@pytest.mark.whole
@pytest.mark.parametrize("retry_after", [None, 0.12])
async def test_an_unknown_limit_is_learned_and_used(retry_after):
    answered, refused = await simulate({}, 500 / 60, 120, retry_after)
    assert answered > 0.9 * 120 * 500 / 60
    assert refused < 0.35 * answered


@pytest.mark.parametrize("closed", [0.5, 10.0])
async def test_a_bad_start_is_made_up_for(closed):
    answered, _ = await simulate({}, 500 / 60, closed + 30, None, closed)
    assert answered > 0.7 * 30 * 500 / 60


@pytest.mark.whole
@pytest.mark.parametrize(("share", "errors"), [(0.05, 0.0), (0.2, 0.0), (0.4, 0.0), (0.05, 0.2), (0.2, 0.2)])
@pytest.mark.parametrize(("clients", "latency"), [(8, 0.5), (64, 0.5), (64, 5.0)])
def test_refusals_that_come_at_any_rate_do_not_slow_down_an_endpoint(share, errors, clients, latency):
    """At least half of what the same endpoint answers without faults."""
    requests = 60 * clients
    faultless = ask(SimulatedEndpoint(latency=latency), requests, clients).seconds
    ran = ask(SimulatedEndpoint(Random(share), latency, errors), requests, clients)
    assert ran.seconds <= 2 * faultless
    assert ran.answered + ran.given_up == requests
    assert ran.given_up <= 0.002 * requests


@pytest.mark.whole
@pytest.mark.parametrize("says_when", [False, True])
@pytest.mark.parametrize(("a_minute", "burst"), [(60, 30), (500, 8), (500, 250), (3000, 50), (3000, 1500)])
def test_a_limit_of_requests_per_minute_is_used_within_a_twentieth(a_minute, burst, says_when):
    requests = 3 * a_minute
    ran = ask(SimulatedEndpoint(Bucket(a_minute, burst, says_when)), requests)
    assert ran.seconds <= 1.05 * (requests - burst) / (a_minute / 60)
    assert ran.refused <= (3 if a_minute < 100 else 0.6) * ran.answered
    assert ran.given_up == 0


@pytest.mark.whole
@pytest.mark.parametrize(("a_minute", "latency"), [(60, 0.5), (500, 0.5), (1200, 0.01), (3000, 0.5)])
def test_a_limit_that_allows_no_two_requests_together_is_used_within_a_tenth(a_minute, latency):
    requests = max(3 * a_minute, 300)
    ran = ask(SimulatedEndpoint(Bucket(a_minute, 1), latency), requests)
    assert ran.seconds <= 1.1 * requests / (a_minute / 60)


def test_a_limit_that_changes_is_followed():
    ran = ask(SimulatedEndpoint(Bucket(600, 5, changes={60: 120, 120: 1200})), 600 + 120 + 1200)
    assert ran.seconds <= 1.15 * 180


def test_a_limit_beside_refusals_at_any_rate_is_used_well():
    ran = ask(SimulatedEndpoint(Bucket(500, 8, share_refused_anyway=0.1)), 1500)
    assert ran.seconds <= 1.5 * 1500 / (500 / 60)


@pytest.mark.whole
@pytest.mark.parametrize(("most", "seconds", "says_when", "least"), [(500, 60, True, 120), (10, 1, False, 150)])
def test_a_limit_over_a_sliding_window_is_used_well(most, seconds, says_when, least):
    ran = ask(SimulatedEndpoint(SlidingWindow(most, seconds, says_when)), 1500)
    assert ran.seconds <= 1.1 * least


async def test_a_limit_in_the_settings_is_kept():
    answered, refused = await simulate({"requests_per_minute": 480}, 500 / 60, 30, None)
    assert answered > 0.95 * 30 * 8
    assert refused < 5
