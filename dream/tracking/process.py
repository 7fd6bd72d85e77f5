"""The process that writes to MLflow while an experiment runs, so that MLflow takes neither time nor memory from the
trials.

`TrackingProcess` starts it and sends it pickled requests over its standard input, one experiment after another; it
answers with pickled lines to show. It ends with its input, so that it cannot outlive a driver that was killed.
"""

import contextlib
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dream.records import ExperimentResult, Manifest, TrialResult
from dream.settings import Settings, safe_uri

if TYPE_CHECKING:
    from dream.tracking.mlflow_runs import RunLog

# The trials come first on a machine with few CPUs.
NICENESS = 10


@dataclass(frozen=True)
class Begin:
    """Log an experiment; the first request of each. `environment` and `folder` are the driver's."""

    settings: Settings
    manifest: Manifest
    environment: Mapping[str, str] = field(repr=False)
    folder: str


@dataclass(frozen=True)
class Reply:
    """A line to show; None when a request is done. `is_up` is False once MLflow has failed, `is_last` is True after the
    whole experiment."""

    line: str | None
    is_up: bool = True
    is_last: bool = False


@dataclass(frozen=True)
class End:
    """Log the whole experiment; the last request of each. `files` are the artifacts of its parent run, if the driver
    has made them (`mlflow_artifacts.files_of`)."""

    experiment: ExperimentResult
    files: Mapping[str, str | bytes] | None = None


Request = Begin | TrialResult | End


class Log:
    """Writes received results. After the first failure, it writes nothing until the final request, when it tries
    again."""

    def __init__(self, reply: Callable[[Reply], None]) -> None:
        self._reply, self._is_up = reply, True
        self._begin: Begin | None = None
        self._runs: RunLog | None = None

    def take(self, request: Request) -> None:
        """Execute a request."""
        if isinstance(request, Begin):
            self._begin, self._runs, self._is_up = request, None, True
            os.environ.clear()
            os.environ.update(request.environment)
            with contextlib.suppress(OSError):  # of a folder that is gone
                os.chdir(request.folder)
            self._try(lambda: self._run_log().open())
        elif isinstance(request, TrialResult):
            if self._is_up:
                self._try(lambda: self._run_log().trial(request))
        else:
            self._is_up = True
            self._try(lambda: self._run_log().finish(request.experiment, request.files))
        self._reply(Reply(None, self._is_up, isinstance(request, End)))

    def _run_log(self) -> "RunLog":
        from dream.tracking.mlflow_runs import RunLog  # MLflow and the statistics, which the driver does not need

        assert self._begin is not None
        if self._runs is None:
            self._runs = RunLog(self._begin.settings, self._begin.manifest)
        return self._runs

    def _try(self, log: Callable[[], object]) -> None:
        assert self._begin is not None
        try:
            log()
        except Exception as error:  # noqa: BLE001 - MLflow must not stop an experiment; the user is told
            self._is_up = False
            settings = self._begin.settings
            reason, uri = safe_text(error, settings)[:500], safe_uri(settings.mlflow_tracking_uri)
            self._reply(Reply(f"  MLflow at {uri} did not accept the results: {reason}", False))


def safe_text(error: Exception, settings: Settings) -> str:
    """An error in one line, without the user and password of the URI, which MLflow puts into its messages."""
    user_and_password, at, _ = urlsplit(settings.mlflow_tracking_uri).netloc.rpartition("@")
    text = " ".join(str(error).split())
    return text.replace(user_and_password + at, "") if at else text


def main() -> None:
    """Serve the requests of standard input until it ends. What libraries print goes to standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), name="dream-requests", daemon=True).start()
    _import_ahead()
    log = Log(lambda reply: send(reply, replies))
    with contextlib.suppress(BrokenPipeError):
        while (request := requests.get()) is not None:
            log.take(request)


def _import_ahead() -> None:
    """Import what the first experiment needs before it is there."""
    from dream.runtime.libraries import prepare_libraries

    prepare_libraries()
    import mlflow  # noqa: F401

    from dream.tracking import mlflow_runs  # noqa: F401


def _read(stream: IO[bytes], requests: "queue.SimpleQueue[Request | None]") -> None:
    """Take requests as they come, so that the driver never waits for MLflow; None at the end."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            requests.put(pickle.load(stream))
    requests.put(None)


def send(message: Any, stream: IO[bytes]) -> None:
    """Write a message whole."""
    stream.write(pickle.dumps(message))
    stream.flush()
