"""`TrackingProcess`: the driver's end of the process that writes to MLflow, kept for the next experiment."""

import contextlib
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator

from dream.tracking.process import Reply, Request, send

# Seconds for which an idle process is kept for the next experiment, which then need not wait for the imports of MLflow.
IDLE_SECONDS = 60.0
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from dream.tracking.process import main; main()"

_idle: "list[_Child]" = []
_lock = threading.Lock()


class _Child:
    """A running process. It ends with its standard input, so that it cannot outlive a driver that was killed."""

    def __init__(self) -> None:
        self.path = list(sys.path)
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal stops the experiment; its finished results are still logged
        )
        self._end_of_idleness: threading.Timer | None = None

    def keep(self) -> None:
        """Wait for another experiment, for `IDLE_SECONDS`."""
        self._end_of_idleness = threading.Timer(IDLE_SECONDS, self._end_idle)
        self._end_of_idleness.daemon = True
        with _lock:
            _idle.append(self)
        self._end_of_idleness.start()

    def take(self) -> bool:
        """True if the process can serve another experiment; it ends otherwise."""
        assert self._end_of_idleness is not None
        self._end_of_idleness.cancel()
        if self.popen.poll() is None and self.path == sys.path:
            return True
        self.end()
        return False

    def end(self) -> int:
        """End the process after all sent requests; returns its exit code."""
        with contextlib.suppress(OSError):
            assert self.popen.stdin
            self.popen.stdin.close()
        return self.popen.wait()

    def _end_idle(self) -> None:
        with _lock:
            if self not in _idle:
                return
            _idle.remove(self)
        self.end()


def _idle_child() -> _Child | None:
    with _lock:
        kept, _idle[:] = list(_idle), []
    usable = [child for child in kept if child.take()]
    for child in usable[1:]:
        child.end()
    return usable[0] if usable else None


class TrackingProcess:
    """The process that writes to MLflow for one experiment at a time: that of the experiment before, if it is still
    there, or a new one. It imports MLflow and the statistics from its start on.

    Without an experiment it is kept, or ended, with the `with` block.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._is_used = False

    def start(self) -> None:
        """Start the process, unless it was started before."""
        self._child = self._child or _idle_child() or _Child()

    def send(self, request: Request) -> None:
        """Send a request; `OSError` if the process is gone."""
        self.start()
        self._is_used = True
        assert self._child and self._child.popen.stdin
        send(request, self._child.popen.stdin)

    def replies(self) -> Iterator[Reply]:
        """The replies until the whole experiment is logged, or the process has ended."""
        self.start()
        assert self._child and self._child.popen.stdout
        while True:
            try:
                reply: Reply = pickle.load(self._child.popen.stdout)
            except (EOFError, pickle.UnpicklingError):
                return
            yield reply
            if reply.is_last:
                self._is_used = False
                return

    def done(self) -> int | None:
        """Keep a process that has logged its experiment for the next one; else end it, and return its exit code."""
        if self._child is None or self._is_used or self._child.popen.poll() is not None:
            child, self._child = self._child, None
            return child.end() if child else None
        self._child, child = None, self._child
        child.keep()
        return None

    def __enter__(self) -> "TrackingProcess":
        return self

    def __exit__(self, *details: object) -> None:
        if self._is_used and self._child and self._child.popen.stdin:
            with contextlib.suppress(OSError):  # it logs what it was sent, and ends
                self._child.popen.stdin.close()
        else:
            self.done()
