"""The process that writes to MLflow serves one experiment after another."""

import os
import signal
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Manifest, Trial, TrialResult
from dream.settings import Settings
from dream.tracking import child as module
from dream.tracking.child import TrackingProcess
from dream.tracking.process import Begin, End

pytestmark = pytest.mark.whole

TRIAL = Trial("chunks_with_overlap", "llm@x", "embed@x", {})
QUESTIONS = (GoldenQuestion("q0", "Where is it?", "Here."),)


@pytest.fixture
def settings(home_with_mlflow: Settings) -> Settings:
    return home_with_mlflow


def logged(process: TrackingProcess, settings: Settings, name: str, **environment: str) -> list[str | None]:
    """Log an experiment of one trial; returns the lines to show."""
    manifest = Manifest(name, GoldenDataset(QUESTIONS), ("faithfulness",), (TRIAL,))
    process.send(Begin(settings, manifest, {**os.environ, **environment}, os.getcwd()))
    process.send(End(ExperimentResult(name, manifest, (TrialResult(TRIAL),))))
    return [reply.line for reply in process.replies() if reply.line]


def pid_of(process: TrackingProcess) -> int:
    process.start()
    assert process._child
    return process._child.popen.pid


class Refusing(BaseHTTPRequestHandler):
    """An MLflow that refuses everyone, and keeps who they said they were."""

    users: ClassVar[set[str | None]] = set()

    def do_GET(self) -> None:
        self.users.add(self.headers["Authorization"])
        self.send_error(403)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    """Its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_one_process_serves_experiments_each_with_its_own_environment(settings: Settings, refusing: str):
    with TrackingProcess() as first:
        pid = pid_of(first)
        assert logged(first, settings, "first") == []
    with TrackingProcess() as second:
        assert pid_of(second) == pid
        user = {"MLFLOW_TRACKING_USERNAME": "somebody", "MLFLOW_TRACKING_PASSWORD": "secret"}
        lines = logged(second, replace(settings, mlflow_tracking_uri=refusing), "second", **user)
        assert lines
        assert all(f"MLflow at {refusing} did not accept the results" in (line or "") for line in lines)
        assert Refusing.users == {"Basic " + b64encode(b"somebody:secret").decode()}
    with TrackingProcess() as third:
        assert pid_of(third) == pid
        assert logged(third, settings, "third") == []


def test_a_process_that_was_killed_meanwhile_is_replaced(settings: Settings):
    with TrackingProcess() as first:
        pid = pid_of(first)
        assert logged(first, settings, "before") == []
    (idle,) = (each for each in module._idle if each.popen.pid == pid)
    os.kill(pid, signal.SIGKILL)
    idle.popen.wait()
    with TrackingProcess() as second:
        assert pid_of(second) != pid
        assert logged(second, settings, "after") == []


def test_an_idle_process_ends_by_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    with TrackingProcess() as first:
        first.start()
        popen = first._child.popen if first._child else None
    assert popen
    assert popen.wait(30) == 0


def test_the_process_of_an_experiment_that_was_given_up_logs_what_it_was_sent_and_ends(settings: Settings):
    with TrackingProcess() as first:
        pid = pid_of(first)
        child = first._child
        manifest = Manifest("given up", GoldenDataset(QUESTIONS), ("faithfulness",), (TRIAL,))
        first.send(Begin(settings, manifest, dict(os.environ), os.getcwd()))
    assert child
    assert child.popen.wait(60) == 0
    with TrackingProcess() as second:
        assert pid_of(second) != pid
