"""The figure that is drawn ahead: what the first figure loads is loaded then, and no file is left."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import dream.reporting.static_figures
before = "matplotlib.font_manager" in sys.modules
import dream.reporting.warm_up
print(before, "matplotlib.font_manager" in sys.modules, "matplotlib.backends.backend_svg" in sys.modules)
"""


def test_a_first_figure_is_drawn_on_import(tmp_path: Path):
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert done.split() == ["False", "True", "True"]
    assert list(tmp_path.glob("tmp*")) == []
