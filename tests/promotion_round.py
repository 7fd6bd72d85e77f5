"""The round of a promotion in a Git repository: a winner passes, a worse one fails, a revert brings the first back."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from dream.serving.promotion import read_promotion


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "tests@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who}
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, env=environment, capture_output=True, text=True
    ).stdout


def promotion_round(
    winner: Path, good: str, bad: str, promote: Callable[[str], None], checked: Callable[[], tuple[int, str]]
) -> None:
    """Go the round.

    Args:
        winner: the file in the Git repository by which the trial in use is known.
        good, bad: trials; the second is shown to be worse than the first by its experiment's questions.
        promote: commits the winner file of a trial.
        checked: serves what is committed, and gives the exit code and the output of its `dream check`.
    """
    promote(good)
    code, said = checked()
    assert (code, "REGRESSION" in said) == (0, False), said
    promote(bad)
    code, said = checked()
    assert (code, read_promotion(winner).trial) == (1, bad), said
    experiment = read_promotion(winner).evidence.experiment
    assert f"against trial {good} of {experiment}, which it replaced: answer_correctness: REGRESSION shown" in said
    git(winner.parent, "revert", "--no-edit", "HEAD")
    assert read_promotion(winner).trial == good
    code, said = checked()
    assert (code, "REGRESSION" in said) == (0, False), said
