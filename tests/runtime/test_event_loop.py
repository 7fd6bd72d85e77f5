"""The event loop: one for a process, which many threads may use, and which an interruption does not leave working."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dream.runtime.event_loop import background_loop, run_async


async def test_run_async_works_inside_a_running_loop():
    async def work() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert run_async(work()) == "dream-loop"


def test_run_async_refuses_its_own_loop():
    async def inner() -> None: ...

    async def outer() -> None:
        run_async(inner())

    with pytest.raises(RuntimeError, match="await the coroutine instead"):
        run_async(outer())


def test_interrupting_the_wait_cancels_the_work():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    cancelled = threading.Event()

    async def press_the_stop_button() -> None:
        while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "wait":
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    try:
        with pytest.raises(KeyboardInterrupt):
            run_async(press_the_stop_button())
    finally:
        signal.signal(signal.SIGINT, before)
    assert cancelled.wait(10)


def test_threads_that_come_first_together_get_one_loop():
    program = (
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from dream.runtime.event_loop import background_loop\n"
        "barrier = threading.Barrier(8)\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    print(len(set(threads.map(lambda _: (barrier.wait(), background_loop())[1], range(8)))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_two_threads_wait_on_the_one_loop_for_each_other():
    first, second = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, other: asyncio.Event) -> str:
        mine.set()
        await other.wait()
        return threading.current_thread().name

    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(run_async, meet(*events)) for events in ((first, second), (second, first))]
        assert [each.result(60) for each in waiting] == ["dream-loop"] * 2


def test_an_exception_reaches_the_thread_that_waits_and_the_loop_goes_on():
    async def fail() -> None:
        raise LookupError("nobody there")

    before = background_loop()
    with pytest.raises(LookupError, match="nobody there"):
        run_async(fail())
    assert background_loop() is before and before.is_running()


def test_a_thread_that_the_loop_started_may_wait_on_it_again():
    async def inner() -> str:
        return "done"

    async def outer() -> str:
        return await asyncio.to_thread(run_async, inner())

    assert run_async(outer()) == "done"
