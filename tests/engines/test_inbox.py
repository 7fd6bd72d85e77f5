"""The inbox: every message is collected once, in order, and finished questions are remembered for a new worker."""

import asyncio
from collections.abc import Mapping

import pytest

from dream.engines import inbox
from dream.engines.inbox import BlockFinished, TrialFinished, TrialInbox, TrialStarted, TrialStopped
from dream.records import Answer, Evaluation, Score, Trial, TrialResult

TRIAL = Trial("chunks_with_overlap", "llm", "embed")
RESULT = TrialResult(TRIAL, seconds=1.0)


async def opened(finished: Mapping[str, Evaluation] | None = None) -> TrialInbox:
    box = TrialInbox(finished or {})
    await box.open()
    return box


def block(*question_ids: str) -> Evaluation:
    answers = tuple(Answer(question_id, "text") for question_id in question_ids)
    return Evaluation(answers, tuple(Score(question_id, "m", 1.0) for question_id in question_ids))


async def test_messages_are_collected_once_and_in_order():
    box = await opened()
    await box.put_block(TRIAL.id, block("q1", "q2"))
    await box.put_block("another", block("q1"))
    await box.put_result(RESULT)
    assert await box.collect() == [
        BlockFinished(TRIAL.id, block("q1", "q2")),
        BlockFinished("another", block("q1")),
        TrialFinished(RESULT),
    ]
    await box.put_block(TRIAL.id, block("q3"))
    assert await box.collect() == [BlockFinished(TRIAL.id, block("q3"))]


async def test_without_messages_collecting_ends_with_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inbox, "POLL_SECONDS", 0.01)
    assert await TrialInbox({}).collect() == []


async def test_who_waits_is_woken_by_the_first_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inbox, "POLL_SECONDS", 600)
    box = await opened()
    waiting = asyncio.create_task(box.collect())
    await asyncio.sleep(0)
    await box.put_result(RESULT)
    assert await asyncio.wait_for(waiting, 60) == [TrialFinished(RESULT)]


async def test_a_new_worker_is_given_the_finished_questions_of_earlier_runs_and_of_this_one():
    box = await opened({TRIAL.id: block("q1")})
    await box.put_block(TRIAL.id, block("q2", "q3"))
    assert await box.begin(TRIAL.id) == block("q1", "q2", "q3")
    assert await box.begin("another") == Evaluation((), ())


async def test_the_finished_questions_of_a_trial_with_a_result_are_forgotten():
    box = await opened({TRIAL.id: block("q1"), "another": block("q9")})
    await box.put_result(RESULT)
    assert await box.begin(TRIAL.id) == Evaluation((), ())
    assert await box.begin("another") == block("q9")


async def test_a_trial_that_is_to_stop_before_it_begins_never_does():
    box = await opened()
    await box.stop(TRIAL.id)
    assert await box.begin(TRIAL.id) is None
    assert await box.collect() == [TrialStopped(TRIAL.id)]


async def test_a_running_trial_asks_if_it_is_to_stop_and_says_when_it_has():
    box = await opened()
    assert await box.begin(TRIAL.id) == Evaluation((), ())
    assert not await box.is_to_stop(TRIAL.id)
    await box.stop(TRIAL.id)
    assert await box.is_to_stop(TRIAL.id)
    assert await box.collect() == [TrialStarted(TRIAL.id)]
    await box.put_block(TRIAL.id, block("q1"))
    await box.put_stopped(TRIAL.id)
    assert await box.begin(TRIAL.id) is None  # its worker was lost, and another one took it
    assert await box.collect() == [BlockFinished(TRIAL.id, block("q1")), TrialStopped(TRIAL.id)]


async def test_trials_wait_until_the_inbox_is_open():
    box = TrialInbox({TRIAL.id: block("q1")})
    waiting = asyncio.create_task(box.begin(TRIAL.id))
    await asyncio.sleep(0)
    assert not waiting.done()
    await box.open()
    assert await asyncio.wait_for(waiting, 60) == block("q1")
    assert await box.collect() == [TrialStarted(TRIAL.id)]


async def test_trials_that_are_called_off_never_begin_and_running_ones_are_to_stop():
    box = await opened()
    await box.begin("another")
    await box.call_off()
    assert await box.is_to_stop("another")
    assert await box.begin(TRIAL.id) is None
    never_opened = TrialInbox({})
    waiting = asyncio.create_task(never_opened.begin(TRIAL.id))
    await asyncio.sleep(0)
    await never_opened.call_off()
    assert await asyncio.wait_for(waiting, 60) is None


async def test_processes_of_a_node_import_in_turns_and_none_waits_for_one_that_is_lost(monkeypatch: pytest.MonkeyPatch):
    box = TrialInbox({})
    await box.turn_to_import("node 1", 2)
    await box.turn_to_import("node 1", 2)
    await box.turn_to_import("node 2", 1)
    waiting = asyncio.create_task(box.turn_to_import("node 1", 2))
    await asyncio.sleep(0)
    assert not waiting.done()
    await box.imported("node 1")
    await asyncio.wait_for(waiting, 60)
    monkeypatch.setattr(inbox, "TURN_SECONDS", 0.01)
    await asyncio.wait_for(box.turn_to_import("node 2", 1), 60)
