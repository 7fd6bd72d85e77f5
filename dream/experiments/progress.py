"""The progress of an experiment: finished questions and trials, the mean of its objective so far, and USD so far."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dream.experiments.mean_so_far import MeanSoFar, mean_so_far
from dream.experiments.stopping import BASELINE
from dream.experiments.trials_table import TrialNow, Trials, TrialState
from dream.metrics import definition_of
from dream.models.gateway_metrics import Progress
from dream.progress import Reporter, Task
from dream.progress.live_table import LiveTable
from dream.records import (
    Evaluation,
    Plan,
    Score,
    Trial,
    TrialResult,
    UsageRow,
    full_name,
    known_sum,
    telling_parameters,
)
from dream.records.means import is_of_system, score_of_failure

if TYPE_CHECKING:
    from dream.experiments.spec import PreparedExperiment


@dataclass
class _Of:
    """The counts of one trial."""

    name: str
    planned: int
    state: TrialState = TrialState.WAITING
    why: str = ""
    done: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    mean: MeanSoFar | None = None


class TrialsProgress:
    """Counts finished questions and trials, and shows the counts from `start` on.

    The questions of baselines count, but baselines count neither as trials nor in the overall mean.

    Args:
        finished: results of trials that need not run, by trial id.
        partial: the finished questions of other trials, by trial id.
        plan: the planned cost of the trials, if it is known.
    """

    def __init__(
        self,
        reporter: Reporter,
        prepared: "PreparedExperiment",
        finished: Mapping[str, TrialResult],
        partial: Mapping[str, Evaluation],
        plan: Plan | None = None,
    ) -> None:
        self._reporter, self._plan = reporter, plan
        self._task: Task | None = None
        context = prepared.context
        self._metric = prepared.objective.metric or context.metrics[0]
        self._definition = definition_of(self._metric, context.own_metrics)
        self._documents = {question.id: question.document for question in prepared.questions}
        names, self._n_questions = _names(prepared.everything), len(prepared.questions)
        self._trials = {each.id: _Of(names[each.id], len(prepared.questions_of(each))) for each in prepared.everything}
        self._ranked = {trial.id: trial for trial in prepared.trials}
        self._ended: set[str] = set()
        self._usage: list[UsageRow] = []
        self._lock = threading.RLock()  # a separate thread draws the terminal
        for trial_id, evaluation in {**{key: each.evaluation for key, each in finished.items()}, **partial}.items():
            if evaluation is not None and trial_id in self._trials:
                self.add_block(trial_id, evaluation)
        for trial_id, result in finished.items():
            self.end_trial(result)
            if not result.ended_early:
                self._trials[trial_id].done = self._trials[trial_id].planned

    @property
    def questions_done(self) -> int:
        """The number of finished questions of all trials and baselines."""
        return sum(trial.done for trial in self._trials.values())

    @property
    def trials_done(self) -> int:
        """The number of trials with a result, which may be a failure."""
        return len(self._ended)

    def of_experiment(self, name: str) -> Progress:
        """The counts for the gateway's metrics."""
        return Progress(name, self._total(), self.questions_done, len(self._ranked), self.trials_done)

    def name_of(self, trial_id: str) -> str:
        """The displayed name of a trial, with the parameters that distinguish it."""
        return self._trials[trial_id].name

    def done_of(self, trial_id: str) -> str:
        """The finished questions of a trial as text: "12 of 30 questions"."""
        trial = self._trials[trial_id]
        return f"{trial.done:,} of {trial.planned:,} questions"

    def extend(self, trials: Iterable[Trial]) -> None:
        """Add waiting trials; the names of all trials become distinct again."""
        with self._lock:
            self._ranked.update({trial.id: trial for trial in trials})
            for trial_id, name in _names(self._ranked.values()).items():
                self._trials.setdefault(trial_id, _Of(name, self._n_questions)).name = name

    def start(self) -> AbstractContextManager[Task]:
        """Begin to show the progress; leaving the `with` block ends it."""
        done = self.questions_done
        self._task = self._reporter.task(
            "running trials", self._total(), "questions", done, final_line=True, table=self.table
        )
        return self._task

    def start_trial(self, trial_id: str) -> None:
        """Show a trial as running."""
        with self._lock:
            if self._trials[trial_id].state == TrialState.WAITING:
                self._trials[trial_id].state = TrialState.RUNNING

    def stopping(self, trial_ids: Iterable[str]) -> None:
        """Mark trials as stopping, unless they have ended."""
        with self._lock:
            for trial in (self._trials[trial_id] for trial_id in trial_ids):
                if not trial.state.has_ended:
                    trial.state = TrialState.STOPPING

    def add_block(self, trial_id: str, block: Evaluation) -> None:
        """Count finished questions of a trial."""
        with self._lock:
            trial = self._trials[trial_id]
            trial.done = min(trial.done + len(block.answers), trial.planned)
            for score in block.scores:
                if score.metric == self._metric and (value := self._counted(score)) is not None:
                    trial.scores[score.question_id] = value
            trial.mean = None

    def end_trial(self, result: TrialResult) -> None:
        """Count a trial or a baseline as ended."""
        trial_id = result.trial.id
        with self._lock:
            trial = self._trials[trial_id]
            trial.state, trial.why = _end_of(result)
            self._ended |= self._ranked.keys() & {trial_id}

    def show(self, usage: Iterable[UsageRow]) -> None:
        """Show all counts and the cost so far."""
        if self._task is None:
            return
        with self._lock:
            self._usage = list(usage)
            scores = [score for trial_id in self._ranked for score in self._trials[trial_id].scores.values()]
            steps = self.questions_done - self._task.done
            self._task.total = self._total()
        mean = f"{sum(scores) / len(scores):.3f} ({len(scores):,} scored)" if scores else "not scored yet"
        facts = {"trials": f"{self.trials_done:,} of {len(self._ranked):,}", self._metric: mean}
        self._task.advance(steps, **facts, usd=self._paid())

    def table(self, most: int) -> LiveTable:
        """The current state of all trials and baselines, in a table with at most `most` rows."""
        with self._lock:
            return self._now().table(most)

    def _now(self) -> Trials:
        paid: dict[str, list[float | None]] = {}
        for row in self._usage:
            paid.setdefault(row.trial, []).append(row.usd)
        usd = {trial_id: known_sum(paid.get(trial_id, [])) for trial_id in ("", *self._trials)}
        planned = self._plan.usd_by_trial if self._plan else {}
        trials = [
            TrialNow(
                trial_id,
                trial.name,
                trial.state,
                trial.done,
                trial.planned,
                self._mean(trial),
                usd[trial_id],
                planned.get(trial_id),
                trial.why,
            )
            for trial_id, trial in self._trials.items()
        ]
        lower, shared = self._definition.lower_is_better, self._shared_to_come(usd[""])
        return Trials(trials, self._metric, lower, self._paid(), shared)

    def _paid(self) -> float | None:
        """The USD of all calls but those of the user's own services, whose price nobody knows; None if unknown."""
        return known_sum(row.usd for row in self._usage if row.model)

    def _counted(self, score: Score) -> float | None:
        """The value of a score as the comparison counts it; None for a missing score."""
        return score_of_failure(self._definition) if is_of_system(score) else score.value

    def _mean(self, trial: _Of) -> MeanSoFar | None:
        if trial.mean is None:
            trial.mean = mean_so_far(trial.scores, self._documents, self._definition.bounds)
        return trial.mean

    def _shared_to_come(self, paid: float | None) -> float | None:
        """The planned USD for indexes that are not yet paid; 0 if no trial waits for an index, None if unknown."""
        if all(trial.state.has_ended for trial in self._trials.values()):
            return 0.0
        parts = known_sum(self._plan.usd_by_trial.values()) if self._plan else None
        if self._plan is None or self._plan.usd is None or parts is None or paid is None:
            return None
        return max(self._plan.usd - parts - paid, 0.0)

    def _total(self) -> int:
        """The number of questions of all trials, without the remaining ones of stopped trials."""
        return sum(
            each.done if each.state in (TrialState.STOPPED, TrialState.LEFT_RACE) else each.planned
            for each in self._trials.values()
        )


def _names(trials: Iterable[Trial]) -> dict[str, str]:
    trials = list(trials)
    telling = telling_parameters(trials)
    names = {trial.id: full_name(trial, telling[trial.id]) for trial in trials}
    return {each.id: f"{BASELINE}{names[each.id]}" if each.is_baseline else names[each.id] for each in trials}


def _end_of(result: TrialResult) -> tuple[TrialState, str]:
    """The state of a trial that has ended, and the reason if the state does not imply it."""
    if result.failure is None:
        return TrialState.DONE, f"reused from {result.taken_from}" if result.taken_from else ""
    if result.stopped_by_hand:
        return TrialState.STOPPED, ""
    if result.left_race:
        return TrialState.LEFT_RACE, result.failure.reason
    return TrialState.NOT_FINISHED if result.was_stopped else TrialState.FAILED, result.failure.reason
