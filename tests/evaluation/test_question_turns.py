"""Turns of questions: how many at once, in which order, and what becomes of turns that are given up."""

import asyncio

from dream.evaluation.question_turns import QuestionTurns, next_rank, turns_of_this_loop


async def take(turns: QuestionTurns, rank: int, name: str, order: list[str], seconds: float = 0.0) -> None:
    async with turns.turn(rank):
        order.append(name)
        await asyncio.sleep(seconds)


def test_at_most_so_many_are_in_progress():
    async def run() -> int:
        turns, now, most = QuestionTurns(2), 0, 0

        async def one() -> None:
            nonlocal now, most
            async with turns.turn(0):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(one() for _ in range(10)))
        return most

    assert asyncio.run(run()) == 2


def test_questions_of_earlier_trials_come_first():
    async def run() -> list[str]:
        turns, order = QuestionTurns(1), list[str]()
        asked = [(1, "b1"), (1, "b2"), (0, "a1"), (2, "c1"), (0, "a2")]
        await asyncio.gather(*(take(turns, rank, name, order) for rank, name in asked))
        return order

    assert asyncio.run(run()) == ["b1", "a1", "a2", "b2", "c1"]


def test_turns_of_cancelled_questions_go_to_others():
    """One is cancelled in progress, one while it waits, and one when it has its turn and has not begun."""

    async def run() -> list[str]:
        turns, order = QuestionTurns(1), list[str]()
        tasks: dict[str, asyncio.Task[None]] = {}

        async def give_way() -> None:
            async with turns.turn(0):
                tasks["waiting"].cancel()
            tasks["chosen"].cancel()

        tasks["in progress"] = asyncio.create_task(take(turns, 0, "in progress", order, 60))
        await asyncio.sleep(0)
        tasks["giving way"] = asyncio.create_task(give_way())
        for name in ("waiting", "chosen", "last"):
            tasks[name] = asyncio.create_task(take(turns, 0, name, order))
        await asyncio.sleep(0)
        tasks["in progress"].cancel()
        await asyncio.wait_for(tasks["last"], 10)
        await asyncio.wait_for(take(turns, 0, "after", order), 10)
        assert {name for name, task in tasks.items() if task.cancelled()} == {"in progress", "waiting", "chosen"}
        return order

    assert asyncio.run(run()) == ["in progress", "last", "after"]


def test_a_loop_has_its_own_turns():
    async def turns() -> tuple[QuestionTurns, QuestionTurns]:
        return turns_of_this_loop(), turns_of_this_loop()

    (first, again), (other, _) = asyncio.run(turns()), asyncio.run(turns())
    assert first is again and other is not first


def test_ranks_follow_the_order_in_which_trials_begin():
    first, second = next_rank(), next_rank()
    assert first < second
