"""The messages that trials send to the driver, and the service on Ray that holds them until the driver fetches them.

Workers need access only to the inbox, not to storage or MLflow.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from dream.records import Evaluation, TrialResult
from dream.records.evaluations import joined

POLL_SECONDS = 0.5
# The maximum time in which the coroutines of a stopped trial send their finished questions.
LAST_BLOCK_SECONDS = 0.2
# The maximum time that a process waits for others on its node to import their libraries, which takes three seconds.
TURN_SECONDS = 15.0


@dataclass(frozen=True)
class TrialStarted:
    """A trial is running, perhaps again on another worker."""

    trial_id: str


@dataclass(frozen=True)
class BlockFinished:
    """Some questions of a trial are finished."""

    trial_id: str
    block: Evaluation


@dataclass(frozen=True)
class TrialFinished:
    """A trial has a result, which may be a failure."""

    result: TrialResult


@dataclass(frozen=True)
class TrialStopped:
    """A trial has ended without a result, because it was stopped."""

    trial_id: str


Message = TrialStarted | BlockFinished | TrialFinished | TrialStopped


class TrialInbox:
    """Holds the messages of all trials; a service on Ray. `collect` waits briefly, so that polling is cheap.

    It also remembers the finished questions of each trial, so that a trial whose worker died resumes from there. Trials
    wait until it is opened: their processes start while the driver still checks the models.
    """

    def __init__(self, finished: Mapping[str, Evaluation]) -> None:
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._opened, self._called_off = asyncio.Event(), False
        self._finished = {trial_id: [evaluation] for trial_id, evaluation in finished.items()}
        self._begun, self._to_stop, self._stopped = set[str](), set[str](), set[str]()
        self._messages: list[Message] = []
        self._arrived = asyncio.Event()

    async def open(self) -> None:
        """Let trials begin."""
        self._opened.set()

    async def call_off(self) -> None:
        """Request all trials to stop; waiting ones will not start."""
        self._called_off = True
        self._opened.set()

    async def turn_to_import(self, node: str, at_once: int) -> None:
        """Wait until fewer than `at_once` processes of a node import their libraries, for up to `TURN_SECONDS`."""
        turns = self._turns.setdefault(node, asyncio.Semaphore(at_once))
        with contextlib.suppress(TimeoutError):  # of a process that was lost while it imported
            await asyncio.wait_for(turns.acquire(), TURN_SECONDS)

    async def imported(self, node: str) -> None:
        """Receive the message that a process has imported its libraries."""
        self._turns[node].release()

    async def begin(self, trial_id: str) -> Evaluation | None:
        """The finished questions of a trial that begins, once the inbox is open; None if it must not run."""
        await self._opened.wait()
        if await self.is_to_stop(trial_id):
            await self.put_stopped(trial_id)
            return None
        self._begun.add(trial_id)
        self._put(TrialStarted(trial_id))
        return joined(self._finished.get(trial_id, []))

    async def stop(self, trial_id: str) -> None:
        """Request a trial to stop; a waiting one will not start."""
        self._to_stop.add(trial_id)
        if trial_id not in self._begun:
            await self.put_stopped(trial_id)

    async def is_to_stop(self, trial_id: str) -> bool:
        """True if a trial was requested to stop."""
        return self._called_off or trial_id in self._to_stop

    async def put_block(self, trial_id: str, block: Evaluation) -> None:
        """Receive some finished questions of a trial."""
        self._finished.setdefault(trial_id, []).append(block)
        self._put(BlockFinished(trial_id, block))

    async def put_result(self, result: TrialResult) -> None:
        """Receive the result of a trial."""
        self._finished.pop(result.trial.id, None)
        self._put(TrialFinished(result))

    async def put_stopped(self, trial_id: str) -> None:
        """Receive the message that a trial has stopped on request."""
        if trial_id not in self._stopped:
            self._stopped.add(trial_id)
            self._put(TrialStopped(trial_id))

    async def collect(self) -> list[Message]:
        """The messages since the last call, after waiting for up to `POLL_SECONDS` for the first."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), POLL_SECONDS)
        self._arrived.clear()
        messages, self._messages = self._messages, []
        return messages

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._arrived.set()
