"""`Engine`: the interface of all engines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from dream.engines.inbox import Message
from dream.records import Cluster, Evaluation, Failure, Trial, TrialResult

T = TypeVar("T")

# Runs a trial: its config, the questions that an earlier run has finished, and what to call with each finished block.
TrialFunction = Callable[[Mapping[str, Any], Evaluation, Callable[[Evaluation], None]], TrialResult]
Receive = Callable[[Sequence[Message]], None]


@dataclass(frozen=True)
class TrialRuns:
    """The trials of an experiment that are to run.

    Args:
        name: the experiment's.
        function: runs one trial; a failure is a result, not an exception. It must survive pickling.
        n_questions: the most questions that a trial is asked.
        finished: questions that need not be asked again, by trial id.
        at_once: the most trials at the same time; None leaves it to the engine.
        to_stop: the ids of trials that are to end before they are done; the engine asks for them again and again.
    """

    name: str
    trials: Sequence[Trial]
    function: TrialFunction
    n_questions: int
    finished: Mapping[str, Evaluation]
    at_once: int | None = None
    to_stop: Callable[[], Collection[str]] = tuple


class Engine(ABC):
    """Runs trials and tasks. Services find their host by `dream.services.host`, which an open engine sets."""

    name: str
    cluster: Cluster | None

    @abstractmethod
    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        """Run trials to their end, and call `receive` with what they send, from one thread at a time.

        A trial that is to stop ends with a `TrialStopped` in place of its result, after the questions that it has
        finished; the others go on. One that waits to be run ends at once, and one that is done by then has its result.

        Returns:
            The failures of trials that ended without a result, by trial id.

        Raises:
            Whatever `receive` raised; the trials are then stopped.
        """

    @abstractmethod
    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Run a task with a whole process for itself, in which the order of sets of texts is always the same. Task and
        arguments must survive pickling. Models are called through the gateway that is open here.

        A task whose process is lost ends with a `ServiceError`.
        """
