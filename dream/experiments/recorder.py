"""Writes the results of trials to storage and MLflow as they arrive, and shows the progress.

Trials send messages to an inbox, a Ray actor; the process that started the experiment empties it. So finished work is
kept when a worker or the driver dies, or the budget is spent.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from dream.engines import Message, TrialFinished, TrialStarted, TrialStopped
from dream.errors import ServiceError, StorageError
from dream.experiments import store
from dream.experiments.progress import TrialsProgress
from dream.experiments.sift import own_stage
from dream.experiments.stopping import StopRequests
from dream.models import gateway_client
from dream.models.planned_usage import calls_text, plan_against_actual
from dream.progress import Show, reporter_for
from dream.records import (
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Manifest,
    Search,
    Trial,
    TrialResult,
    UsageRow,
    add_usage,
)
from dream.settings import Settings
from dream.storage import Storage
from dream.tables import tracebacks
from dream.tracking.child import TrackingProcess
from dream.tracking.tracker import Tracker

if TYPE_CHECKING:
    from dream.experiments.spec import PreparedExperiment

# Seconds of failed writes to storage after which the experiment ends with an error.
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 2.0
WORKER_LOST = Failure(
    FailureKind.SERVICE, "the trial ended without reporting a result; its worker may have been killed"
)
logger = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Records an experiment, in the driver. Secrets of the settings never reach storage, MLflow or the log.

    Args:
        finished: results of trials that need not run; `partial`: finished questions of other trials, both by trial id.
        usage_before: the usage of earlier runs.
        tracking: writes to MLflow, by default a new process.
    """

    manifest: Manifest
    prepared: "PreparedExperiment"
    storage: Storage
    settings: Settings
    show: Show
    finished: Mapping[str, TrialResult] = field(default_factory=dict)
    partial: Mapping[str, Evaluation] = field(default_factory=dict)
    usage_before: Sequence[UsageRow] = ()
    tracking: TrackingProcess | None = None

    def __post_init__(self) -> None:
        self.name = self.manifest.name
        self._secrets = self.settings.secrets()
        self._results = dict(self.finished)
        self._usage = add_usage(self.usage_before)
        self._reporter = reporter_for(self.show)
        self.progress = TrialsProgress(self._reporter, self.prepared, self.finished, self.partial, self.manifest.plan)
        self._stops = StopRequests(self.storage, self.name)
        self._trials = {trial.id: trial for trial in self.prepared.everything}
        done = self.progress.questions_done
        before = f", {done} answers are in storage already" if done else ""
        n_trials, n_questions = self.manifest.n_trials, len(self.prepared.questions)
        self._reporter.line(f"{self.name}: {n_trials} trials x {n_questions} questions{before}")
        for line in self.prepared.notes:
            self._reporter.line(f"  {line}")
        self._tracker: Tracker | None = None
        self.held_out: tuple[TrialResult, ...] = ()

    def take(self, messages: Sequence[Message]) -> None:
        """Store messages of trials. Blocks of a trial that already has a complete result are part of that result."""
        if not all(isinstance(message, TrialStarted) for message in messages):
            self._tracking()  # not earlier: on few CPUs, its process would delay the first trials
            self.read_meter()
        whole = {
            message.result.trial.id
            for message in messages
            if isinstance(message, TrialFinished) and message.result.failure is None
        }
        for message in messages:
            if isinstance(message, TrialFinished):
                self._trial(message.result)
            elif isinstance(message, TrialStarted):
                self.progress.start_trial(message.trial_id)
            elif isinstance(message, TrialStopped):
                reason = f"stopped by hand after {self.progress.done_of(message.trial_id)}"
                stopped = Failure(FailureKind.STOPPED, reason)
                self._trial(TrialResult(self._trials[message.trial_id], failure=stopped))
            elif message.trial_id not in whole:
                self._block(message.trial_id, message.block)
            else:
                self.progress.add_block(message.trial_id, message.block)
        self.progress.show(self._usage)
        self._tell_gateway()

    def to_stop(self) -> Collection[str]:
        """The ids of the running trials that a user has asked to stop."""
        wanted = self._stops.trial_ids() & self._trials.keys() - self._results.keys()
        self.progress.stopping(wanted)
        return wanted

    def save_manifest(self, manifest: Manifest) -> None:
        """Store an updated manifest, for instance with the decision of a look."""
        self.manifest = manifest
        self.patiently(lambda: store.save_manifest(self.storage, self.name, manifest))

    def has_ended(self, trial_id: str) -> bool:
        """True if a trial or a baseline has a result, which may be a failure."""
        return trial_id in self._results

    def lost(self, failures: Mapping[str, Failure]) -> None:
        """Record trials that ended without reporting a result, e.g. because their worker was killed."""
        for trial in self.prepared.everything:
            if trial.id not in self._results:
                self.read_meter()
                self._trial(TrialResult(trial, failure=failures.get(trial.id, WORKER_LOST)))
        self._tell_gateway()

    def say(self, line: str) -> None:
        """Show a line of the experiment."""
        self._reporter.line(f"  {line}")

    def so_far(self) -> ExperimentResult:
        """The experiment with the trials that have a result."""
        results = tuple(self._results[each.id] for each in self.prepared.trials if each.id in self._results)
        return ExperimentResult(self.name, self.manifest, results, self._usage)

    def extend(self, trials: Sequence[Trial], search: Search) -> None:
        """Add trials that a search has chosen to the manifest."""
        self.prepared = replace(self.prepared, trials=(*self.prepared.trials, *trials), search=search)
        self.manifest = replace(self.manifest, trials=self.prepared.trials, search=search)
        self.patiently(lambda: store.save_manifest(self.storage, self.name, self.manifest))
        self._trials.update({trial.id: trial for trial in trials})
        self.progress.extend(trials)

    def add_usage(self, usage: Sequence[UsageRow]) -> None:
        """Count the usage of reused results."""
        self.usage_before = add_usage(self.usage_before, usage)

    @property
    def outcome(self) -> ExperimentResult:
        """The experiment when all its trials have ended."""
        prepared = self.prepared
        results, baselines = (
            tuple(self._results[trial.id] for trial in trials) for trials in (prepared.trials, prepared.baselines)
        )
        return ExperimentResult(self.name, self.manifest, results, self._usage, baselines, self.held_out)

    def finish(self) -> ExperimentResult:
        """Finish the experiment, and return it; it is in storage, and in MLflow if that can be reached."""
        outcome = self.outcome
        self.patiently(lambda: store.save_table(self.storage, outcome))
        if self.manifest.plan:
            table = plan_against_actual(self.manifest.plan, self._usage)
            self._reporter.line(f"\nplanned and actual model calls:\n{calls_text(table)}")
        self._tracking().finish(outcome)
        for reason in outcome.reasons_to_stop:
            self._reporter.line(f"  {reason.partition(': ')[2]}: dream run --resume {self.name}")
        return outcome

    def _block(self, trial_id: str, block: Evaluation) -> None:
        block = block.redacted(self._secrets)
        self.patiently(lambda: store.save_block(self.storage, self.name, trial_id, block))
        self.progress.add_block(trial_id, block)

    def _trial(self, result: TrialResult) -> None:
        if result.trial.id in self._results:
            return
        usage = tuple(row for row in self._usage if row.trial == result.trial.id)
        result = replace(result, usage=usage).redacted(self._secrets)
        self._results[result.trial.id] = result
        self.patiently(lambda: store.save_result(self.storage, self.name, result))
        if result.failure is None:
            self.patiently(lambda: store.delete_blocks(self.storage, self.name, result.trial.id))
        if (text := tracebacks(result)) and not result.was_stopped:
            logger.warning("%s of %s:\n%s", result.trial.name, self.name, text)
        state = f"FAILED: {result.error}" if result.failure else f"done in {result.seconds:.1f} s"
        state = "not finished" if result.was_stopped else state  # the reason is shown once, at the end
        state = result.error or "" if result.ended_early else state
        state = f"reused from {result.taken_from}" if result.taken_from else state
        self.progress.end_trial(result)
        name = self.progress.name_of(result.trial.id)
        if result.trial.is_baseline:
            self._reporter.line(f"  {name}: {state}")
            return
        self._tracking().log_trial(result)
        ended = f"{self.progress.trials_done} of {self.manifest.n_trials}"
        self._reporter.line(f"  trial {ended}: {name}: {state}")

    def _tracking(self) -> Tracker:
        if self._tracker is None:
            self._tracker = Tracker(self.settings, self.manifest, self._reporter, self.tracking)
        return self._tracker

    def read_meter(self) -> None:
        """Read the total usage of all runs, and store it, so that the budget still applies after a killed driver."""
        with contextlib.suppress(ServiceError):  # a lost gateway ends the trials, with a better message
            self._usage = add_usage(self.usage_before, own_stage(gateway_client.current_gateway().usage()))
        self.patiently(lambda: store.save_usage(self.storage, self.name, self._usage))

    def _tell_gateway(self) -> None:
        """Report the progress of the experiment to the gateway, for its metrics."""
        with contextlib.suppress(ServiceError):
            gateway_client.current_gateway().note_progress(self.progress.of_experiment(self.name))

    def patiently(self, write: Callable[[], None]) -> None:
        """Call `write`, and retry while storage cannot be reached; meanwhile messages stay in the inbox."""
        retrying = Retrying(
            retry=retry_if_exception_type(StorageError),
            stop=stop_after_delay(PATIENCE_SECONDS),
            wait=wait_fixed(RETRY_SECONDS),
            before_sleep=self._say_that_storage_is_away,
            reraise=True,
        )
        retrying(write)

    def _say_that_storage_is_away(self, state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            error = state.outcome.exception()
            self._reporter.line(f"  cannot write to storage, retrying for up to {PATIENCE_SECONDS:.0f} s: {error}")
