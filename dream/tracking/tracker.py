"""Logging of an experiment to MLflow while it runs (`Tracker`), or afterwards (`track`).

Logging is idempotent. If MLflow is unreachable, the experiment continues: its results are in storage, and `track` logs
them later. A slow MLflow does not delay the experiment, because a separate thread logs the trials.
"""

import queue
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from dream.errors import ServiceError
from dream.progress import Show, reporter_for
from dream.records import ExperimentResult, Manifest, TrialResult
from dream.settings import Settings, safe_uri
from dream.tracking.mlflow_runs import RunLog, mlflow_client
from dream.tracking.mlflow_traces import questions_traced

# the seconds that the end of an experiment waits for MLflow before it shows a message
SILENT_SECONDS = 3.0
# the pause after each batch of traces, as a multiple of its duration: Ray Tune needs the CPU of this process too
REST = 1.0


class Tracker:
    """Logs one experiment while it runs. After the first failure it logs nothing until `finish`, which tries again."""

    def __init__(self, settings: Settings, manifest: Manifest, show: Show) -> None:
        self._settings, self._manifest = settings, manifest
        self._reporter = reporter_for(show)
        self._up = True
        self._log: RunLog | None = None
        self._over = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="dream-mlflow", daemon=True)
        self._worker.start()
        self._jobs.put(lambda: self._run_log().open())
        self._say_what_is_traced()

    def log_trial(self, result: TrialResult) -> None:
        """Log a finished trial in the background."""
        self._jobs.put(lambda: self._run_log().trial(result))

    def finish(self, experiment: ExperimentResult) -> None:
        """Log the remaining trials and end the parent run; if that fails, show how to log the results later."""
        self._over.set()
        self._jobs.put(None)
        self._worker.join(SILENT_SECONDS)
        if self._worker.is_alive():
            self._reporter.line("  all trials are in storage; waiting for MLflow to accept the last ones")
            self._worker.join()
        self._up = True
        self._try(lambda: self._run_log().finish(experiment))
        if not self._up:
            self._reporter.line(f"  results are safe in storage; when MLflow is back: dream track {experiment.name}")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._up:
                self._try(job)

    def _run_log(self) -> RunLog:
        """The log of this experiment, created on first use."""
        if self._log is None:
            self._log = RunLog(self._settings, self._manifest, lambda took: self._over.wait(REST * took))
        return self._log

    def _try(self, log: Callable[[], object]) -> None:
        try:
            log()
        except Exception as error:  # noqa: BLE001 - MLflow must not stop an experiment; the user is told
            self._up = False
            reason, uri = _safe_text(error, self._settings)[:200], safe_uri(self._settings.mlflow_tracking_uri)
            self._reporter.line(f"  MLflow at {uri} did not accept the results: {reason}")

    def _say_what_is_traced(self) -> None:
        n_trials, n = len(self._manifest.trials), len(self._manifest.questions)
        traced = questions_traced(self._settings.mlflow_traces, n_trials, n)
        if traced < n:
            self._reporter.line(
                f"  MLflow gets traces of {traced} of {n} questions per trial (DREAM_MLFLOW_TRACES=all for all)"
            )


def track(experiment: ExperimentResult, settings: Settings | None = None) -> str:
    """Log an experiment to MLflow, or the missing and changed parts of it; returns the parent run's id.

    Raises:
        ServiceError: if MLflow does not answer.
    """
    settings = settings or Settings.from_environment()
    check_mlflow(settings)
    return RunLog(settings, experiment.manifest).finish(experiment)


def check_mlflow(settings: Settings) -> None:
    """Raise a ServiceError with the remedy if MLflow's tracking store cannot be used."""
    try:
        mlflow_client(settings).search_experiments(max_results=1)
    except Exception as error:
        uri = safe_uri(settings.mlflow_tracking_uri)
        remedy = "start it, or correct MLFLOW_TRACKING_URI"
        raise ServiceError(
            f"MLflow at {uri} does not answer ({_safe_text(error, settings)[:500]}): {remedy}"
        ) from error


def _safe_text(error: Exception, settings: Settings) -> str:
    """An exception in one line, without the user and password of the tracking URI, which MLflow quotes in messages."""
    user_and_password, at, _ = urlsplit(settings.mlflow_tracking_uri).netloc.rpartition("@")
    text = " ".join(str(error).split())
    return text.replace(user_and_password + at, "") if at else text
