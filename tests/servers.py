"""Processes that answer over HTTP, for as long as a test needs them."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
import pytest

READY_SECONDS = 30
# httpx.get and its siblings read all certificate authorities for each request: 20 ms.
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen]:
    """A process for as long as the block lasts."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, **quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def wait_until_ready(url: str, process: subprocess.Popen, seconds: float = READY_SECONDS) -> None:
    """Ask until the server answers; fail when its process has ended or it takes too long."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if HTTP.get(url, timeout=1).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    pytest.fail(f"{process.args[0]} did not answer at {url} within {seconds} s")
