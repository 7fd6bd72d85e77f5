"""Real servers for the tests: S3 (moto's always, MinIO where its binary is at hand), models, Ray and MLflow."""

import gc
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ray_cluster import RayCluster, end_session, started_cluster
from servers import free_port, running, wait_until_ready

from dream import ray_cluster as cluster
from dream.settings import Settings

# All else is imported by the fixtures: pytest-xdist's first process imports this file too, and then waits.
if TYPE_CHECKING:
    from browser import Tab
    from lab import Lab, MlflowServer, Ran, S3Server
    from llama_index.core import Document, VectorStoreIndex
    from model_servers import ModelServer, Relay

    from dream.models.gateway_client import GatewayClient
    from dream.records import GoldenDataset

REPOSITORY = Path(__file__).resolve().parents[1]

# The services that tests need, by the fixtures that start them. Each becomes a marker of every test that uses one of
# these fixtures, also through another fixture or as a parameter of its name. `make test-fast` leaves them all out.
SERVICES = {
    "ray": {"ray_cluster", "ray_by_itself"},
    "mlflow": {"_starting_mlflow"},
    "s3": {"moto", "minio"},
    "browser": {"chromium"},
    "api_server": {"api", "api_server"},
    "litellm": {"litellm"},
    "whole": {"sample_index", "measured"},
}
# Under pytest-xdist, the tests on a Ray cluster run in one worker, from the start on; those of a folder here share one,
# as do those of any other file. (Of two clusters on two CPUs, the second may not start within Ray's 30 s.)
HEAVY = {"ray"}
TOGETHER = {"k8s", "tracking"}  # manifests that are rendered once, an MLflow server

