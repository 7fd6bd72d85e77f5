"""A headless Chromium, driven over its DevTools protocol: what a page says, loads and how wide it is."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
# Where `.ci/run` could have installed one, a missing browser is a failure.
MUST_BE_THERE = os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get") is not None
_PATIENCE = 60


class Tab:
    """One page in the browser. `events` is everything that it reported, in order."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=_PATIENCE, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.events: list[Mapping[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int, *, scripts: bool = True) -> None:
        """Load a file at this width and wait until it is drawn."""
        self.events.clear()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + _PATIENCE
        while not any(one["method"] == "Page.loadEventFired" for one in self.events):
            assert time.monotonic() < end, f"{path} was not loaded in {_PATIENCE} s"
            self.value("1")
            time.sleep(0.1)

    def complaints(self) -> list[str]:
        """Errors in the console, and exceptions that nothing caught."""
        found = []
        for one in self.events:
            told = one["params"]
            if one["method"] == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
            elif one["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(told["entry"]["text"])
            elif one["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
                found.append(str(told["args"]))
        return found

    def loaded(self) -> list[str]:
        """The addresses that the page asked for."""
        asked = (one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent")
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextmanager
def browser(home: Path) -> Iterator[Tab]:
    """A fresh Chromium with one tab; its files are in `home`."""
    assert CHROMIUM, "no Chromium is installed"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--no-first-run"]
    options += ["--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank"]
    process = subprocess.Popen([CHROMIUM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Tab(_address(home / "DevToolsActivePort", process))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(told: Path, process: "subprocess.Popen[bytes]") -> str:
    """The address of the first tab, once the browser has written its port."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        if told.exists() and (lines := told.read_text().split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=10) as answer:
                tabs = [one for one in json.load(answer) if one["type"] == "page"]
            if tabs:
                return tabs[0]["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise AssertionError(f"Chromium did not open a tab in {_PATIENCE} s")
