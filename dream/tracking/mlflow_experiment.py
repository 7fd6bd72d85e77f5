"""The MLflow experiment that holds all runs. MLflow keeps the name of a deleted one, so that no run can be logged."""

import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx

from dream.errors import ConfigurationError
from dream.settings import Settings, safe_uri

DELETED = "deleted"
ASK_SECONDS = 3.0


def check_not_deleted(settings: Settings) -> None:
    """Refuse to start if the MLflow experiment is deleted. This is checked without importing MLflow, which takes
    seconds; if the check is impossible, nothing is refused.

    Raises:
        ConfigurationError: with the commands that solve the problem.
    """
    uri = settings.mlflow_tracking_uri
    if uri.startswith("sqlite:///"):
        experiment = _in_sqlite(Path(uri.removeprefix("sqlite:///")), settings.mlflow_experiment)
    elif uri.startswith(("http://", "https://")):
        experiment = _at_server(uri, settings.mlflow_experiment)
    else:
        experiment = None
    if experiment is not None and experiment[1] == DELETED:
        raise deleted(settings, experiment[0])


def deleted(settings: Settings, experiment_id: str) -> ConfigurationError:
    """The error about a deleted MLflow experiment."""
    uri = safe_uri(settings.mlflow_tracking_uri)
    return ConfigurationError(
        f"the MLflow experiment {settings.mlflow_experiment!r} at {uri} is deleted, so no run can be logged. Restore "
        f"it: MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {experiment_id} (or in MLflow's "
        "UI); or log to another one: MLFLOW_EXPERIMENT_NAME=another-name"
    )


def _in_sqlite(path: Path, name: str) -> tuple[str, str] | None:
    """The id and the lifecycle stage of an experiment in a database; None where there is none."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=ASK_SECONDS)) as database:
            query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
            row = database.execute(query, (name,)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else (str(row[0]), str(row[1]))


def _at_server(uri: str, name: str) -> tuple[str, str] | None:
    """The same of an MLflow server; None where it does not say."""
    try:
        answer = httpx.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": name},
            headers=_credentials(),
            timeout=ASK_SECONDS,
        )
        experiment = answer.json()["experiment"]
        return str(experiment["experiment_id"]), str(experiment["lifecycle_stage"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None


def _credentials() -> dict[str, str]:
    """The header with what MLflow's own variables hold."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"authorization": f"Bearer {token}"} if token else {}
