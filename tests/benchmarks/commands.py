"""How long a user waits for each command: the offline demo step by step, in one folder.

python -m tests.benchmarks.commands --full
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.benchmarks.common import DOCUMENTS, Sizes, goal, progress, run_sections, table

TITLE = "Commands"
# The steps of `make demo`, the commands that show results, and the most seconds that they should take.
STEPS: Mapping[str, tuple[str, ...]] = {
    "dream --help": ("--help",),
    "dream prepare": ("prepare", str(DOCUMENTS)),
    "dream golden": ("golden", "--questions", "20"),
    "dream plan": ("plan",),
    "dream run": ("run",),
    "dream compare": ("compare",),
    "dream compare --html": ("compare", "--html", "report.html"),
    "dream doctor": ("doctor",),
}
GOALS = {"dream --help": 0.2, "dream compare": 4.0, "dream plan": 5.0}
DEMO = ("dream prepare", "dream golden", "dream run", "dream compare --html")
DEMO_GOAL = 60.0


def measure(sizes: Sizes) -> str:
    home = sizes.fresh_home()
    unset = ("DREAM_", "OPENAI_", "AWS_", "S3_", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    environment |= {"DREAM_HOME": str(home), "DREAM_OFFLINE": "1"}
    rows, wall = [], {}
    for name, arguments in STEPS.items():
        progress(name)
        before, started = psutil.Process().cpu_times(), time.monotonic()
        program = str(Path(sys.executable).with_name("dream"))
        subprocess.run([program, *arguments], env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL)
        wall[name] = time.monotonic() - started
        after = psutil.Process().cpu_times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        rows.append({"command": name, "wall s": wall[name], "CPU s": cpu})
    demo = sum(wall[name] for name in DEMO)
    goals = [goal(f"{name} within {most:g} s", wall[name], wall[name] <= most) for name, most in GOALS.items()]
    goals.append(goal(f"the steps of make demo within {DEMO_GOAL:g} s", demo, demo <= DEMO_GOAL))
    explanation = "Offline models, 9 documents, 20 questions, 12 trials, each command once, one after another."
    return "\n\n".join([explanation, table(rows), "\n".join(goals)])


if __name__ == "__main__":
    run_sections({TITLE: measure}, __doc__)
