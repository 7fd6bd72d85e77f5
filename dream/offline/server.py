"""The HTTP server: routes, authorisation, rate limit, latency and faults around the functions of `api`."""

import asyncio
import json
from collections.abc import AsyncIterator
from math import ceil
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dream.offline.api import ApiError, Reply, chat_completion, describe_model, embeddings, list_models, rerank
from dream.offline.faults import Faults, Switches, changed
from dream.offline.meter import Meter

_URL_CODES = {404: "unknown_url", 405: "method_not_allowed"}


class CutResponse(Response):
    """A response that is cut off: its headers announce the whole body, but only half is sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})


class OfflineModels:
    """The state of a server: its switches and counters. `application()` returns the ASGI app."""

    def __init__(self, switches: Switches | None = None, api_key: str | None = None):
        self.faults = Faults(switches or Switches())
        self.meter = Meter()
        self.api_key = api_key

    def application(self) -> Starlette:
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            Route("/v1/rerank", self.rerank, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/health", self.health),
            Route("/counters", self.counters),
            Route("/counters/reset", self.reset_counters, methods=["POST"]),
            Route("/faults", self.get_faults, methods=["GET"]),
            Route("/faults", self.set_faults, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    async def chat(self, request: Request) -> Response:
        return await self._serve(request, chat_completion)

    async def embeddings(self, request: Request) -> Response:
        return await self._serve(request, lambda body, fault: embeddings(body))

    async def rerank(self, request: Request) -> Response:
        return await self._serve(request, lambda body, fault: rerank(body))

    async def models(self, request: Request) -> Response:
        return self._guarded(request, list_models)

    async def model(self, request: Request) -> Response:
        return self._guarded(request, lambda: describe_model(request.path_params["name"]))

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def counters(self, request: Request) -> Response:
        return _json(self.meter.as_dict())

    async def reset_counters(self, request: Request) -> Response:
        self.meter.reset()
        return _json(self.meter.as_dict())

    async def get_faults(self, request: Request) -> Response:
        return _json(self.faults.as_dict())

    async def set_faults(self, request: Request) -> Response:
        """Change some switches; the others keep their values. The fault sequence starts again from the seed."""
        try:
            self.faults.set(changed(self.faults.switches, _parsed(await request.body())))
        except ValueError as error:
            return _refused(ApiError(400, str(error), "invalid_switch"))
        except ApiError as error:
            return _refused(error)
        return _json(self.faults.as_dict())

    async def _serve(self, request: Request, respond: Any) -> Response:
        path, raw = request.url.path, await request.body()
        self.meter.arrived(path, raw)
        status: int | str = "left"
        try:
            response = await self._answer(request, path, raw, respond)
            status = "cut" if isinstance(response, CutResponse) else response.status_code
            return response
        except ApiError as error:
            status = error.status
            return _refused(error)
        finally:
            self.meter.left(status)

    async def _answer(self, request: Request, path: str, raw: bytes, respond: Any) -> Response:
        self._authorise(request)
        wait = self.faults.seconds_to_wait()
        if wait:
            return self._too_many(wait)
        fault, latency = self.faults.draw(), self.faults.latency_seconds(path)
        if fault:
            self.meter.by_fault[fault] += 1
        if fault == "hang":
            return await self._hang(request)
        body = _parsed(raw)
        reply = None if fault == "error" else respond(body, fault)
        if latency:
            await asyncio.sleep(latency)
        if reply is None:
            raise ApiError(500, "Injected server error (switch error_share).", "internal_error")
        self.meter.used(reply.model, reply.tokens_in, reply.tokens_out, reply.texts)
        if body.get("stream") and path.endswith("/completions"):
            return StreamingResponse(_events(reply, body), media_type="text/event-stream")
        return CutResponse(_dumped(reply.body), media_type="application/json") if fault == "cut" else _json(reply.body)

    def _authorise(self, request: Request) -> None:
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            message = (
                "The API key is wrong or missing; send the one that the offline server was started with (--api-key)."
            )
            raise ApiError(401, message, "invalid_api_key")

    def _guarded(self, request: Request, respond: Any) -> Response:
        try:
            self._authorise(request)
            return _json(respond())
        except ApiError as error:
            return _refused(error)

    def _too_many(self, wait: float) -> Response:
        limit = self.faults.switches.requests_per_minute
        error = ApiError(429, f"Rate limit of {limit} requests per minute reached.", "rate_limit_exceeded")
        response = _refused(error)
        if self.faults.switches.retry_after:
            response.headers["retry-after"] = str(ceil(wait))
            response.headers["retry-after-ms"] = str(ceil(wait * 1000))
        return response

    async def _hang(self, request: Request) -> Response:
        """Send nothing until the client disconnects, or `hang_seconds` have passed."""
        try:
            async with asyncio.timeout(self.faults.switches.hang_seconds):
                while not await request.is_disconnected():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        return CutResponse(b"{}", media_type="application/json")


async def _events(reply: Reply, body: dict) -> AsyncIterator[str]:
    """The completion as server-sent events: role, words, end, and usage when asked for."""
    shared = {"id": reply.body["id"], "object": "chat.completion.chunk", "created": 0, "model": reply.model}
    for choice in reply.body["choices"]:
        deltas = [{"role": "assistant"}, *_deltas(choice["message"])]
        for delta in deltas:
            yield _event(shared | {"choices": [{"index": choice["index"], "delta": delta, "finish_reason": None}]})
        end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        yield _event(shared | {"choices": [end]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(shared | {"choices": [], "usage": reply.body["usage"]})
    yield "data: [DONE]\n\n"


def _deltas(message: dict) -> list[dict]:
    if calls := message.get("tool_calls"):
        return [{"tool_calls": [call | {"index": index} for index, call in enumerate(calls)]}]
    return [{"content": piece} for piece in message["content"].replace(" ", " \0").split("\0")]


def _event(data: dict) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _parsed(raw: bytes) -> dict:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise ApiError(400, f"The request body is not JSON: {error}.", "invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.", "invalid_json")
    return body


def _dumped(content: dict) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _json(content: dict, status: int = 200) -> Response:
    return Response(_dumped(content), status_code=status, media_type="application/json")


def _refused(error: ApiError) -> Response:
    return _json(error.as_dict(), error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    message = (
        f"{request.method} {request.url.path} is not served here; served: POST /v1/chat/completions (chat models only: "
        "set is_chat_model=True), POST /v1/embeddings and /v1/rerank, GET /v1/models, GET /health, /counters, /faults."
    )
    return _refused(ApiError(status, message, _URL_CODES.get(status, "error")))
