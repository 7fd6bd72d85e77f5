"""Connects to Ray: a local one started for you, a cluster through `ray://` (Ray Client), or an address inside it.

Ray answers a wrong token with a time-out and a version mismatch with an obscure error, so both are asked for
first: the token at the Ray Client server, the version at the dashboard (port 8265), where there is one.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dream.errors import ServiceError, bullets
from dream.records import Cluster as Cluster
from dream.runtime.libraries import import_meanwhile, prepare_libraries
from dream.settings import Settings

DASHBOARD_PORT = 8265
CONNECT_SECONDS = 5.0
# Parts of Ray's messages about a process that was too slow to start, or ended while it was started.
NEVER_STARTED = ("Starting Ray client server failed", "ZombieProcess", "timed out during startup")
# How Ray's message begins that names the versions of the cluster and of this process, one of which differs.
VERSION_MISMATCH = "Version mismatch"
VERSIONS_HINT = (
    "Driver and cluster need the same version of Ray and the same minor version of Python (3.11, 3.12 or 3.13): "
    "install dream-rag here in an environment of the cluster's Python (for 3.11: `python3.11 -m venv .venv`), "
    "or build the cluster's image with this process's Python "
    "(for 3.12: `docker build --build-arg PYTHON=312 -f k8s/image/Dockerfile .`)"
)


def connect(settings: Settings, meanwhile: Sequence[str] = ()) -> Cluster:
    """Connect this process to Ray, once; a connection that the caller made already is used as it is.

    Args:
        meanwhile: modules to import in a thread while Ray starts (`dream.runtime.libraries.import_meanwhile`).

    Raises:
        ServiceError: when the cluster cannot be reached, refuses the token or has other versions.
    """
    prepare_libraries()
    _use_token(settings)
    import ray

    import_meanwhile(meanwhile)
    if not ray.is_initialized():
        address = settings.ray_address
        if address:
            refuse(check_cluster(settings))
        try:
            _init(address)
        except Exception as error:
            reason = str(error).rstrip().removesuffix(".")
            hint = VERSIONS_HINT if VERSION_MISMATCH in reason else _hint(settings)
            raise ServiceError(f"Ray at {address or 'local'} cannot be used: {reason}. {hint}") from error
    return Cluster(settings.ray_address or "local", _count_nodes(), int(ray.cluster_resources().get("CPU", 1)))


def _never_started(error: BaseException) -> bool:
    return any(sign in str(error) for sign in NEVER_STARTED)


def _init(address: str | None) -> None:
    """Connect. Ray gives a node, and Ray Client a session, 30 s to start, which a busy machine may miss.

    A session's process can also end as it is forked: gRPC's fork handlers abort about one in a hundred
    (https://github.com/grpc/grpc/issues/43055) unless the head was started with GRPC_ENABLE_FORK_SUPPORT=0.
    """
    import ray
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    for attempt in Retrying(retry=retry_if_exception(_never_started), stop=stop_after_attempt(3), reraise=True):
        with attempt:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )


def disconnect() -> None:
    """Leave the cluster; a local one is stopped."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


@contextmanager
def connected(settings: Settings, meanwhile: Sequence[str] = ()) -> Iterator[Cluster]:
    """`connect` for the length of a `with` block; a connection that existed before is left open."""
    existed = on_ray()
    cluster = connect(settings, meanwhile)
    try:
        yield cluster
    finally:
        if not existed:
            disconnect()


# Options of an actor that must outlive every worker node; on Kubernetes, the head is where the keys are too.
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}


def on_ray() -> bool:
    """True if this process is connected to Ray; imports nothing to find out. For `dream.services` alone."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def find_actor(name: str) -> Any | None:
    """The actor of this name in this job, None where there is none or no Ray."""
    if not on_ray():
        return None
    import ray

    try:
        return ray.get_actor(name)
    except ValueError:
        return None


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise what a task or an actor raised, without the page of text that Ray puts around it."""
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        raise error.cause from None


