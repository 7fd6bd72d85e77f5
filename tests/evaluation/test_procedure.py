"""Many questions at once: how many are in progress, how finished ones are handed on, and what ends all of them."""

import asyncio
from types import SimpleNamespace

import pytest
from model_servers import Reply
from town import GOLDEN, evaluate

from dream.evaluation.asking import MAX_CONCURRENT_ANSWERS
from dream.records import Evaluation, GoldenQuestion
from dream.runtime.event_loop import run_async


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_questions_are_in_progress_at_a_time(most, engine, model_server):
    model_server.faults(chat_latency_ms=40, embedding_latency_ms=40)
    model_server.reset()
    evaluate(engine, max_concurrency=most)
    assert model_server.counters()["in_flight_most"] == most


def test_few_are_worked_on_while_the_others_wait_for_models(engine, relay):
    at_work, most, full = 0, 0, asyncio.Event()

    async def aquery(question):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == MAX_CONCURRENT_ANSWERS:
            full.set()
        await asyncio.wait_for(full.wait(), 60)
        at_work -= 1
        return await engine.aquery(question)

    relay.hold(MAX_CONCURRENT_ANSWERS + 1)
    asked = [GoldenQuestion(f"q{n}", f"{GOLDEN[0].question} ({n})", GOLDEN[0].ground_truth) for n in range(40)]
    answers = evaluate(SimpleNamespace(aquery=aquery), asked, metrics=("answer_similarity",)).answers
    assert len(answers) == 40 and not any(answer.error for answer in answers)
    assert most == MAX_CONCURRENT_ANSWERS


def test_finished_questions_are_handed_on_in_blocks_each_once(engine, relay):
    relay.script = lambda seen: Reply(400, {}) if "otters sleep?" in seen.text else None
    blocks = []
    evaluation = evaluate(engine, on_block=blocks.append, block_size=4)
    assert [len(block.answers) for block in blocks] == [4, 2]
    handed_on = {answer.question_id: answer for block in blocks for answer in block.answers}
    assert handed_on == {answer.question_id: answer for answer in evaluation.answers}
    assert {score for block in blocks for score in block.scores} == set(evaluation.scores)


def test_progress_that_fails_stops_the_spending(engine, relay):
    """The questions that wait are given up, and none goes on unseen."""

    def give_up(block: Evaluation) -> None:
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        evaluate(engine, GOLDEN * 4, max_concurrency=1, on_block=give_up, block_size=1)
    run_async(_settled())
    assert len(relay.requests) <= 2  # the one that was told of, and at most one that had begun


async def _settled() -> None:
    """Wait until DREAM's loop has nothing left to do but this."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
