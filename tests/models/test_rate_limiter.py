"""Permits for requests to an endpoint, on a clock of the test's own."""

import asyncio
from collections import Counter

import pytest

from dream.models.rate_limiter import Limiter, seconds_of


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_at_once_than_allowed():
    limiter, started = Limiter(max_concurrency=3), []

    async def request(number: int) -> None:
        await limiter.acquire("t")
        started.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(5)]
    await settle()
    assert started == [0, 1, 2]
    limiter.release()
    await settle()
    assert started == [0, 1, 2, 3]
    limiter.release()
    await asyncio.gather(*tasks)


async def test_trials_take_turns():
    limiter, order = Limiter(max_concurrency=1), []

    async def request(trial: str) -> None:
        await limiter.acquire(trial)
        order.append(trial)
        await asyncio.sleep(0)
        limiter.release()

    await asyncio.gather(*(request(trial) for trial in ["big"] * 8 + ["small"] * 2))
    assert Counter(order) == {"big": 8, "small": 2}
    assert order.index("small") <= 2
    assert order[:5].count("small") == 2


async def test_a_request_that_gives_up_waiting_frees_its_permit():
    limiter = Limiter(max_concurrency=1)
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await settle()
    waiting.cancel()
    limiter.release()
    await asyncio.wait_for(limiter.acquire(), 1)


async def test_tokens_a_minute_are_kept():
    now = [0.0]
    limiter = Limiter(tokens_per_minute=6000, clock=lambda: now[0])
    await limiter.acquire(tokens=300)
    second = asyncio.create_task(limiter.acquire(tokens=1))
    await settle()
    assert not second.done()
    now[0] = 3.0
    limiter.release()  # looks at the clock again
    await settle()
    assert second.done()


async def test_the_endpoints_own_word_pauses():
    now = [0.0]
    limiter = Limiter(clock=lambda: now[0])
    limiter.succeeded({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"})
    waiting = asyncio.create_task(limiter.acquire())
    await settle()
    assert not waiting.done()
    now[0] = 0.03
    await limiter.acquire("another")  # looks at the clock again
    await settle()
    assert waiting.done()


@pytest.mark.parametrize(("text", "seconds"), [("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("", None), ("3x", None)])
def test_durations(text, seconds):
    assert seconds_of(text) == seconds
