"""A winner that is proposed to a Git repository, over HTTP with a token: what changes, what is told, what is not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from git_server import GitServer, git_server
from promotion_round import git
from winners import Measured

from dream.cli.main import main
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.serving.git_promotion import propose
from dream.serving.promotion import Promotion, promotion_of
from dream.settings import Settings

TOKEN = "a-token-for-git-93bc"
PATH = "k8s/serve/winner.yaml"
FILES = {PATH: "# No winner yet.\n", "k8s/serve/serve.yaml": "kind: Deployment\n", "README.md": "Ours\n"}


@pytest.fixture
def server(tmp_path: Path, no_environment: None) -> Iterator[GitServer]:
    (tmp_path / "git").mkdir()
    with git_server(tmp_path / "git", TOKEN) as found:
        yield found


@pytest.fixture
def settings(measured: Measured) -> Settings:
    return replace(measured.settings, git_token=TOKEN)


def merge(bare: Path, branch: str) -> None:
    git(bare, "update-ref", "refs/heads/main", f"refs/heads/{branch}")


def winner_on(bare: Path, branch: str) -> Promotion:
    return promotion_of(git(bare, "show", f"{branch}:{PATH}"))


def test_a_branch_changes_the_winner_alone_and_is_updated(measured: Measured, server: GitServer, settings: Settings):
    bare, url = server.repository("ours", FILES), f"{server.url}/ours.git"
    good, bad = measured.promotion(), measured.promotion(measured.bad)
    first = propose(good, settings, repository=url)
    assert (first.branch, first.base, first.pull_request) == ("promote/measured", "main", "")
    assert git(bare, "diff", "--name-only", "main", first.branch).split() == [PATH]
    assert winner_on(bare, first.branch) == good
    assert git(bare, "rev-list", "--count", f"main..{first.branch}").strip() == "1"
    assert "answer_correctness: " in git(bare, "log", "-1", "--format=%b", first.branch)
    assert propose(good, settings, repository=url) == first  # nothing is pushed that is there

    changed = propose(bad, settings, repository=url)
    assert changed.branch == first.branch and changed.commit != first.commit
    assert winner_on(bare, first.branch).trial == measured.bad and winner_on(bare, first.branch).replaces is None
    assert git(bare, "rev-list", "--count", f"main..{first.branch}").strip() == "1"

    propose(good, settings, repository=url)
    merge(bare, first.branch)
    assert propose(good, settings, repository=url).commit == ""  # it is in use
    propose(bad, settings, repository=url)
    before = winner_on(bare, first.branch).replaces
    assert before is not None and (before.trial, before.experiment) == (measured.good, "measured")
    assert server.users == {"x-access-token"}


def test_a_pull_request_is_opened_once(measured: Measured, server: GitServer, settings: Settings):
    server.repository("team/ours", FILES)
    settings = replace(settings, git_pull_requests="gitea")
    url = f"{server.url}/team/ours.git"
    first = propose(measured.promotion(), settings, repository=url)
    again = propose(measured.promotion(measured.bad), settings, repository=url)
    assert first.pull_request == again.pull_request == f"{server.url}/team/ours/pulls/1"
    (opened,) = server.pull_requests
    assert (opened["head"]["ref"], opened["base"]["ref"]) == ("promote/measured", "main")
    assert opened["title"].startswith("Promote ") and "evidence: measured in " in opened["body"]
    refused = replace(settings, git_pull_requests="github")  # another API, which is not there
    with pytest.raises(ServiceError, match=r"was pushed, but .*/api/v3/repos/team/ours/pulls opened no pull request"):
        propose(measured.promotion(), refused, repository=url)


def test_gitlab_is_asked_by_options_of_the_push_and_what_the_server_says_is_told(
    measured: Measured, server: GitServer, settings: Settings
):
    bare = server.repository("ours", FILES)
    git(bare, "config", "receive.advertisePushOptions", "true")
    hook = bare / "hooks/post-receive"
    hook.write_text('#!/bin/sh\necho "View: $GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1"\n')
    hook.chmod(0o755)
    settings = replace(settings, git_pull_requests="gitlab")
    proposed = propose(measured.promotion(), settings, repository=f"{server.url}/ours.git")
    assert proposed.said == ("View: merge_request.create merge_request.target=main",)


def test_the_command_proposes_and_shows_no_token(
    measured: Measured,
    winner: Path,
    server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    bare = server.repository("ours", FILES)
    for name, value in {**measured.environment, "DREAM_GIT_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    assert main(["promote", str(winner)]) == 1
    monkeypatch.setenv("DREAM_GIT_REPOSITORY", f"{server.url}/ours.git")
    monkeypatch.setenv("GIT_TRACE", "1")
    monkeypatch.setenv("GIT_TRACE_CURL", "1")  # git itself hides the header
    assert main(["promote", str(winner)]) == 0
    merge(bare, "promote/measured")
    assert main(["promote", str(winner)]) == 0
    monkeypatch.setenv("DREAM_GIT_TOKEN", "a-wrong-token-of-16")
    assert main(["promote", str(winner)]) == 1
    out, err = capsys.readouterr()
    assert "promote/measured: " in out and "already contains this winner: nothing to propose" in out
    assert "no repository: give --repository URL, or set DREAM_GIT_REPOSITORY" in err
    assert "set DREAM_GIT_TOKEN to a token that may write to the repository" in err
    assert TOKEN not in out + err and "a-wrong-token" not in out + err


def test_mistakes_are_told_before_anything_is_pushed(measured: Measured, server: GitServer, settings: Settings):
    server.repository("ours", {**FILES, PATH: "method: by hand\n"})
    url = f"{server.url}/ours.git"
    for repository, path, message in [
        (f"https://me:{TOKEN}@git.example/x.git", PATH, "contains a password: remove it and set DREAM_GIT_TOKEN"),
        ("http://git.example/x.git", PATH, "would send DREAM_GIT_TOKEN unencrypted"),
        ("--upload-pack=x", PATH, "give a URL, such as"),
        (url, "../winner.yaml", "give the winner file's path in the repository"),
        (url, "none/winner.yaml", "the repository has no folder none"),
        (url, "README.md", "give the winner file's path in the repository"),
    ]:
        with pytest.raises(ConfigurationError, match=message) as caught:
            propose(measured.promotion(), settings, repository=repository, path=path)
        assert TOKEN not in str(caught.value)
    with pytest.raises(DataError, match=r"winner\.yaml of the repository is not a winner file"):
        propose(measured.promotion(), settings, repository=url)
    ssh = replace(settings, git_pull_requests="github")
    with pytest.raises(ConfigurationError, match="DREAM_GIT_PULL_REQUESTS=github needs DREAM_GIT_TOKEN and"):
        propose(measured.promotion(), ssh, repository="git@git.example:team/ours.git")


def test_what_the_server_has_against_a_push_is_told(measured: Measured, server: GitServer, settings: Settings):
    bare = server.repository("ours", FILES)
    hook = bare / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ServiceError, match=r"git push failed: [^!]*protected"):
        propose(measured.promotion(), settings, repository=f"{server.url}/ours.git")
    assert git(bare, "branch", "--list", "promote/*") == ""
