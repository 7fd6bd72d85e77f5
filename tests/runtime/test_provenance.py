"""Provenance: versions of the packages, and the commit of DREAM's own files, whatever folder it is called from."""

import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from dream.runtime import provenance


def test_versions_are_those_that_are_installed():
    versions = provenance.versions()
    assert versions.pop("python") == platform.python_version()
    versions.pop("git_commit", None)
    assert re.fullmatch("[0-9a-f]{12}", versions.pop("source"))
    assert versions == {name: version(name) for name in provenance.PACKAGES}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ida", "-c", "user.email=ida@town.example"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in a folder of its own that DREAM takes for its own."""
    path = tmp_path / "dream" / "runtime" / "provenance.py"
    path.parent.mkdir(parents=True)
    path.write_text("first")
    monkeypatch.setattr(provenance, "__file__", str(path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return path


def test_the_commit_is_named_in_full_and_changes_are_told(module: Path):
    folder = module.parent
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    git(folder, "tag", "-a", "v9.9", "-m", "a tag is no commit")
    commit = git(folder, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert provenance.versions()["git_commit"] == commit
    module.write_text("second")
    assert provenance.versions()["git_commit"] == f"{commit}-dirty"


def test_without_a_checkout_or_without_git_there_is_no_commit(module: Path, monkeypatch: pytest.MonkeyPatch):
    assert "git_commit" not in provenance.versions()
    git(module.parent, "init")
    assert "git_commit" not in provenance.versions()  # nothing is committed yet
    monkeypatch.setenv("PATH", str(module.parent))
    assert "git_commit" not in provenance.versions()
