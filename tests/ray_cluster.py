"""A real Ray cluster as a user starts one: `ray start --head`, and `ray start --address` for further nodes."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from servers import free_port

START_SECONDS = 120
STOP_SECONDS = 20
# A process takes Ray's token from its environment once, so all clusters of a test run share one, also those of other
# pytest-xdist workers, which inherit it.
NODE_S3_KEY = "an-s3-key-that-must-not-be-found-8e2f"
TOKEN = os.environ.setdefault("TESTS_RAY_TOKEN", secrets.token_hex(32))
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_USAGE_STATS_ENABLED="0")


@dataclass(frozen=True)
class RayNode:
    """The processes of one `ray start --block`: it leads a session of its own."""

    process: subprocess.Popen

    def pids(self, name: str = "") -> list[int]:
        """The node's processes whose title holds `name`, such as "ray::ImplicitFunc" for a trial."""
        return [pid for pid in session(self.process) if name in _title(pid)]


@dataclass(frozen=True)
class RayCluster:
    """A cluster of one head node; `folder` holds its logs and sessions."""

    head: RayNode
    folder: Path
    port: int
    client_port: int
    token: str = TOKEN

    @property
    def address(self) -> str:
        return f"ray://127.0.0.1:{self.client_port}"

    def environment(self) -> dict[str, str]:
        """What a user sets to work on the cluster."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_TOKEN": self.token}

    @contextmanager
    def second_node(self) -> Iterator[RayNode]:
        """A node that joins, and leaves in order: of a killed one the cluster learns only half a minute later."""
        with _started(self.folder / "node-2.log", "--address", f"127.0.0.1:{self.port}", "--num-cpus", "1") as node:
            yield node
            raylets = node.pids("raylet/raylet ")
            for pid in raylets:
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not set(raylets) & set(session(node.process)))


@contextmanager
def started_cluster(cpus: int, *more: str) -> Iterator[RayCluster]:
    """A cluster for as long as the block lasts, with `more` options of `ray start`.

    Its folder's path is short, since sockets allow 107 characters.
    """
    folder, port, client_port = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")), free_port(), free_port()
    options = ["--head", "--port", str(port), "--ray-client-server-port", str(client_port)]
    options += ["--num-cpus", str(cpus), "--temp-dir", str(folder / "s"), "--include-dashboard", "false", *more]
    try:
        with _started(folder / "head.log", *options) as head:
            wait_for(lambda: _listens(client_port), START_SECONDS)
            yield RayCluster(head, folder, port, client_port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(log: Path, *options: str) -> Iterator[RayNode]:
    ray = Path(sys.executable).with_name("ray")
    # A worker finds variables of the shell that started its node; keys of a developer must not be among them.
    environment = {name: value for name, value in os.environ.items() if not _personal(name)}
    # as on Kubernetes, where all nodes reach object storage
    environment |= {"AWS_ACCESS_KEY_ID": "a-node", "AWS_SECRET_ACCESS_KEY": NODE_S3_KEY}
    # on a machine whose disk cache is cold, a session's first imports can take longer than Ray's 30 s
    environment["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # or gRPC aborts a session's process now and then
    environment["RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S"] = str(START_SECONDS)
    command = [str(ray), "start", "--block", "--disable-usage-stats", *options]
    process = _run_until_it_says(log, command, environment)
    if process is None:  # a busy machine may miss the 30 s that Ray gives a node
        process = _run_until_it_says(log, command, environment)
    if process is None:
        pytest.fail(f"`ray start` ended:\n{log.read_text()[-2000:]}")
    try:
        yield RayNode(process)
    finally:
        end_session(process)


def _run_until_it_says(log: Path, command: list[str], environment: dict[str, str]) -> subprocess.Popen | None:
    """The process of a node that has started, None where it has ended instead."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, START_SECONDS)
    except BaseException:
        end_session(process)
        raise
    if process.poll() is None:
        return process
    end_session(process)
    return None


def _listens(port: int) -> bool:
    """Whether something takes connections: Ray Client's server is up a moment after the rest."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def session(process: subprocess.Popen) -> list[int]:
    """The processes of the session that a process leads."""
    return [pid for pid in psutil.pids() if _session(pid) == process.pid and _status(pid) != psutil.STATUS_ZOMBIE]


def end_session(process: subprocess.Popen) -> None:
    """End exactly these processes; `ray stop` would end every Ray of the machine."""
    give_up = time.monotonic() + STOP_SECONDS
    while (pids := session(process)) and time.monotonic() < give_up:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
    process.wait(STOP_SECONDS)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Poll until the condition holds; fail when it takes too long."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"waited {seconds} s in vain for {condition}")
        time.sleep(0.05)


def _personal(name: str) -> bool:
    return name.startswith(("DREAM_", "OPENAI_", "AWS_", "S3_", "MLFLOW_", "RAY_ADDRESS"))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _title(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _status(pid: int) -> str | None:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return None
