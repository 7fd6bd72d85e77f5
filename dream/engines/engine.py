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
    """The trials of an experiment to run.

    Args:
        name: the experiment's name.
        function: runs one trial; a failure is a result, not an exception. It must be picklable.
        n_questions: the maximum number of questions of a trial.
        finished: questions that are already finished, by trial id.
        at_once: the maximum number of concurrent trials; None leaves it to the engine.
        to_stop: returns the ids of trials to stop early; the engine calls it repeatedly.
        modules: what the function imports; processes of trials import it before they wait for their first trial.
    """

    name: str
    trials: Sequence[Trial]
    function: TrialFunction
    n_questions: int
    finished: Mapping[str, Evaluation]
    at_once: int | None = None
    to_stop: Callable[[], Collection[str]] = tuple
    modules: Sequence[str] = ()


class Engine(ABC):
    """Runs trials and tasks. An open engine determines where services run (`dream.services.host`)."""

    name: str
    cluster: Cluster | None

    def start_early(self, runs: TrialRuns) -> None:  # noqa: B027 - only some engines have processes to start
        """Start the processes of trials, which wait until `run_trials` is called with the same trials and function.

        Without this call, they start then.
        """

    @abstractmethod
    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        """Run trials to their end, and call `receive` with their messages, from one thread at a time.

        A trial to stop ends with a `TrialStopped` instead of a result, after its finished questions; the others
        continue. A waiting trial ends at once, and a trial that is already done has its result.

        Returns:
            The failures of trials that ended without a result, by trial id.

        Raises:
            Any exception of `receive`; the trials are then stopped.
        """

    @abstractmethod
    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Run a task in a process of its own, in which the order of sets of texts is reproducible. Task and arguments
        must be picklable. Models are called through the gateway that is open here.

        If the process is lost, the task ends with a `ServiceError`.
        """
