"""The httpx transports that put the official OpenAI clients in front of the gateway instead of a model endpoint."""

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass

import httpx

from dream.errors import DreamError
from dream.models.gateway_client import GatewayClient, current_gateway
from dream.models.openai_wire import NO_LIMIT, ModelRequest, ModelResponse, repeat_of_task

STAGE_HEADER = "x-dream-stage"
TRIAL_HEADER = "x-dream-trial"
REPEAT_HEADER = "x-dream-repeat"


@dataclass
class Turn:
    """A permit of a semaphore that the tasks of one question release and acquire repeatedly.

    It is released only once, even if a task is cancelled while waiting for it, and never acquired after the question
    has ended, e.g. by an abandoned call.
    """

    permits: asyncio.Semaphore
    _is_held: bool = False
    _has_ended: bool = False

    async def take(self) -> None:
        """Wait for the permit, unless it is held."""
        if self._is_held or self._has_ended:
            return
        await self.permits.acquire()
        if self._is_held or self._has_ended:  # another task was faster
            self.permits.release()
        self._is_held = not self._has_ended

    def give_back(self) -> None:
        """Release the permit if it is held."""
        if self._is_held:
            self._is_held = False
            self.permits.release()

    def end(self) -> None:
        """Release the permit for good."""
        self.give_back()
        self._has_ended = True


@dataclass
class CallTimes:
    """The waits for model calls of one question, in seconds: `waited` is the elapsed time, `of_endpoint` the endpoint's
    original response times. Concurrent calls count as one, with the time of the slowest.

    `turn` is held while the question uses CPU, and released while it waits, so that a few permits serve many questions.
    """

    turn: Turn | None = None
    waited: float = 0.0
    of_endpoint: float = 0.0
    _under_way: int = 0
    _since: float = 0.0
    _slowest: float = 0.0

    def pause(self) -> None:
        """Record that a call begins."""
        if self._under_way == 0:
            self._since, self._slowest = time.monotonic(), 0.0
            if self.turn is not None:
                self.turn.give_back()
        self._under_way += 1

    async def resume(self, seconds: float) -> None:
        """Record the end of a call that took the endpoint `seconds`; after the last one, wait for a turn to
        continue."""
        self._under_way -= 1
        self._slowest = max(self._slowest, seconds)
        if self._under_way == 0:
            if self.turn is not None:
                await self.turn.take()
            self.waited += time.monotonic() - self._since
            self.of_endpoint += self._slowest


# Set this in a task to separate the endpoint's time from that of queues and the cache.
call_times: ContextVar[CallTimes | None] = ContextVar("call_times", default=None)


class AsyncGatewayTransport(httpx.AsyncBaseTransport):
    """Under an `openai.AsyncOpenAI(base_url="http://<endpoint name>")`: hands each request to the gateway.

    Args:
        gateway: by default the one that is open at the time of each request.
    """

    def __init__(self, gateway: GatewayClient | None = None) -> None:
        self._gateway = gateway

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        times, seconds = call_times.get(), 0.0
        if times is not None:
            times.pause()
        try:
            response = await (self._gateway or current_gateway()).send(_model_request(request, body))
            seconds = response.seconds
        except DreamError:
            raise
        except Exception as error:
            raise _lost(error, request) from error
        finally:
            if times is not None:
                await times.resume(seconds)
        return _http_response(response, request)


class GatewayTransport(httpx.BaseTransport):
    """`AsyncGatewayTransport` for the synchronous `openai.OpenAI`."""

    def __init__(self, gateway: GatewayClient | None = None) -> None:
        self._gateway = gateway

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = (self._gateway or current_gateway()).send_and_wait(_model_request(request, request.read()))
        except DreamError:
            raise
        except Exception as error:
            raise _lost(error, request) from error
        return _http_response(response, request)


def _model_request(request: httpx.Request, body: bytes) -> ModelRequest:
    timeout = request.extensions.get("timeout", {}).get("read") or NO_LIMIT
    return ModelRequest(
        endpoint=request.url.host,
        method=request.method,
        path=request.url.raw_path.decode(),
        body=body,
        stage=request.headers.get(STAGE_HEADER, ""),
        trial=request.headers.get(TRIAL_HEADER, ""),
        repeat=int(request.headers.get(REPEAT_HEADER, 0)) or repeat_of_task.get(),
        timeout_seconds=timeout,
    )


def _http_response(response: ModelResponse, request: httpx.Request) -> httpx.Response:
    if response.status == 0:
        raise httpx.ConnectError(response.body.decode(), request=request)
    return httpx.Response(
        response.status, headers={"content-type": response.content_type}, content=response.body, request=request
    )


def _lost(error: Exception, request: httpx.Request) -> httpx.ConnectError:
    """The error that the client receives for a lost gateway actor: a lost connection."""
    return httpx.ConnectError(f"the model gateway failed: {type(error).__name__}: {error}", request=request)
