"""`propose`: proposes a winner file to a Git repository, as a branch with one commit and a pull request.

A token is passed to `git` only through its environment, and only for the host of the repository; no command line, URL
or message contains it. With SSH, `git` uses the key that its own configuration or GIT_SSH_COMMAND names.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dream.defaults import WINNER_PATH
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.serving.promotion import Promotion, read_winner, replacing
from dream.serving.pull_requests import opened_pull_request, push_options
from dream.settings import Settings

_SECONDS = 300.0
_HELPER = '!f() { test "$1" != get || printf "username=%s\\npassword=%s\\n" "$DREAM_GIT_USER" "$DREAM_GIT_TOKEN"; }; f'
_USER = "x-access-token"
_REFUSED = re.compile(r"Authentication failed|could not read (Username|Password)|Permission denied|\b40[13]\b", re.I)


@dataclass(frozen=True)
class Proposal:
    """A branch that proposes a winner.

    Attributes:
        base: the branch into which it is to be merged.
        commit: its tip; empty if `base` already has this winner, so that nothing is proposed.
        pull_request: the URL of the pull request, if one was opened or already open.
        said: what the Git server said, such as a URL for opening a pull request.
    """

    branch: str
    base: str
    commit: str = ""
    pull_request: str = ""
    said: tuple[str, ...] = ()


def propose(
    promotion: Promotion, settings: Settings, *, repository: str, base: str = "", path: str = WINNER_PATH
) -> Proposal:
    """Push a branch `promote/<experiment>` that only changes the winner file.

    The branch is one commit on the tip of `base`; the file names the winner that it replaces. The commit of an existing
    branch is replaced if anything changed.

    Args:
        repository: its URL; `settings.git_token` is the password of HTTPS.
        base: by default the repository's default branch.
        path: the winner file in the repository; its folder must exist.

    Raises:
        ConfigurationError: for an invalid URL or path, or without the program git.
        DataError: if the file in the repository is not a winner file.
        ServiceError: if the Git server refuses, or the pull request cannot be opened.
    """
    _check(repository, path, settings)
    branch = f"promote/{re.sub(r'^[.]|[.](?=[.]|$|lock$)', '-', promotion.evidence.experiment)}"
    with tempfile.TemporaryDirectory(prefix="dream-promote-") as folder:
        git = _Git(Path(folder), repository, settings)
        git.run("clone", "--depth=1", *(["--branch", base] if base else []), "--", repository, ".")
        base = base or git.run("rev-parse", "--abbrev-ref", "HEAD").strip()
        promotion = _written(promotion, Path(folder), path)
        title, body = _title(promotion), _body(promotion)
        if not git.committed(path, f"{title}\n\n{body}"):
            return Proposal(branch, base)
        said = git.push(branch, push_options(settings.git_pull_requests, base, title))
        commit = git.run("rev-parse", "HEAD").strip()
    url = opened_pull_request(repository, settings, (branch, base), (title, body))
    return Proposal(branch, base, commit, url, tuple(said))


def _check(repository: str, path: str, settings: Settings) -> None:
    parts, winner_path = urlsplit(repository), PurePosixPath(path)
    if parts.password:
        raise ConfigurationError("the repository's URL contains a password: remove it and set DREAM_GIT_TOKEN to it")
    if repository.startswith("-") or not repository:
        raise ConfigurationError(f"repository={repository!r}: give a URL, such as https://github.com/OWNER/NAME.git")
    if winner_path.is_absolute() or ".." in winner_path.parts or winner_path.suffix not in (".yaml", ".yml"):
        raise ConfigurationError(f"path={path!r}: give the winner file's path in the repository, such as {WINNER_PATH}")
    if settings.git_token and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigurationError(f"{repository} would send DREAM_GIT_TOKEN unencrypted: give an https:// URL")
    if settings.git_pull_requests in ("github", "gitea") and not (settings.git_token and parts.hostname):
        raise ConfigurationError(
            f"DREAM_GIT_PULL_REQUESTS={settings.git_pull_requests} needs DREAM_GIT_TOKEN and the repository's HTTPS "
            "URL; leave it out to push a branch alone"
        )


def _written(promotion: Promotion, folder: Path, path: str) -> Promotion:
    """Write the winner file, with the winner that it replaces."""
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()) or not file.parent.is_dir() or file.is_dir():
        raise ConfigurationError(f"path={path!r}: the repository has no folder {PurePosixPath(path).parent}")
    try:
        before = read_winner(file)
    except ConfigurationError as error:
        raise DataError(f"{path} of the repository is not a winner file that can be replaced: {error}") from None
    written = promotion.model_copy(update={"replaces": replacing(before, promotion.trial)})
    file.write_text(written.to_yaml(), encoding="utf-8")
    return written


def _title(promotion: Promotion) -> str:
    return f"Promote {promotion.as_trial.name} of {promotion.evidence.experiment}"


def _body(promotion: Promotion) -> str:
    """A text for reviewers, as Markdown."""
    lines = [promotion.reason] if promotion.reason else []
    for name, scored in promotion.scores.items():
        if scored.mean is not None:
            low, high = scored.low, scored.high
            lines.append(f"- {name}: {scored.mean:.3f} [{low:.3f}, {high:.3f}] on {scored.questions} questions")
    if before := promotion.replaces:
        lines.append(f"- in place of trial {before.trial} of {before.experiment}")
    evidence = promotion.evidence
    lines.append(f"- evidence: {evidence.experiment} in {evidence.experiments} {evidence.mlflow}".rstrip())
    return "\n".join([*lines, *(["- the models were offline models"] if promotion.offline else [])])


class _Git:
    """The program git in a folder, with the credentials of the settings for the host of a repository."""

    def __init__(self, folder: Path, repository: str, settings: Settings) -> None:
        self._folder, self._secrets = folder, settings.secrets()
        self._environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
        parts = urlsplit(repository)
        if settings.git_token and parts.scheme in ("http", "https"):
            host = parts.netloc.rpartition("@")[2]
            self._configure("credential.helper", "")
            self._configure(f"credential.{parts.scheme}://{host}.helper", _HELPER)
            self._environment |= {"DREAM_GIT_TOKEN": settings.git_token, "DREAM_GIT_USER": parts.username or _USER}

    def _configure(self, key: str, value: str) -> None:
        number = int(self._environment.get("GIT_CONFIG_COUNT") or 0)
        added = {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        self._environment |= {"GIT_CONFIG_COUNT": str(number + 1), **added}

    def run(self, *arguments: str) -> str:
        """The output of a command."""
        return self._done(*arguments).stdout

    def committed(self, path: str, message: str) -> bool:
        """Commit a file with git's configured author, or as DREAM if there is none; False without a change."""
        self.run("add", "--force", "--", path)
        if not self.run("status", "--porcelain", "--untracked-files=no"):
            return False
        if not os.environ.get("GIT_AUTHOR_EMAIL") and not self._output("config", "--get", "user.email"):
            self._configure("user.name", "DREAM")
            self._configure("user.email", "dream@localhost")
        self.run("commit", "--quiet", "-m", message)
        return True

    def push(self, branch: str, options: list[str]) -> list[str]:
        """Push to a branch, unless it already has the same content; returns the server's messages."""
        there = self.run("ls-remote", "--heads", "origin", f"refs/heads/{branch}").partition("\t")[0]
        if there:
            self.run("fetch", "--quiet", "--depth=1", "origin", there)
            if self.run("rev-parse", "FETCH_HEAD^{tree}") == self.run("rev-parse", "HEAD^{tree}"):
                self.run("reset", "--quiet", "--soft", "FETCH_HEAD")
                return []
        lease = f"--force-with-lease=refs/heads/{branch}:{there}"
        said = self._done("push", lease, *options, "origin", f"HEAD:refs/heads/{branch}").stderr.splitlines()
        told = (line.removeprefix("remote:").strip() for line in said if line.startswith("remote:"))
        return [self._redacted(line) for line in told if line]

    def _output(self, *arguments: str) -> str:
        return self._started(*arguments).stdout.strip()

    def _done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._started(*arguments)
        if done.returncode == 0:
            return done
        said = self._redacted(done.stderr.strip() or done.stdout.strip())[-1000:]
        remedy = "see the server's message"
        if _REFUSED.search(said):
            remedy = "set DREAM_GIT_TOKEN to a token that may write to the repository, or give git an SSH key"
        elif "stale info" in said:
            remedy = "somebody changed the branch at the same time: try again"
        raise ServiceError(f"git {arguments[0]} failed: {said}; {remedy}")

    def _started(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConfigurationError("proposing a winner needs the program git: install it") from None
        except subprocess.TimeoutExpired:
            raise ServiceError(f"git {arguments[0]} took more than {_SECONDS:g} s: is the server reachable?") from None

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
