"""`dream` with real arguments: what it printed and its exit code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Lab

from dream.cli.main import main


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def dream(
    no_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`dream("plan", "--golden", "mine")` in an empty home, with nothing set."""
    monkeypatch.setenv("DREAM_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return run


@pytest.fixture
def dream_in_lab(dream: Command, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same with the lab's documents, models and MLflow server; no secret of the lab may be printed."""
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    secrets = lab.settings.secrets()
    assert secrets

    def run(*arguments: str) -> Done:
        done = dream(*arguments)
        assert not [secret for secret in secrets if secret in done.out + done.err]
        return done

    return run
