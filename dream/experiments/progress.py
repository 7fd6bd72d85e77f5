"""The progress of an experiment: questions and trials done, the first metric's mean so far, USD so far."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from dream.progress import Reporter, Task
from dream.records import Evaluation, TrialResult, UsageRow, known_sum

if TYPE_CHECKING:
    from dream.experiments.spec import PreparedExperiment


class TrialsProgress:
    """Counts what is done, and shows it from `start` on.

    Baselines count with their questions, but neither as trials nor in the mean.

    Args:
        finished: results of trials that need no run, by trial id.
        partial: the finished questions of others.
    """

    def __init__(
        self,
        reporter: Reporter,
        prepared: "PreparedExperiment",
        finished: Mapping[str, TrialResult],
        partial: Mapping[str, Evaluation],
    ) -> None:
        self._reporter = reporter
        self._task: Task | None = None
        self._metric = prepared.context.metrics[0]
        self._planned = {trial.id: len(prepared.questions_of(trial)) for trial in prepared.everything}
        self._ranked = {trial.id for trial in prepared.trials}
        self._ended = self._ranked & finished.keys()
        self._questions: dict[str, int] = {}
        self._scores: dict[tuple[str, str], float] = {}
        self._score_sum = 0.0
        for trial_id, evaluation in {**{key: each.evaluation for key, each in finished.items()}, **partial}.items():
            if evaluation is not None:
                self.add_block(trial_id, evaluation)
        self._questions |= {trial_id: self._planned[trial_id] for trial_id in finished}

    @property
    def questions_done(self) -> int:
        """Over all trials and baselines."""
        return sum(self._questions.values())

    @property
    def trials_done(self) -> int:
        """Trials with a result, which may be a failure."""
        return len(self._ended)

    def start(self) -> AbstractContextManager[Task]:
        """Begin to show the progress; leaving the `with` block ends it."""
        total = sum(self._planned.values())
        self._task = self._reporter.task("running trials", total, "questions", self.questions_done, final_line=True)
        return self._task

    def add_block(self, trial_id: str, block: Evaluation) -> None:
        """Count finished questions of a trial."""
        done = self._questions.get(trial_id, 0) + len(block.answers)
        self._questions[trial_id] = min(done, self._planned[trial_id])
        if trial_id not in self._ranked:
            return
        for score in block.scores:
            if score.metric == self._metric and score.value is not None:
                key = trial_id, score.question_id
                self._score_sum += score.value - self._scores.get(key, 0.0)
                self._scores[key] = score.value

    def end_trial(self, trial_id: str) -> None:
        """Count a trial as done, unless it is a baseline."""
        self._ended |= self._ranked & {trial_id}

    def show(self, usage: Iterable[UsageRow]) -> None:
        """Show everything that was counted, and what was paid."""
        if self._task is None:
            return
        n_scored = len(self._scores)
        mean = f"{self._score_sum / n_scored:.3f} ({n_scored:,} scored)" if n_scored else "not scored yet"
        facts = {"trials": f"{self.trials_done:,} of {len(self._ranked):,}", self._metric: mean}
        self._task.advance(self.questions_done - self._task.done, **facts, usd=known_sum(row.usd for row in usage))
