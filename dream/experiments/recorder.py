"""Keeps the results of trials as they arrive: in storage, in MLflow, and as lines of progress.

Trials send messages to an inbox, a Ray actor; the process that started the experiment empties it. So whatever they have
finished is safe when a worker, the driver or the budget ends.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dream.errors import ServiceError, StorageError
from dream.experiments import store
from dream.experiments.inbox import BlockFinished, Message
from dream.models import gateway_client
from dream.models.planned_usage import plan_against_actual
from dream.records import Evaluation, ExperimentResult, Failure, FailureKind, Manifest, TrialResult, UsageRow, add_usage
from dream.settings import Settings
from dream.storage import Storage
from dream.tables import tracebacks

if TYPE_CHECKING:
    from dream.experiments.spec import PreparedExperiment
    from dream.tracking.tracker import Tracker

# The experiment ends with an error when storage cannot be written for longer than this.
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 2.0
WORKER_LOST = Failure(
    FailureKind.SERVICE, "the trial ended without reporting a result; its worker may have been killed"
)
logger = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Records an experiment in the driver. `finished` holds the results of trials that need no run, `partial` the
    finished questions of others, both by trial id. No secret of the settings reaches storage, MLflow or the log."""

    manifest: Manifest
    prepared: "PreparedExperiment"
    storage: Storage
    settings: Settings
    show: Callable[[str], None]
    finished: Mapping[str, TrialResult] = field(default_factory=dict)
    partial: Mapping[str, Evaluation] = field(default_factory=dict)
    usage_before: Sequence[UsageRow] = ()

    def __post_init__(self) -> None:
        self.name = self.manifest.name
        self._secrets = self.settings.secrets()
        self._results = dict(self.finished)
        self._questions = {trial_id: len(part.answers) for trial_id, part in self.partial.items()}
        self._planned = {trial.id: len(self.prepared.questions_of(trial)) for trial in self.prepared.everything}
        self._questions |= {trial_id: self._planned[trial_id] for trial_id in self.finished}
        self._usage = add_usage(self.usage_before)
        self._started = time.monotonic()
        self._tracker: Tracker | None = None
        self._shown = sum(self._questions.values())
        done = f", {self._shown} answers are there already" if self._shown else ""
        n_trials, n_questions = len(self.prepared.trials), len(self.prepared.questions)
        self.show(f"{self.name}: {n_trials} trials x {n_questions} questions{done}")
        for line in self.prepared.notes:
            self.show(f"  {line}")

    def take(self, messages: Sequence[Message]) -> None:
        """Keep what trials sent. MLflow starts with the first message; earlier, it would delay the trials."""
        if messages:
            self._tracking()
        for message in messages:
            if isinstance(message, BlockFinished):
                self._block(message.trial_id, message.block)
            else:
                self._trial(message.result)
        if any(isinstance(message, BlockFinished) for message in messages):
            self._read_meter()

    def lost(self, failures: Mapping[str, Failure]) -> None:
        """Record trials that ended without reporting a result, for instance because their worker was killed."""
        for trial in self.prepared.everything:
            if trial.id not in self._results:
                self._trial(TrialResult(trial, failure=failures.get(trial.id, WORKER_LOST)))

    def finish(self) -> ExperimentResult:
        """The whole experiment; in storage, and in MLflow if it answers."""
        prepared = self.prepared
        results, baselines = (
            tuple(self._results[trial.id] for trial in trials) for trials in (prepared.trials, prepared.baselines)
        )
        outcome = ExperimentResult(self.name, self.manifest, results, self._usage, baselines)
        self._patiently(lambda: store.save_table(self.storage, outcome))
        if self.manifest.plan:
            table = plan_against_actual(self.manifest.plan, self._usage)
            self.show(f"\nplanned and actual model calls:\n{table.to_string(index=False)}")
        self._tracking().finish(outcome)
        if outcome.stopped:
            self.show(f"  {outcome.stopped}: dream run --resume {self.name}")
        return outcome

    def _block(self, trial_id: str, block: Evaluation) -> None:
        block = block.redacted(self._secrets)
        self._patiently(lambda: store.save_block(self.storage, self.name, trial_id, block))
        self._questions[trial_id] = min(self._questions.get(trial_id, 0) + len(block.answers), self._planned[trial_id])
        total, done = sum(self._planned.values()), sum(self._questions.values())
        if done * 10 // total > self._shown * 10 // total or done == total > self._shown:
            self._shown = done
            self.show(f"  {done} of {total} questions ({time.monotonic() - self._started:.0f} s)")

    def _trial(self, result: TrialResult) -> None:
        if result.trial.id in self._results:
            return
        self._read_meter()
        usage = tuple(row for row in self._usage if row.trial == result.trial.id)
        result = replace(result, usage=usage).redacted(self._secrets)
        self._results[result.trial.id] = result
        self._patiently(lambda: store.save_result(self.storage, self.name, result))
        if result.failure is None:
            self._patiently(lambda: store.delete_blocks(self.storage, self.name, result.trial.id))
        if text := tracebacks(result):
            logger.warning("%s of %s:\n%s", result.trial.name, self.name, text)
        state = f"FAILED: {result.error}" if result.failure else f"done in {result.seconds:.1f} s"
        if result.trial.is_baseline:
            self.show(f"  baseline: {result.trial.name}: {state}")
            return
        self._tracking().log_trial(result)
        done = sum(trial.id in self._results for trial in self.prepared.trials)
        self.show(f"  trial {done} of {len(self.prepared.trials)}: {result.trial.name}: {state}")

    def _tracking(self) -> "Tracker":
        if self._tracker is None:
            from dream.tracking.tracker import Tracker  # it imports the statistics, which no worker needs

            self._tracker = Tracker(self.settings, self.manifest, self.show)
        return self._tracker

    def _read_meter(self) -> None:
        """Read the usage of all runs together, and write it to storage, so that a budget outlives a killed driver."""
        with contextlib.suppress(ServiceError):  # a lost gateway ends the trials, with a better message
            self._usage = add_usage(self.usage_before, gateway_client.current_gateway().usage())
        self._patiently(lambda: store.save_usage(self.storage, self.name, self._usage))

    def _patiently(self, write: Callable[[], None]) -> None:
        """Write, waiting for storage that cannot be reached; meanwhile messages wait in the inbox."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        told = False
        while True:
            try:
                return write()
            except StorageError as error:
                if time.monotonic() > give_up:
                    raise
                if not told:
                    self.show(f"  cannot write to storage, retrying for up to {PATIENCE_SECONDS:.0f} s: {error}")
                told = True
                time.sleep(RETRY_SECONDS)


@contextlib.contextmanager
def collecting(inbox: Any, recorder: Recorder) -> Iterator[None]:
    """Empty the inbox in a thread while trials run; an error there is raised at the end."""
    import ray

    stop = threading.Event()
    problems: list[BaseException] = []

    def collect() -> int:
        messages = ray.get(inbox.collect.remote())
        recorder.take(messages)
        return len(messages)

    def collect_until_stopped() -> None:
        while not stop.is_set():
            try:
                collect()
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                problems.append(error)
                return

    collector = threading.Thread(target=collect_until_stopped, name="dream-collector", daemon=True)
    collector.start()
    try:
        yield
    finally:
        stop.set()
        collector.join()
    if problems:
        raise problems[0]
    while collect():
        pass
