"""What tests of an MLflow server share."""

from dataclasses import replace

import pytest
from lab import MlflowServer

from dream.settings import Settings


@pytest.fixture
def settings(home: Settings, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a user of the server; however busy this machine is, a wait for it is not told."""
    monkeypatch.setattr("dream.tracking.tracker.SILENT_SECONDS", 60)
    return replace(home, mlflow_tracking_uri=mlflow_server.url)
