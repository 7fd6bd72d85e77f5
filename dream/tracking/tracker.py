"""Logging of an experiment to MLflow while it runs (`Tracker`), or afterwards (`track`).

Logging twice changes nothing. If MLflow is unreachable, the experiment continues: its results are in storage, and
`track` logs them later. A slow MLflow does not delay the experiment, because a separate process logs the trials.
"""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dream.errors import ServiceError
from dream.progress import Show, reporter_for
from dream.records import ExperimentResult, Manifest, TrialResult
from dream.runtime.libraries import import_meanwhile, wait_for_imports
from dream.settings import Settings, safe_uri
from dream.tracking.child import TrackingProcess
from dream.tracking.mlflow_experiment import DELETED, deleted
from dream.tracking.mlflow_traces import questions_traced
from dream.tracking.process import Begin, End, Request, safe_text

if TYPE_CHECKING:
    from dream.comparison.human_agreement import Label

# the seconds after which the end of an experiment shows a message
SILENT_SECONDS = 3.0
# What the report needs and trials do not: two seconds of CPU.
REPORT_MODULES = ("dream.tracking.mlflow_artifacts", "dream.reporting.warm_up")


class Tracker:
    """Logs one experiment while it runs, in a process of its own. After the first failure that logs nothing until
    `finish`, which tries again."""

    def __init__(
        self, settings: Settings, manifest: Manifest, show: Show, process: TrackingProcess | None = None
    ) -> None:
        self._settings, self._manifest = settings, manifest
        self._reporter = reporter_for(show)
        self._is_up, self._has_new = True, False
        self._process = process or TrackingProcess()
        self._process.start()
        self._relay = threading.Thread(target=self._show_replies, name="dream-mlflow", daemon=True)
        self._relay.start()
        self._send(Begin(settings, manifest, dict(os.environ), os.getcwd()))
        self._say_what_is_traced()

    def log_trial(self, result: TrialResult) -> None:
        """Queue a finished trial for logging."""
        if not self._has_new:
            import_meanwhile(REPORT_MODULES)
        self._has_new = True
        self._send(result)

    def finish(self, experiment: ExperimentResult) -> None:
        """Log the missing trials and close the parent run; if that fails, show the location of the results.

        Report and figures are made here, while the process logs the last trials.
        """
        line = "  all trials are in storage; waiting for MLflow to accept the last ones"
        waiting = threading.Timer(SILENT_SECONDS, self._reporter.line, [line])
        waiting.daemon = True
        waiting.start()
        try:
            self._send(End(experiment, self._files(experiment)))
            self._relay.join()
        finally:
            waiting.cancel()
        if (code := self._process.done()) is not None:
            self._is_up = False
            self._reporter.line(f"  the process that writes to MLflow ended (exit code {code})")
        if not self._is_up:
            self._reporter.line(f"  results are safe in storage; when MLflow is back: dream track {experiment.name}")

    def _files(self, experiment: ExperimentResult) -> "dict[str, str | bytes] | None":
        """The artifacts of the parent run; None if it may already have them, or MLflow does not answer."""
        if not (self._has_new and self._is_up):
            return None
        wait_for_imports()
        from dream.tracking.mlflow_artifacts import files_of  # statistics and figures, which the trials do not need

        return files_of(experiment, self._settings)

    def _send(self, request: Request) -> None:
        try:
            self._process.send(request)
        except OSError:
            self._is_up = False  # the process is gone, which `finish` tells

    def _show_replies(self) -> None:
        for reply in self._process.replies():
            self._is_up = reply.is_up
            if reply.line is not None:
                self._reporter.line(reply.line)

    def _say_what_is_traced(self) -> None:
        n_trials, n = self._manifest.n_trials, len(self._manifest.questions)
        traced = questions_traced(self._settings.mlflow_traces, n_trials, n)
        if traced < n:
            self._reporter.line(
                f"  MLflow gets traces of {traced} of {n} questions per trial (DREAM_MLFLOW_TRACES=all for all)"
            )


def track(experiment: ExperimentResult, settings: Settings | None = None, labels: "Sequence[Label]" = ()) -> str:
    """Log an experiment to MLflow, or the missing and changed parts of it; returns the parent run's id.

    Args:
        labels: human labels of some answers (`dream.comparison.read_labels`), for means that they correct.

    Raises:
        ServiceError: if MLflow does not answer.
    """
    from dream.tracking.mlflow_runs import RunLog

    settings = settings or Settings.from_environment()
    check_mlflow(settings)
    return RunLog(settings, experiment.manifest, labels).finish(experiment)


def check_mlflow(settings: Settings) -> None:
    """Raise a ServiceError if the tracking store cannot be used, a ConfigurationError if the experiment is deleted."""
    from dream.tracking.mlflow_runs import mlflow_client

    try:
        experiment = mlflow_client(settings).get_experiment_by_name(settings.mlflow_experiment)
    except Exception as error:
        uri = safe_uri(settings.mlflow_tracking_uri)
        remedy = "start it, or correct MLFLOW_TRACKING_URI"
        raise ServiceError(f"MLflow at {uri} does not answer ({safe_text(error, settings)[:500]}): {remedy}") from error
    if experiment is not None and experiment.lifecycle_stage == DELETED:
        raise deleted(settings, experiment.experiment_id)
