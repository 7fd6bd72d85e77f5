"""Connecting to real Ray clusters: what works, and what is told when something is wrong."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from model_servers import free_port
from ray_cluster import RayCluster

from dream import ray_cluster as cluster
from dream.errors import ServiceError
from dream.settings import Settings


def in_a_process(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh Python, as a process takes Ray's token only once."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DREAM_"))}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, "DREAM_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@contextmanager
def dashboard(content: str) -> Iterator[str]:
    """A real HTTP server that says what a dashboard says at /api/version."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/version" else 404)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_ray_client_connects_and_leaves_an_existing_connection_open(ray_cluster: RayCluster):
    import ray

    settings = Settings.from_environment(ray_cluster.environment())
    with cluster.connected(settings) as first:
        assert (first.address, first.nodes, first.cpus) == (ray_cluster.address, 1, 2)
        assert ray.util.client.ray.is_connected()
        with cluster.connected(settings) as again:
            assert again == first
        assert ray.is_initialized()
        assert ray.get(ray.remote(lambda: os.getppid()).remote()) in ray_cluster.head.pids("raylet")
    assert not ray.is_initialized()


def test_a_local_ray_is_started_and_stopped(ray_by_itself: None):
    program = (
        "from dream import ray_cluster as cluster\n"
        "from dream.settings import Settings\n"
        "with cluster.connected(Settings.from_environment({})) as local:\n"
        "    import ray\n"
        "    assert (local.address, local.nodes) == ('local', 1), local\n"
        "    assert local.cpus >= 1\n"
        "    assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42\n"
        "assert not ray.is_initialized()\n"
    )
    done = in_a_process(program)
    assert done.returncode == 0, done.stderr


def test_nothing_listening_is_told_without_starting_anything():
    port = free_port()
    with pytest.raises(ServiceError, match=rf"nothing answers at 127\.0\.0\.1:{port} .*ray start --head"):
        cluster.connect(Settings.from_environment({"RAY_ADDRESS": f"ray://127.0.0.1:{port}"}))


def test_an_address_without_a_host_is_told():
    with pytest.raises(ServiceError, match="names no host"):
        cluster.connect(Settings.from_environment({"RAY_ADDRESS": "ray://"}))


@pytest.mark.parametrize(
    ("token", "held"),
    [({"RAY_AUTH_TOKEN": "not-the-clusters-token"}, "the one given is refused"), ({}, "none is given")],
)
def test_a_wrong_token_is_told_at_once_and_not_shown(ray_cluster: RayCluster, tmp_path, token, held):
    environment = {"RAY_ADDRESS": ray_cluster.address, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "no-token"), **token}
    program = (
        "from dream import ray_cluster as cluster\n"
        "from dream.settings import Settings\n"
        "print(*cluster.check_cluster(Settings.from_environment()))\n"
    )
    done = in_a_process(program, **environment)
    assert done.returncode == 0, done.stderr
    assert held in done.stdout
    assert "RAY_AUTH_TOKEN" in done.stdout
    assert "not-the-clusters-token" not in done.stdout + done.stderr


def test_another_version_of_ray_is_told_with_what_to_install(ray_cluster: RayCluster):
    with dashboard(json.dumps({"ray_version": "2.9.0"})) as url:
        settings = Settings.from_environment({**ray_cluster.environment(), "RAY_DASHBOARD_ADDRESS": url})
        (problem,) = cluster.check_cluster(settings)
    assert "runs Ray 2.9.0" in problem
    assert "pip install ray==2.9.0" in problem
    assert url in problem


@pytest.mark.parametrize("answer", ["<html>not a dashboard</html>", "[]", "{}"])
def test_what_is_not_a_dashboard_does_not_stand_in_the_way(ray_cluster: RayCluster, answer: str):
    with dashboard(answer) as url:
        settings = Settings.from_environment({**ray_cluster.environment(), "RAY_DASHBOARD_ADDRESS": url})
        assert cluster.check_cluster(settings) == []


def test_the_parts_of_ray_that_check_a_token_are_where_they_were():
    """They are private, so Ray is pinned to a minor version; where this fails, look at `_token_problems`."""
    from ray.core.generated import ray_client_pb2
    from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub

    request = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
    assert request.type == ray_client_pb2.ClusterInfoType.PING
    with grpc.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        stub = RayletDriverStub(channel)
        assert callable(stub.ClusterInfo)


def test_only_a_process_that_did_not_start_is_started_again(monkeypatch):
    import ray

    for message, attempts in (("Starting Ray client server failed", 3), ("the token is wrong", 1)):
        made = []

        def fail(message=message, made=made, **options):
            made.append(options)
            raise ConnectionError(message)

        monkeypatch.setattr(ray, "init", fail)
        with pytest.raises(ConnectionError, match=message):
            cluster._init("ray://127.0.0.1:1")
        assert len(made) == attempts


def test_another_minor_version_of_python_is_told_with_both_versions_and_what_to_do(monkeypatch):
    """Ray's own check, with its own message, for a cluster whose Python is simulated."""
    import ray
    from ray._private.utils import check_version_info

    def init(**options):
        theirs = {"ray_version": ray.__version__, "python_version": "3.10.4"}
        check_version_info(theirs, "Ray Client", python_version_match_level="minor")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ServiceError) as refusal:
        cluster.connect(Settings.from_environment({"RAY_ADDRESS": "auto"}))
    told = str(refusal.value)
    assert "Python: 3.10.4" in told and f"Python: {sys.version.split()[0]}" in told
    assert "install dream-rag here in an environment of the cluster's Python" in told
    assert "--build-arg PYTHON=" in told
    assert "RAY_AUTH_TOKEN" not in told
