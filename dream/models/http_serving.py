"""Parts of DREAM's HTTP servers: a token on every path, errors in OpenAI's format, streams, a server in a thread."""

import hmac
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from dream.errors import BudgetError, ConfigurationError, DataError, DreamError, EndpointError, ServiceError

START_SECONDS = 20.0
# Statuses that OpenAI's clients do not try again: the same request would fail again.
_STATUSES: tuple[tuple[type[DreamError], int, str], ...] = (
    (BudgetError, 402, "budget_reached"),
    (ConfigurationError, 404, "model_not_found"),
    (DataError, 422, "unreadable_answer"),
    (EndpointError, 424, "endpoint_refuses"),
    (ServiceError, 502, "endpoint_unreachable"),
)
Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that is answered with an error in OpenAI's format. `retry_after` is in seconds."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


def guard(token: str, title: str, secrets: Sequence[str] = ()) -> Callable[[Handler], Handler]:
    """Demand the token, and answer every error in OpenAI's format.

    Args:
        token: as `Authorization: Bearer <token>` or `api-key: <token>`.
        title: the server's name in messages and, with underscores, as the type of errors.
        secrets: values that no message may hold.
    """

    def guarded(handle: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                _authorise(request, token, title)
                return await handle(request)
            except Refused as refused:
                headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
                return error_response(refused.status, refused.code, str(refused), title, headers)
            except DreamError as error:
                status, code = status_of(error)
                message = str(error)
                for secret in secrets:
                    message = message.replace(secret, "***")
                return error_response(status, code, message, title)

        return answer

    return guarded


def status_of(error: DreamError) -> tuple[int, str]:
    """The status and the code by which an error is told.

    Example:
        >>> status_of(BudgetError("USD 5 are spent"))
        (402, 'budget_reached')
    """
    known = (*_STATUSES, (DreamError, 500, "failed"))
    return next((status, code) for kind, status, code in known if isinstance(error, kind))


def _authorise(request: Request, token: str, title: str) -> None:
    given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), token.encode()):
        held = "is wrong" if given else "is missing"
        raise Refused(401, "invalid_api_key", f"the token of DREAM's {title} {held}: send it as the API key")


def error_response(
    status: int, code: str, message: str, title: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error in OpenAI's format."""
    kind = f"dream_{title.replace(' ', '_')}"
    return JSONResponse({"error": {"message": message, "type": kind, "code": code}}, status, headers)


async def chat_events(answer: Mapping[str, Any], *, with_usage: bool) -> AsyncIterator[str]:
    """A whole chat completion as the server-sent events of a stream."""
    shared = {name: answer.get(name) for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for choice in answer["choices"]:
        message, index = choice["message"], choice.get("index", 0)
        delta = {name: value for name, value in message.items() if value is not None}
        if calls := message.get("tool_calls"):
            delta["tool_calls"] = [{**call, "index": number} for number, call in enumerate(calls)]
        yield _event({**shared, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason", "stop")}
        yield _event({**shared, "choices": [end]})
    if with_usage:
        yield _event({**shared, "choices": [], "usage": answer.get("usage")})
    yield "data: [DONE]\n\n"


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def base_url(host: str, port: int) -> str:
    """The URL at which a program on this machine reaches the server."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


@contextmanager
def served_in_thread(
    application: ASGIApp, title: str, *, host: str, port: int, stop_seconds: float = 1.0
) -> Iterator[str]:
    """Serve an ASGI application from a thread for the length of a `with` block, which is given the server's URL.

    Args:
        port: 0 for a free one.
        stop_seconds: how long requests that are being answered at the end may still take.

    Raises:
        ConfigurationError: where the address cannot be used.
    """
    listening = _listening(host, port)
    config = uvicorn.Config(
        application,
        access_log=False,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=max(1, round(stop_seconds)),
        timeout_keep_alive=120,
    )
    server = uvicorn.Server(config)
    name = f"dream-{title.replace(' ', '-')}-server"
    thread = threading.Thread(target=server.run, args=([listening],), name=name, daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread, title)
        yield base_url(host, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(stop_seconds + 4)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error}; choose another port, or 0 for a free one"
        ) from error


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread, title: str) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > give_up:
            raise ServiceError(f"the {title}'s HTTP server did not start")
        time.sleep(0.01)
