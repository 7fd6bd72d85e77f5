"""Tasks and trials for the tests of engines, in a module that other processes can import."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError

from dream.models.pickers import llm_picker
from dream.records import Answer, Evaluation, Failure, Trial, TrialResult
from dream.runtime.event_loop import run_async

TEXTS = [f"text {n}" for n in range(50)]


def evaluation(*question_ids: str) -> Evaluation:
    return Evaluation(tuple(Answer(question_id, "text") for question_id in question_ids), ())


def trial_of_blocks(config, finished, on_block) -> TrialResult:
    """Finishes the questions a, b and c that it has not finished before, each as a block."""
    trial = Trial.from_config(config)
    done = [answer.question_id for answer in finished.answers]
    for question in "abc":
        if question not in done:
            on_block(evaluation(question))
    return TrialResult(trial, evaluation(*"abc"), seconds=float(len(done)))


def trial_that_waits(config, finished, on_block) -> TrialResult:
    """Sends a block, then waits for ten minutes on DREAM's loop."""
    import asyncio

    on_block(evaluation("a"))
    try:
        run_async(asyncio.sleep(600))
    except CancelledError as error:
        return TrialResult(Trial.from_config(config), failure=Failure.of(error))
    raise AssertionError("nobody stopped it")


def order_of_a_set() -> list[str]:
    return list(set(TEXTS))


def square(number: int) -> tuple[int, int]:
    """The square, and the process that made it."""
    time.sleep(0.2)
    return number * number, os.getpid()


def fail(text: str) -> None:
    raise ValueError(text)


def die() -> None:
    print("dying words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable() -> object:
    return threading.Lock()


def complete(prompt: str) -> str:
    return llm_picker("llm-large", stage="generate").complete(prompt).text


def complete_all(prompts: list[str]) -> list[str]:
    import asyncio

    llm = llm_picker("llm-large", stage="generate")

    async def ask() -> list[str]:
        return [answer.text for answer in await asyncio.gather(*map(llm.acomplete, prompts))]

    return run_async(ask())


def print_much() -> None:
    print("x" * 100_000)
