"""`dream export`, `dream serve` and `dream check` as commands: the round from an experiment to a revert."""

import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from winners import clean, command, serving

from dream.serving.promotion import read_promotion

pytestmark = pytest.mark.whole


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{what}": "tests@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **who}, capture_output=True)


def dream(measured, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = clean(measured.environment)
    return subprocess.run(
        command(*arguments), env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def promote(measured, folder: Path, trial: str) -> None:
    done = dream(measured, folder, "export", "measured", "--trial", trial)
    assert done.returncode == 0, done.stderr
    git(folder, "add", "winner.yaml")
    git(folder, "commit", "--quiet", "-m", f"Promote {trial}")


def checked(measured, folder: Path) -> tuple[int, str]:
    """The check of what is committed, as after a sync."""
    with serving(folder / "winner.yaml", measured.environment) as served:
        done = dream(measured, folder, "check", "winner.yaml", "--url", served.url, "--wait", "0")
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_winner_is_promoted_a_worse_one_fails_and_a_revert_brings_the_first_back(measured, repository: Path):
    promote(measured, repository, measured.good)
    code, said = checked(measured, repository)
    assert (code, "REGRESSION" in said) == (0, False), said
    promote(measured, repository, measured.bad)
    code, said = checked(measured, repository)
    assert code == 1
    assert f"against trial {measured.good} of measured, which it replaced: answer_correctness: REGRESSION shown" in said
    git(repository, "revert", "--no-edit", "HEAD")
    assert read_promotion(repository / "winner.yaml").trial == measured.good
    assert checked(measured, repository)[0] == 0


def test_sigterm_ends_with_0_and_tells_the_calls(measured, winner: Path):
    with serving(winner, measured.environment) as served:
        question = measured.experiment.manifest.questions[0].question
        assert served.post("/answer", {"question": question}).is_success
        served.process.send_signal(signal.SIGTERM)
        out, _ = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert f"llm-large@offline ({measured.good}): 1 calls, 1 from the cache" in out


def test_without_a_token_of_its_own_it_answers_this_machine_alone(measured, winner: Path, tmp_path: Path):
    environment = {name: value for name, value in measured.environment.items() if name != "DREAM_SERVE_TOKEN"}
    arguments = command("serve", str(winner), "--host", "0.0.0.0", "--port", "0")
    done = subprocess.run(arguments, env=clean(environment), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "--host 0.0.0.0 lets other machines in: set DREAM_SERVE_TOKEN" in done.stderr
    with serving(winner, {**environment, "DREAM_SERVE_TOKEN": ""}) as served:
        path = Path(measured.settings.home) / "serve-token"
        assert path.stat().st_mode & 0o077 == 0
        headers = {"Authorization": f"Bearer {path.read_text()}"}
        url = f"{served.url}/v1/models"
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 200


def test_mistakes_are_told(measured, winner: Path, tmp_path: Path):
    for arguments, message in [
        (("export", "nobody"), "no experiment 'nobody'"),
        (("export", "measured", "-o", "none/winner.yaml"), "name a file in a folder that exists"),
        (("serve", "none.yaml"), "the winner 'none.yaml' cannot be read"),
        (("check", str(winner), "--url", "http://127.0.0.1:9", "--wait", "0"), "does not answer as `dream serve` does"),
    ]:
        done = dream(measured, tmp_path, *arguments)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr


def test_a_file_with_comments_alone_is_no_winner_that_is_replaced(measured, tmp_path: Path):
    (tmp_path / "winner.yaml").write_text("# No winner yet.\n\n")
    done = dream(measured, tmp_path, "export", "measured")
    assert done.returncode == 0, done.stderr
    assert read_promotion(tmp_path / "winner.yaml").replaces is None
