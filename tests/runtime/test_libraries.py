"""The switches of libraries: set before they are imported, and never over those of the user."""

import gc
import importlib
import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from dream.runtime.libraries import GC_THRESHOLD, import_meanwhile, prepare_libraries, wait_for_imports


@pytest.mark.parametrize(
    ("before", "after"), [((700, 10, 10), GC_THRESHOLD), ((0, 10, 10), (0, 10, 10)), ((90_000, 5, 5), (90_000, 5, 5))]
)
def test_garbage_is_collected_rarely_unless_the_user_set_it_otherwise(before, after):
    earlier = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        prepare_libraries()
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*earlier)


def variables_after(**given: str) -> dict[str, str]:
    """The environment of a new process after `prepare_libraries`."""
    program = (
        "import json, os; from dream.runtime.libraries import prepare_libraries; prepare_libraries()\n"
        "print(json.dumps(dict(os.environ)))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TIKTOKEN_"))}
    return json.loads(subprocess.check_output([sys.executable, "-c", program], env={**environment, **given}, text=True))


def test_telemetry_is_off_unless_the_user_wants_it():
    assert variables_after()["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables_after(RAY_USAGE_STATS_ENABLED="1")["RAY_USAGE_STATS_ENABLED"] == "1"


def test_tokenizers_are_found_without_a_network():
    folder = variables_after()["TIKTOKEN_CACHE_DIR"]
    assert len(os.listdir(folder)) > 0


def test_modules_are_imported_in_a_thread_that_can_be_waited_for(tmp_path, monkeypatch):
    may_go_on = threading.Event()
    monkeypatch.setitem(sys.modules, "gate_of_slow_module", SimpleNamespace(may_go_on=may_go_on))
    (tmp_path / "slow_module.py").write_text(
        "import threading, gate_of_slow_module\n"
        "assert gate_of_slow_module.may_go_on.wait(60)\n"
        "thread = threading.current_thread()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import_meanwhile(["json", "slow_module"])
    may_go_on.set()
    wait_for_imports()
    assert importlib.import_module("slow_module").thread.name == "dream-imports"
    import_meanwhile(["json", "slow_module"])  # there already
    wait_for_imports()
    del sys.modules["slow_module"]