pytest_plugins = ["as_before", "winners"]
# Seconds of imports are left out, here and in all processes that tests start.
LEFT_OUT = str(Path(__file__).with_name("left_out"))
sys.path.insert(0, LEFT_OUT)
os.environ["PYTHONPATH"] = os.pathsep.join([LEFT_OUT, *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_make_parametrize_id(val: object) -> str | None:
    """Files that tests make hold times and random numbers, and names of tests must be the same in each process."""
    return "bytes" if isinstance(val, bytes) and len(val) > 40 else None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Iterator[None]:
    """Look for examples in modules alone: in 200 files of tests the search takes seconds of each process."""
    collected = yield
    is_of_tests = file_path.name.startswith("test_")
    return [each for each in collected if not (is_of_tests and type(each).__name__ == "DoctestModule")]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare Python's garbage collector what imports and collection make: it stays until the end.

    It would visit a million objects again and again, a tenth of the CPU time of collection.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the services that they need, and group those that share a cluster or expensive fixtures."""
    for item in items:
        named = {*item.fixturenames} | _parameters(item)
        needed = {name for name, fixtures in SERVICES.items() if fixtures & named}
        needed |= {name for name in SERVICES if item.get_closest_marker(name)}  # of a parameter
        for name in needed:
            item.add_marker(name)
        place = item.path.parent.name if item.path.parent.name in TOGETHER else item.path.stem
        item.add_marker(pytest.mark.xdist_group("heavy" if needed & HEAVY else place))
    # first what takes longest; the quick tests fill what time is left
    items.sort(
        key=lambda item: (
            item.get_closest_marker("ray") is None,
            not any(map(item.get_closest_marker, SERVICES)),
            not _is_on_ray(item),
        )
    )


def _parameters(item: pytest.Item) -> set[str]:
    callspec = getattr(item, "callspec", None)
    return {value for value in callspec.params.values() if isinstance(value, str)} if callspec else set()


@pytest.fixture
def ray_by_itself() -> None:
    """For a test whose own program starts a Ray on this machine."""


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator["Tab"]:
    """A page in a headless Chromium."""
    import browser

    if browser.CHROMIUM is None and not browser.MUST_BE_THERE:
        pytest.skip("no Chromium: apt-get install chromium")
    with browser.browser(tmp_path / "chromium") as tab:
        yield tab


@pytest.fixture(scope="session")
def moto() -> "Iterator[S3Server]":
    """An S3 server that takes any keys."""
    from lab import S3Server

    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]) as process:
        server = S3Server(f"http://127.0.0.1:{port}", "moto-key", "moto-secret")
        wait_until_ready(f"{server.url}/moto-api/", process)
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[S3Server]":
    """A MinIO server, which checks keys and signatures as AWS does."""
    from lab import S3Server

    port, key, secret = free_port(), secrets.token_hex(8), secrets.token_hex(16)
    command = [minio_binary(), "server", str(tmp_path_factory.mktemp("minio")), "--address", f"127.0.0.1:{port}"]
    with running(command, {"MINIO_ROOT_USER": key, "MINIO_ROOT_PASSWORD": secret, "MINIO_BROWSER": "off"}) as process:
        server = S3Server(f"http://127.0.0.1:{port}", key, secret)
        wait_until_ready(f"{server.url}/minio/health/ready", process)
        yield server


def minio_binary() -> str:
    places = (os.environ.get("MINIO_BINARY"), REPOSITORY / ".cache/bin/minio", shutil.which("minio"))
    for place in places:
        if place and os.access(place, os.X_OK):
            return str(place)
    reason = "no MinIO server: set MINIO_BINARY to its binary, or put it at .cache/bin/minio or on the PATH"
    if os.environ.get("CI") == "true" and shutil.which("go"):
        pytest.fail(f"{reason}; with Go at hand, .ci/run should have built it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _models() -> "Iterator[ModelServer]":
    from model_servers import KEY, offline_models

    with offline_models(KEY) as server:
        yield server


@pytest.fixture(scope="session")
def _relay(_models: "ModelServer") -> "Iterator[Relay]":
    from model_servers import Relay

    relay = Relay(_models)
    yield relay
    relay.stop()


@pytest.fixture
def model_server(_models: "ModelServer") -> "ModelServer":
    """The offline models at OPENAI_BASE_URL, faultless, their counters at 0."""
    return _models.without_faults()


@pytest.fixture
def relay(_relay: "Relay", model_server: "ModelServer") -> "Iterator[Relay]":
    """The same models at the endpoint `relay`, seen through; no script of a test outlives it."""
    _relay.reset()
    yield _relay
    _relay.reset()


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a `.env` file of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("DREAM_", "OPENAI_", "AWS_", "S3_", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gateway(model_server: "ModelServer", relay: "Relay", no_environment: None) -> "Iterator[GatewayClient]":
    """This process's gateway, open to the models and to the relay; six attempts take a tenth of a second."""
    from model_servers import endpoint_settings

    from dream.models import gateway_client
    from dream.models.gateway import GatewayOptions

    settings = endpoint_settings(model_server, relay)
    with gateway_client.opened(settings) as opened:
        opened.configure(GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002, patience_seconds=20))
        yield opened


@pytest.fixture(scope="session")
def sample_documents() -> "tuple[Document, ...]":
    """The pages of the nine PDFs that the notebooks use."""
    from dream.documents.loading import load_documents
    from dream.storage import open_storage

    folder = str(REPOSITORY / "notebooks/sample_documents")
    return load_documents(open_storage(folder, Settings.from_environment({}))).documents


@pytest.fixture(scope="session")
def sample_index(sample_documents: "tuple[Document, ...]") -> "Callable[[str], VectorStoreIndex]":
    """`sample_index(method)` is the index of a RAG method over the sample PDFs; `gateway` must be open."""

    from dream.indexes.chunkers import build_index
    from dream.indexes.without_vectors import index_without_vectors
    from dream.models.pickers import embed_model_picker
    from dream.rag.methods import find_rag_method

    @cache
    def build(identifier: str) -> "VectorStoreIndex":
        method = find_rag_method(identifier)
        chunking, _ = method.split(method.defaults)
        if not method.needs_vectors:
            return index_without_vectors(sample_documents, method.chunker, chunking)
        return build_index(sample_documents, method.chunker, chunking, embed_model_picker("embed-large"))

    return build


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    with started_cluster(cpus=2) as started:
        yield started
        cluster.disconnect()


@pytest.fixture
def on_ray(ray_cluster: RayCluster) -> cluster.Cluster:
    """This process connected through Ray Client; what runs inside uses it.

    Tests in a row share a connection, so that processes of the cluster that have imported everything are used again.
    """
    return cluster.connect(Settings.from_environment(ray_cluster.environment()))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the connection to Ray before a test that does not ask for one."""
    if not _is_on_ray(item) and cluster.on_ray():
        cluster.disconnect()


def _is_on_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("ray") is not None and ("on_ray" in item.fixturenames or "ray" in _parameters(item))


@pytest.fixture(scope="session")
def _starting_mlflow(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[tuple[MlflowServer, subprocess.Popen]]":
    """It takes half a minute, in which other things can start."""
    from lab import MlflowServer

    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    program = str(Path(sys.executable).with_name("mlflow"))
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        [program, "server", "--workers", "1", "--port", str(port), *places],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield MlflowServer(f"http://127.0.0.1:{port}", folder), process
    finally:
        end_session(process)


@pytest.fixture(scope="session")
def mlflow_server(_starting_mlflow: "tuple[MlflowServer, subprocess.Popen]") -> "MlflowServer":
    """An MLflow server that keeps everything, artifacts too, in one folder."""
    server, process = _starting_mlflow
    wait_until_ready(f"{server.url}/health", process, 90)
    return server


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """The settings of somebody who has set nothing, away from the checkout."""
    return Settings.from_environment({"DREAM_HOME": str(tmp_path)})


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow without runs, to be copied: MLflow takes 2 s of CPU to make one."""
    from dream.tracking.mlflow_runs import mlflow_client

    folder = tmp_path_factory.mktemp("empty-mlflow")
    mlflow_client(Settings.from_environment({"DREAM_HOME": str(folder)})).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def home_with_mlflow(home: Settings, empty_mlflow: Path) -> Settings:
    """A home whose MLflow database exists."""
    shutil.copy(empty_mlflow, home.home)
    return home


@pytest.fixture(scope="session")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
    _starting_mlflow: "tuple[MlflowServer, subprocess.Popen]",
    mlflow_server: "MlflowServer",
) -> "Iterator[Lab]":
    """Trials run in this process."""
    from lab import opened_lab

    with opened_lab(tmp_path_factory.mktemp("lab"), mlflow_server, {"DREAM_ENGINE": "in_process"}) as opened:
        yield opened


