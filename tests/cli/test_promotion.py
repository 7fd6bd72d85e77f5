"""`dream export`, `dream serve` and `dream check` as commands: the round from an experiment to a revert."""

import signal
from pathlib import Path

import httpx
import pytest
from promotion_round import git, promotion_round
from winners import Measured, Served, serving

from dream.cli.main import main
from dream.serving.promotion import read_promotion

pytestmark = pytest.mark.whole


@pytest.fixture(autouse=True)
def environment(measured: Measured, no_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the experiment, in a folder of the test's own."""
    for name, value in measured.environment.items():
        monkeypatch.setenv(name, value)


def test_a_winner_is_promoted_a_worse_one_fails_and_a_revert_brings_the_first_back(
    measured: Measured, tmp_path: Path, winners: dict[str, Served], capsys: pytest.CaptureFixture[str]
):
    git(tmp_path, "init", "--quiet")

    def promote(trial: str) -> None:
        assert main(["export", "measured", "--trial", trial]) == 0
        git(tmp_path, "add", "winner.yaml")
        git(tmp_path, "commit", "--quiet", "-m", f"Promote {trial}")

    def checked() -> tuple[int, str]:
        committed = (tmp_path / "winner.yaml").read_text(encoding="utf-8")  # the very file that the process serves
        code = main(["check", "winner.yaml", "--url", winners[committed].url, "--wait", "0"])
        return code, capsys.readouterr().out

    promotion_round(tmp_path / "winner.yaml", measured.good, measured.bad, promote, checked)


def test_without_a_token_it_answers_this_machine_alone_and_sigterm_ends_it_with_0(
    measured: Measured, winner: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("DREAM_SERVE_TOKEN")
    assert main(["serve", str(winner), "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "--host 0.0.0.0 accepts connections from other machines: set DREAM_SERVE_TOKEN" in capsys.readouterr().err
    with serving(winner, {**measured.environment, "DREAM_SERVE_TOKEN": ""}) as served:
        path = Path(measured.settings.home) / "serve-token"
        assert path.stat().st_mode & 0o077 == 0
        headers = {"Authorization": f"Bearer {path.read_text()}"}
        url = f"{served.url}/v1/models"
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
        question = measured.experiment.manifest.questions[0].question
        assert served.post("/answer", {"question": question}, path.read_text()).is_success
        served.process.send_signal(signal.SIGTERM)
        out, _ = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert f"llm-large@offline ({measured.good}): 1 calls, 1 from the cache" in out


def test_mistakes_are_told(winner: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, message in [
        (("export", "nobody"), "no experiment 'nobody'"),
        (("export", "measured", "-o", "none/winner.yaml"), "name a file in a folder that exists"),
        (("serve", "none.yaml"), "the winner 'none.yaml' cannot be read"),
        (("check", str(winner), "--url", "http://127.0.0.1:9", "--wait", "0"), "does not answer as `dream serve` does"),
    ]:
        assert (main(arguments), message in capsys.readouterr().err) == (1, True), arguments


def test_a_file_with_comments_alone_is_no_winner_that_is_replaced(tmp_path: Path):
    (tmp_path / "winner.yaml").write_text("# No winner yet.\n\n")
    assert main(["export", "measured"]) == 0
    assert read_promotion(tmp_path / "winner.yaml").replaces is None