def check_cluster(settings: Settings) -> list[str]:
    """The reasons why `settings.ray_address` cannot be used, without Ray's own slow time-outs.

    The version is checked only where the cluster's dashboard can be reached.
    """
    address = settings.ray_address or ""
    if address in ("", "auto", "local"):
        return []
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    host, port = parts.hostname, parts.port or (10001 if parts.scheme == "ray" else 6379)
    if host is None:
        return [f"RAY_ADDRESS={address!r} names no host: write ray://host:10001, host:6379 or auto"]
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        return [
            f"nothing answers at {host}:{port} ({error}): start a cluster with `GRPC_ENABLE_FORK_SUPPORT=0 ray start "
            "--head --ray-client-server-port 10001`, or unset RAY_ADDRESS to use a local Ray"
        ]
    refused = _token_problems(host, port, settings) if parts.scheme == "ray" else []
    return refused or _version_problems(settings.ray_dashboard_address or f"http://{host}:{DASHBOARD_PORT}", settings)


def _token_problems(host: str, port: int, settings: Settings) -> list[str]:
    """Ask the Ray Client server for a sign of life with our token; it refuses a wrong one at once.

    Ray 2.60 has no public way to learn this: Ray Client catches the gRPC status of its own request, retries until
    its time-out, and raises a ConnectionError that does not name the token. So this sends the same request through
    Ray's private `ray.core.generated`.
    """
    import grpc
    from ray.core.generated import ray_client_pb2
    from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub

    messages: Any = ray_client_pb2  # made by protobuf at import, so a type checker sees none of it
    token = _token(settings)
    metadata = [("client_id", "dream-check"), *([("authorization", f"Bearer {token}")] if token else [])]
    try:
        with grpc.insecure_channel(f"{host}:{port}") as channel:
            ping = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
            RayletDriverStub(channel).ClusterInfo(ping, metadata=metadata, timeout=CONNECT_SECONDS)
    except grpc.RpcError as error:
        code = error.code()  # pyright: ignore[reportAttributeAccessIssue]
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            held = "the one given is refused" if token else "none is given"
            return [f"the Ray cluster at {host}:{port} demands a token and {held}: set RAY_AUTH_TOKEN to the cluster's"]
    return []


def _version_problems(dashboard: str, settings: Settings) -> list[str]:
    """A message if the cluster's dashboard names another version of Ray; none if it cannot be reached."""
    import httpx
    import ray

    token = _token(settings)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(f"{dashboard.rstrip('/')}/api/version", headers=headers, timeout=CONNECT_SECONDS)
        theirs = answer.json().get("ray_version") if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError, AttributeError):
        return []
    if theirs and theirs != ray.__version__:
        return [
            f"the cluster runs Ray {theirs} (says its dashboard at {dashboard}), this process Ray {ray.__version__}: "
            f"install the same version here (`pip install ray=={theirs}`) or use the cluster's image. "
            "If that is another cluster's dashboard, set RAY_DASHBOARD_ADDRESS"
        ]
    return []


def refuse(problems: list[str]) -> None:
    """Raise a ServiceError that lists the problems, if there are any."""
    if problems:
        raise ServiceError(bullets("the Ray cluster cannot be used:", problems))


def _token(settings: Settings) -> str | None:
    if settings.ray_auth_token:
        return settings.ray_auth_token
    written_by_ray = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return written_by_ray.read_text().strip() if written_by_ray.is_file() else None


def _use_token(settings: Settings) -> None:
    """Make Ray send the token, if there is one: a driver that does not gets a time-out instead of an answer."""
    if _token(settings):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if settings.ray_auth_token:
        os.environ.setdefault("RAY_AUTH_TOKEN", settings.ray_auth_token)


def _hint(settings: Settings) -> str:
    if not settings.ray_address:
        return "Is there enough memory and disk for a local Ray?"
    token = "is set" if _token(settings) else "is not set"
    return f"RAY_AUTH_TOKEN {token}; a wrong token looks like a time-out. `dream doctor` checks each part."


def _count_nodes() -> int:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()
    return sum(1 for node in nodes if node["Alive"])