@pytest.fixture(scope="session")
def ray_lab(
    tmp_path_factory: pytest.TempPathFactory,
    _starting_mlflow: "tuple[MlflowServer, subprocess.Popen]",
    ray_cluster: RayCluster,
    mlflow_server: "MlflowServer",
) -> "Iterator[Lab]":
    """Trials run on the Ray cluster, by Ray Client."""
    from lab import opened_lab

    with opened_lab(tmp_path_factory.mktemp("ray-lab"), mlflow_server, ray_cluster.environment()) as opened:
        yield opened


@pytest.fixture(scope="session")
def small_golden(lab: "Lab") -> "GoldenDataset":
    """Eight questions."""
    from dream.golden.dataset import generate_golden_dataset

    return generate_golden_dataset(8, settings=lab.settings, show=None)


@pytest.fixture(scope="session")
def golden_on_ray(ray_lab: "Lab") -> "GoldenDataset":
    """The same eight questions, generated over the cluster."""
    from dream.golden.dataset import generate_golden_dataset

    return generate_golden_dataset(8, settings=ray_lab.settings, show=None)


@pytest.fixture(scope="session")
def small_experiment(lab: "Lab", small_golden: "GoldenDataset") -> "Ran":
    """Two trials of three questions, logged to the MLflow server."""
    from lab import small_run

    return small_run(lab, small_golden)


@pytest.fixture(scope="session")
def experiment_on_ray(ray_lab: "Lab", golden_on_ray: "GoldenDataset") -> "Ran":
    """The same experiment, run over the cluster."""
    from lab import small_run

    return small_run(ray_lab, golden_on_ray)
