"""Start and stop the offline models as a child process that cannot outlive its parent."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from dream.errors import ConfigurationError, ServiceError
from dream.offline.faults import Switches

_OPTIONS = ("host", "port", "api_key")
_STDERR_TAIL = 2000


class OfflineServer:
    """A running offline server; use `start()`, and `stop()` or `with`.

    Example:
        >>> with OfflineServer.start(chat_latency_ms=5) as server:  # doctest: +SKIP
        ...     print(server.base_url)
        http://127.0.0.1:43211/v1
    """

    def __init__(self, process: subprocess.Popen, base_url: str):
        self._process = process
        self.base_url = base_url

    @classmethod
    def start(cls, timeout_s: float = 30.0, **switches: Any) -> "OfflineServer":
        """Start a server on a free loopback port and wait until it accepts connections.

        Args:
            timeout_s: how long to wait for it.
            switches: `host`, `port`, `api_key` and the fields of `dream.offline.faults.Switches`.

        Raises:
            ConfigurationError: for an unknown switch.
            ServiceError: when it does not start, with the end of its error output.
        """
        command = [sys.executable, "-m", "dream.offline", "--exit-with-stdin", *_flags(switches)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=_root(),
                start_new_session=True,
            )
            line = _first_line(process.stdout, timeout_s)
            try:
                return cls(process, json.loads(line)["base_url"])
            except (ValueError, KeyError) as error:
                process.kill()
                process.wait()
                raise ServiceError(_failure(timeout_s, errors)) from error

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def stop(self) -> None:
        """Stop the server; harmless when it has stopped already."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> "OfflineServer":
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()


def _flags(switches: dict[str, Any]) -> list[str]:
    valid = [*_OPTIONS, *(field.name for field in fields(Switches))]
    if unknown := [name for name in switches if name not in valid]:
        raise ConfigurationError(
            f"OfflineServer has no switch {', '.join(map(repr, unknown))}; valid: {', '.join(valid)}"
        )
    flags = []
    for name, value in switches.items():
        if value is not None:
            text = str(value) if name in _OPTIONS else json.dumps(value)
            flags += ["--" + name.replace("_", "-"), text]
    return flags


def _root() -> str:
    """The folder that holds the package `dream`, so that the child finds it from any working folder."""
    return str(Path(__file__).resolve().parents[2])


def _first_line(stream: IO[bytes] | None, timeout_s: float) -> bytes:
    lines: queue.Queue[bytes] = queue.Queue()
    if stream is not None:
        threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s)
    except queue.Empty:
        return b""


def _failure(timeout_s: float, errors: IO[bytes]) -> str:
    errors.seek(0)
    tail = errors.read()[-_STDERR_TAIL:].decode(errors="replace").strip()
    return f"The offline models did not start (waited at most {timeout_s:g} s). Their error output:\n{tail or '(none)'}"
