"""Opens pull requests: by the REST API of GitHub and Gitea, or by GitLab's push options."""

from urllib.parse import urlsplit

import httpx

from dream.errors import ServiceError
from dream.settings import Settings

_SECONDS = 60.0
# Statuses for an existing pull request: GitHub 422, Gitea and Forgejo 409.
_OPEN_ALREADY = (409, 422)


def push_options(host: str | None, base: str, title: str) -> list[str]:
    """Options of `git push` by which GitLab opens a merge request; none for another host."""
    if host != "gitlab":
        return []
    options = ("merge_request.create", f"merge_request.target={base}", f"merge_request.title={title}")
    return [f"--push-option={option}" for option in options]


def opened_pull_request(repository: str, settings: Settings, branches: tuple[str, str], texts: tuple[str, str]) -> str:
    """Open a pull request, unless there is one.

    Args:
        branches: the one with the change, and the one into which it is to be merged.
        texts: title and body.

    Returns:
        Its URL; empty if `settings.git_pull_requests` does not use a REST API.

    Raises:
        ServiceError: if the host refuses.
    """
    if settings.git_pull_requests not in ("github", "gitea"):
        return ""
    (head, base), (title, body) = branches, texts
    url, owner = _address(repository, settings.git_pull_requests)
    headers = {"Authorization": f"token {settings.git_token}", "Accept": "application/json"}
    try:
        with httpx.Client(headers=headers, timeout=_SECONDS) as client:
            reply = client.post(url, json={"title": title, "head": head, "base": base, "body": body})
            if reply.is_success:
                return str(reply.json()["html_url"])
            if reply.status_code in _OPEN_ALREADY:
                open_requests = client.get(url, params={"state": "open", "head": f"{owner}:{head}", "limit": 50})
                rows = open_requests.json() if open_requests.is_success else []
                if known := next((row["html_url"] for row in rows if row["head"]["ref"] == head), None):
                    return str(known)
        reason = f"status {reply.status_code}: {reply.text[:300]}"
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ServiceError(f"the branch {head} was pushed, but {url} opened no pull request ({reason}): open it by hand")


def _address(repository: str, host: str) -> tuple[str, str]:
    """The address of a repository's pull requests, and the repository's owner."""
    parts = urlsplit(repository)
    name = parts.path.strip("/").removesuffix(".git")
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    api = f"{origin}/api/v1"
    if host == "github":
        api = "https://api.github.com" if parts.hostname == "github.com" else f"{origin}/api/v3"
    return f"{api}/repos/{name}/pulls", name.partition("/")[0]
