"""`dream serve` as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

READY_SECONDS = 90.0


@dataclass
class Served:
    """A process that serves a winner."""

    url: str
    token: str
    process: subprocess.Popen

    def post(self, path: str, body: Any, token: str | None = None, seconds: float = 60) -> httpx.Response:
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=seconds, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dream.cli.main", *arguments]


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command, with none of whoever runs the tests."""
    ours = ("DREAM_", "OPENAI_", "AWS_", "S3_", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**own, "PYTHONUNBUFFERED": "1", **environment}


@contextmanager
def serving(
    winner: Path, environment: Mapping[str, str], options: Sequence[str] = (), *, until_ready: bool = True
) -> Iterator[Served]:
    """Serve a winner on a free port for the length of the block; SIGTERM ends it."""
    process = subprocess.Popen(
        command("serve", str(winner), "--port", "0", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean(environment),
        cwd=winner.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        served = Served(_told_url(process), environment["DREAM_SERVE_TOKEN"], process)
        if until_ready:
            _wait_until_ready(served)
        yield served
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _told_url(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("serve: "):
            return line.removeprefix("serve: ").strip()
    raise AssertionError("".join(said))


def _wait_until_ready(served: Served) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while served.process.poll() is None and time.monotonic() < give_up:
        if served.get("/readyz").is_success:
            return
        time.sleep(0.05)
    raise AssertionError(f"{served.url} is not ready; exit code {served.process.poll()}")
