"""Results of trials and of whole experiments.

A failure is recorded, not replaced by a value: a trial that failed as a whole has no evaluation.
`from_json` ignores unknown fields and reads records of version 0.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from dream.records.answers import Answer, Evaluation
from dream.records.failures import Failure, FailureKind, failure_from_json
from dream.records.trials import Trial
from dream.records.usage import UsageRow

if TYPE_CHECKING:
    from dream.records.manifest import Manifest


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        evaluation: None if the trial failed as a whole; `failure` then has the reason.
        seconds: the duration of the trial.
        n_nodes: the number of nodes in its index; None if unknown.
        usage: the trial's metered model calls, by model and stage.
        taken_from: the name of the earlier experiment whose result was reused; empty for a trial that ran.
    """

    trial: Trial
    evaluation: Evaluation | None = None
    seconds: float = 0.0
    n_nodes: int | None = None
    usage: tuple[UsageRow, ...] = ()
    failure: Failure | None = None
    taken_from: str = ""

    @property
    def error(self) -> str | None:
        """The reason of the failure in one line, None without a failure."""
        return self.failure.reason if self.failure else None

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers; empty if the trial failed as a whole."""
        return self.evaluation.answers if self.evaluation else ()

    @property
    def stopped_by_hand(self) -> bool:
        """True if a user stopped the trial: it has not failed, has no mean, and is not continued on resuming."""
        return self.failure is not None and self.failure.kind == FailureKind.STOPPED

    @property
    def left_race(self) -> bool:
        """True if the trial was shown to be worse than another before it was finished (`dream.records.Race`)."""
        return self.failure is not None and self.failure.kind == FailureKind.LEFT_RACE

    @property
    def ended_early(self) -> bool:
        """True if the trial was stopped by hand or left a race; it is not continued on resuming."""
        return self.stopped_by_hand or self.left_race

    @property
    def has_failed(self) -> bool:
        """True if the trial has no evaluation, and was not ended on purpose."""
        return self.failure is not None and not self.ended_early

    @property
    def was_stopped(self) -> bool:
        """True if the budget or an endpoint that refuses all requests ended the trial; it can be resumed."""
        return self.failure is not None and self.failure.kind.stops_experiment

    def redacted(self, secrets: Sequence[str]) -> "TrialResult":
        """A copy in which `***` replaces each secret in the failures."""
        evaluation = self.evaluation and self.evaluation.redacted(secrets)
        return replace(self, evaluation=evaluation, failure=self.failure and self.failure.redacted(secrets))

    def to_json(self) -> dict[str, Any]:
        summaries = self.evaluation.summaries() if self.evaluation else ()
        nothing = {"answers": None, "scores": None, "repeats": []}
        return {
            "trial_id": self.trial.id,
            "config": self.trial.config(),
            "trial": self.trial.to_json(),
            "failure": self.failure and self.failure.to_json(),
            "seconds": self.seconds,
            "n_nodes": self.n_nodes,
            **({"taken_from": self.taken_from} if self.taken_from else {}),
            "usage": [row.to_json() for row in self.usage],
            "summary": [asdict(summary) for summary in summaries],
            **(self.evaluation.to_json() if self.evaluation else nothing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialResult":
        """The inverse of `to_json`."""
        evaluation = Evaluation.from_json(data) if data["answers"] is not None else None
        usage = tuple(map(UsageRow.from_json, data["usage"]))
        trial = Trial.from_json(data["trial"])
        failure, taken_from = failure_from_json(data), data.get("taken_from", "")
        return cls(trial, evaluation, data["seconds"], data["n_nodes"], usage, failure, taken_from)


@dataclass(frozen=True)
class ExperimentResult:
    """A whole experiment: its manifest and the results of all trials, in the order of the grid.

    Attributes:
        usage: the metered model calls of all runs of the experiment; rows without a trial are shared calls, such as
            those for indexes.
        baselines: the closed-book and oracle results for each LLM, if requested; they are never ranked.
        held_out: the results on the held-out questions, of the trials that answered them.
    """

    name: str
    manifest: "Manifest"
    results: tuple[TrialResult, ...]
    usage: tuple[UsageRow, ...] = ()
    baselines: tuple[TrialResult, ...] = ()
    held_out: tuple[TrialResult, ...] = ()

    @property
    def stopped(self) -> str | None:
        """The reason why the budget or an endpoint ended the experiment early; None if none did."""
        return next(iter(self.reasons_to_stop), None)

    @property
    def reasons_to_stop(self) -> tuple[str, ...]:
        """The distinct reasons why trials were stopped, e.g. two endpoints that refuse all requests."""
        everything = (*self.results, *self.baselines, *self.held_out)
        stopped = (result.error for result in everything if result.was_stopped)
        return tuple(dict.fromkeys(reason for reason in stopped if reason))
