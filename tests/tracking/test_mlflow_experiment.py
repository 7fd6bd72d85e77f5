"""A deleted MLflow experiment is told with the remedy, before anything is paid for; a name of one's own is used."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dream.errors import ConfigurationError
from dream.experiments.run import run_experiment
from dream.settings import Settings
from dream.tracking.mlflow_experiment import check_not_deleted
from dream.tracking.mlflow_runs import mlflow_client
from dream.tracking.tracker import check_mlflow


@pytest.fixture
def deleted(home_with_mlflow: Settings) -> Settings:
    """Settings whose MLflow experiment was deleted, in a database as MLflow writes it."""
    client = mlflow_client(home_with_mlflow)
    client.delete_experiment(client.create_experiment("dream"))
    return home_with_mlflow


@pytest.mark.whole
def test_a_deleted_experiment_is_told_with_the_remedy_before_a_run(deleted: Settings):
    for check in (check_not_deleted, check_mlflow, lambda settings: run_experiment(settings=settings, show=None)):
        with pytest.raises(ConfigurationError) as caught:
            check(deleted)
        for part in (
            "'dream'",
            "is deleted",
            "mlflow experiments restore --experiment-id 1",
            "MLFLOW_EXPERIMENT_NAME=",
        ):
            assert part in str(caught.value)
    client = mlflow_client(deleted)
    client.restore_experiment("1")
    check_not_deleted(deleted)
    check_mlflow(deleted)


@pytest.mark.whole
def test_another_name_is_used_instead(deleted: Settings):
    from dataclasses import replace

    check_not_deleted(replace(deleted, mlflow_experiment="another"))
    assert Settings.from_environment({"MLFLOW_EXPERIMENT_NAME": "another"}).mlflow_experiment == "another"


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server that answers as MLflow does, whatever its experiment's stage and body are set to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.endswith("/api/2.0/mlflow/experiments/get-by-name?experiment_name=dream")
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(self.server.body)  # pyright: ignore[reportAttributeAccessIssue]

        def log_message(self, format: str, *args: object) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}', True),
        (b'{"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}}', False),
        (b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', False),
        (b"<html>a proxy</html>", False),
        (b"[]", False),
    ],
)
def test_a_server_is_asked(server: HTTPServer, body: bytes, refused: bool, tmp_path: Path):
    server.body = body  # pyright: ignore[reportAttributeAccessIssue]
    url = f"http://127.0.0.1:{server.server_port}"
    settings = Settings.from_environment({"DREAM_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": url})
    if refused:
        with pytest.raises(ConfigurationError, match="--experiment-id 7"):
            check_not_deleted(settings)
    else:
        check_not_deleted(settings)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////nowhere/at/all.db", "file:///nowhere"])
def test_where_it_cannot_be_learned_the_runs_are_tried(uri: str, tmp_path: Path):
    check_not_deleted(Settings.from_environment({"DREAM_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri}))


def test_a_database_of_something_else_is_no_reason_to_stop(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("not a database")
    check_not_deleted(Settings.from_environment({"DREAM_HOME": str(tmp_path)}))
