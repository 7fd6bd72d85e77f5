"""A Git server over HTTP with a password: `git http-backend`, and the pull requests of Gitea's API."""

import asyncio
import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promotion_round import git
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dream.models.http_serving import served_in_thread


@dataclass
class GitServer:
    """Bare repositories in a folder, of whoever has the token. `users` are those who have sent it."""

    folder: Path
    token: str
    url: str = ""
    users: set[str] = field(default_factory=set)
    pull_requests: list[dict[str, Any]] = field(default_factory=list)

    def repository(self, name: str, files: dict[str, str]) -> Path:
        """A bare repository with a first commit on its branch `main`."""
        bare, work = self.folder / f"{name}.git", self.folder / f"{name}.first"
        git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        git(bare, "config", "http.receivepack", "true")
        git(self.folder, "clone", "--quiet", str(bare), str(work))
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        git(work, "add", ".")
        git(work, "commit", "--quiet", "-m", "First")
        git(work, "push", "--quiet", "origin", "HEAD:main")
        return bare

    async def answer(self, request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        user, _, password = base64.b64decode(given).decode().partition(":") if scheme == "Basic" else ("", "", given)
        if password != self.token:
            return Response("", 401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        self.users.add(user)
        if request.url.path.startswith("/api/v1/"):
            return await self._pulls(request)
        return await asyncio.to_thread(self._backend, request, await request.body())

    def _backend(self, request: Request, body: bytes) -> Response:
        """The CGI program's answer."""
        variables = {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "tests",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        environment = {**os.environ, **variables}
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        return Response(content, int(headers.pop("Status", "200").split()[0]), headers=headers)

    async def _pulls(self, request: Request) -> Response:
        """Gitea's `/repos/{owner}/{repo}/pulls`: one open pull request for each branch."""
        if request.method == "GET":
            return JSONResponse(self.pull_requests)
        asked = await request.json()
        if any(each["head"]["ref"] == asked["head"] for each in self.pull_requests):
            return JSONResponse({"message": "pull request already exists for these targets"}, 409)
        url = f"{self.url}{request.url.path.removeprefix('/api/v1/repos')}/{len(self.pull_requests) + 1}"
        row = {**asked, "html_url": url, "head": {"ref": asked["head"]}, "base": {"ref": asked["base"]}}
        self.pull_requests.append(row)
        return JSONResponse(row, 201)


@contextmanager
def git_server(folder: Path, token: str) -> Iterator[GitServer]:
    """A server on a free port of this machine for the length of the block."""
    server = GitServer(folder, token)
    application = Starlette(routes=[Route("/{path:path}", server.answer, methods=["GET", "POST"])])
    with served_in_thread(application, "git", host="127.0.0.1", port=0) as server.url:
        yield server
