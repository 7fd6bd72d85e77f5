"""`QuestionTurns`: the questions in progress in this process, of all trials together, those of earlier trials first.

Trials that run side by side would otherwise all answer at one time, which takes CPU, and all be judged at another,
which takes model calls; and all would end together, and then wait for MLflow one after another.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from dream.defaults import QUESTIONS_AT_ONCE


class QuestionTurns:
    """Permits for at most `at_once` questions, given by rank and then in the order of asking. For one event loop.

    Example:
        >>> turns = QuestionTurns(at_once=64)
        >>> async def evaluate(question):
        ...     async with turns.turn(rank=0):
        ...         return await answer(question)
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """Wait for a permit, and give it back after the block; the lowest rank comes first."""
        await self._acquire(rank)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        permitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), permitted))
        try:
            await permitted
        except asyncio.CancelledError:
            if permitted.done() and not permitted.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, permitted = heapq.heappop(self._waiting)
            if not permitted.done():
                permitted.set_result(None)
                return
        self._free += 1


_ranks = itertools.count()
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, QuestionTurns] = WeakKeyDictionary()


def next_rank() -> int:
    """The rank of a trial that begins now, after all before it."""
    return next(_ranks)


def turns_of_this_loop() -> QuestionTurns:
    """The turns that all trials on the running event loop share."""
    return _turns.setdefault(asyncio.get_running_loop(), QuestionTurns(QUESTIONS_AT_ONCE))
