"""Trials as threads of this process: how many at once, and how they are stopped."""

import threading
import time

import pytest
import tasks

from dream.engines import BlockFinished, Message, TrialFinished, TrialRuns, TrialStarted, TrialStopped
from dream.engines.in_process import InProcessEngine
from dream.records import Trial, TrialResult

TRIALS = tuple(Trial("chunks_with_overlap", f"llm-{n}", "embed") for n in range(6))


def trial_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dream-trial")]


@pytest.mark.parametrize(("at_once", "expected"), [(1, 1), (2, 2), (None, 6), (50, 6)])
def test_so_many_trials_run_at_once(at_once: int | None, expected: int):
    running, most, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(expected)

    def function(config, finished, on_block) -> TrialResult:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait(30)
        with lock:
            running -= 1
        return TrialResult(Trial.from_config(config))

    InProcessEngine().run_trials(TrialRuns("n", TRIALS, function, 3, {}, at_once), lambda messages: None)
    assert most == expected


def test_an_interrupt_stops_the_trials_and_what_they_wait_for():
    """As Ctrl-C and a notebook's stop button do."""

    def receive(messages) -> None:
        if messages:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        InProcessEngine().run_trials(TrialRuns("n", TRIALS, tasks.trial_that_waits, 3, {}), receive)
    assert time.monotonic() - started < 60  # each trial would wait for ten minutes
    assert trial_threads() == []


def test_a_trial_that_is_to_stop_ends_and_the_others_go_on():
    """One trial at a time: one that is done, the running one and one that waits are to stop."""
    done, running, waiting, *others = TRIALS
    received: list[Message] = []

    def function(config, finished, on_block) -> TrialResult:
        run = tasks.trial_that_waits if Trial.from_config(config) == running else tasks.trial_of_blocks
        return run(config, finished, on_block)

    def to_stop() -> set[str]:
        has_sent = BlockFinished(running.id, tasks.evaluation("a")) in received
        return {done.id, running.id, waiting.id, "unknown"} if has_sent else set()

    runs = TrialRuns("n", TRIALS, function, 3, {}, 1, to_stop)
    InProcessEngine().run_trials(runs, received.extend)
    ended = [each.result.trial for each in received if isinstance(each, TrialFinished)]
    assert ended == [done, *others]
    assert {each.trial_id for each in received if isinstance(each, TrialStopped)} == {running.id, waiting.id}
    assert sum(isinstance(each, TrialStopped) for each in received) == 2
    begun = [each.trial_id for each in received if isinstance(each, TrialStarted)]
    assert begun == [trial.id for trial in TRIALS if trial != waiting]
    assert trial_threads() == []
