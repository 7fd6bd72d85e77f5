"""Keeps what trials send, at once: in storage, in MLflow, and as lines of progress.

Trials know only a mailbox, a Ray actor; the process that started the experiment empties it. So workers need no access
to storage or MLflow, and what they have finished is safe when they, the driver or the budget end.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dream.errors import ServiceError, StorageError
from dream.evaluation.evaluate import joined
from dream.experiments import store
from dream.models import gateway_client
from dream.models.planned_usage import plan_against_actual
from dream.models.usage import add_usage
from dream.records import Evaluation, ExperimentResult, TrialResult
from dream.settings import Settings
from dream.storage.objects import Storage

if TYPE_CHECKING:
    from dream.experiments.spec import Work
    from dream.tracking.tracker import Tracker

POLL_SECONDS = 0.5
# how long storage may be away before the experiment is given up
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 2.0


class Mailbox:
    """A Ray actor between trials and the driver; `collect` waits briefly, so that polling is cheap.

    It also remembers the finished questions of each trial, so that one whose worker died goes on where it was.
    """

    def __init__(self, known: Mapping[str, Evaluation]) -> None:
        self._known = {trial_id: [evaluation] for trial_id, evaluation in known.items()}
        self._letters: list[tuple[str, Any]] = []
        self._arrived = asyncio.Event()

    async def known(self, trial_id: str) -> Evaluation:
        """The questions of a trial that are finished."""
        return joined(self._known.get(trial_id, []))

    async def block(self, trial_id: str, block: Evaluation) -> None:
        """Take some finished questions of a trial."""
        self._known.setdefault(trial_id, []).append(block)
        self._put("block", (trial_id, block))

    async def trial(self, result: TrialResult) -> None:
        """Take the result of a trial."""
        self._known.pop(result.trial.id, None)
        self._put("trial", result)

    async def note(self, line: str) -> None:
        """Take a line of progress."""
        self._put("note", line)

    async def collect(self) -> list[tuple[str, Any]]:
        """What has come since the last time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), POLL_SECONDS)
        self._arrived.clear()
        letters, self._letters = self._letters, []
        return letters

    def _put(self, kind: str, content: Any) -> None:
        self._letters.append((kind, content))
        self._arrived.set()


@dataclass
class Recorder:
    """The driver's side. `known` holds the results that need no run; `partly` the finished questions of others."""

    name: str
    manifest: Mapping[str, Any]
    work: "Work"
    storage: Storage
    settings: Settings
    show: Callable[[str], None]
    known: Mapping[str, TrialResult] = field(default_factory=dict)
    partly: Mapping[str, Evaluation] = field(default_factory=dict)
    usage_before: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        self._results = dict(self.known)
        self._questions = {trial_id: len(part.answers) for trial_id, part in self.partly.items()}
        self._planned = {trial.id: len(self.work.questions_of(trial)) for trial in self.work.everything}
        self._questions |= {trial_id: self._planned[trial_id] for trial_id in self.known}
        self._usage = add_usage(self.usage_before)
        self._started = time.monotonic()
        self._tracker: Tracker | None = None
        self._shown = sum(self._questions.values())
        done = f", {self._shown} answers are there already" if self._shown else ""
        self.show(f"{self.name}: {len(self.work.trials)} trials x {len(self.work.questions)} questions{done}")
        for line in self.work.notes:
            self.show(f"  {line}")

    def take(self, letters: Sequence[tuple[str, Any]]) -> None:
        """Keep what trials sent. MLflow is told from the first of it on: it would slow down the start of trials."""
        if letters:
            self._tracking()
        for kind, content in letters:
            if kind == "block":
                self._block(*content)
            elif kind == "trial":
                self._trial(content)
            else:
                self.show(f"  {content}")
        if any(kind == "block" for kind, _ in letters):
            self._read_meter()

    def lost(self, errors: Mapping[str, str]) -> None:
        """Record trials that ended without a word, such as those of a killed worker."""
        for trial in self.work.everything:
            if trial.id not in self._results:
                reason = errors.get(trial.id, "the trial ended without a result; its worker may have been killed")
                self._trial(TrialResult(trial, error=reason))

    def finish(self) -> ExperimentResult:
        """The whole experiment; in storage, and in MLflow if it answers."""
        found, baselines = (
            tuple(self._results[trial.id] for trial in some) for some in (self.work.trials, self.work.baselines)
        )
        outcome = ExperimentResult(self.name, self.manifest, found, tuple(self._usage), baselines)
        self._patiently(lambda: store.save_table(self.storage, outcome))
        if "plan" in self.manifest:
            table = plan_against_actual(self.manifest["plan"], self._usage)
            self.show(f"\nplanned and actual model calls:\n{table.to_string(index=False)}")
        self._tracking().finish(outcome)
        if outcome.stopped:
            self.show(f"  {outcome.stopped.partition(': ')[2]}: dream run --resume {self.name}")
        return outcome

    def _block(self, trial_id: str, block: Evaluation) -> None:
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
        of_trial = tuple(row for row in self._usage if row["trial"] == result.trial.id)
        result = replace(result, usage=of_trial)
        self._results[result.trial.id] = result
        self._patiently(lambda: store.save_result(self.storage, self.name, result))
        if result.error is None:
            self._patiently(lambda: store.delete_blocks(self.storage, self.name, result.trial.id))
        state = f"FAILED: {result.error}" if result.error else f"done in {result.seconds:.1f} s"
        if result.trial.is_baseline:
            self.show(f"  baseline: {result.trial.name}: {state}")
            return
        self._tracking().log_trial(result)
        done = sum(trial.id in self._results for trial in self.work.trials)
        self.show(f"  trial {done} of {len(self.work.trials)}: {result.trial.name}: {state}")

    def _tracking(self) -> "Tracker":
        if self._tracker is None:
            from dream.tracking.tracker import Tracker  # it brings the statistics, which no worker needs

            self._tracker = Tracker(self.settings, self.manifest, self.show)
        return self._tracker

    def _read_meter(self) -> None:
        """What all runs together have used; in storage too, so that a budget outlives a killed driver."""
        with contextlib.suppress(ServiceError):  # a lost gateway ends the trials, with a better message
            self._usage = add_usage(self.usage_before, gateway_client.current_gateway().usage())
        self._patiently(lambda: store.save_usage(self.storage, self.name, self._usage))

    def _patiently(self, write: Callable[[], None]) -> None:
        """Storage may be away for a while: nothing is lost meanwhile, it waits in the mailbox."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        told = False
        while True:
            try:
                return write()
            except StorageError as error:
                if time.monotonic() > give_up:
                    raise
                if not told:
                    self.show(f"  storage cannot be written, trying on for {PATIENCE_SECONDS:.0f} s: {error}")
                told = True
                time.sleep(RETRY_SECONDS)


@contextlib.contextmanager
def collecting(mailbox: Any, recorder: Recorder) -> Iterator[None]:
    """Empty the mailbox in a thread while trials run; what went wrong there is raised at the end."""
    import ray

    stop = threading.Event()
    problems: list[BaseException] = []

    def deliver() -> int:
        letters = ray.get(mailbox.collect.remote())
        recorder.take(letters)
        return len(letters)

    def collect() -> None:
        while not stop.is_set():
            try:
                deliver()
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                problems.append(error)
                return

    collector = threading.Thread(target=collect, name="dream-collector", daemon=True)
    collector.start()
    try:
        yield
    finally:
        stop.set()
        collector.join()
    if problems:
        raise problems[0]
    while deliver():
        pass
