"""One model endpoint over HTTP: its pace, and another attempt where a fault may pass."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from dream.limits import MAX_CONCURRENCY, Limiter
from dream.meter import CHECK_STAGE
from dream.model_calls import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    ModelRequest,
    ModelResponse,
    chat_problem,
    parsed,
    texts_of,
    vectors_of,
)
from dream.settings import Endpoint

CLIENTS = 8
MAX_ATTEMPTS = 6
# an answer that is not the JSON that was asked for is asked for anew this often
MAX_USELESS_ANSWERS = 4
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
# how long an endpoint may be out of reach, or refuse everything as too much, before a request is given up
PATIENCE_SECONDS = 300.0
# an endpoint that asks for a longer wait (a spent daily quota) is not waited for
LONGEST_RETRY_AFTER_SECONDS = 120.0
RETRIED_STATUS = frozenset({408, 409, 500, 502, 503, 504, 529})
TOO_MANY = 429


class EndpointClient:
    """Sends requests to one endpoint. All methods must be called on one event loop.

    Args:
        first_backoff_seconds, patience_seconds: shorter ones make tests fast.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(endpoint.max_concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._first_backoff = first_backoff_seconds
        self._patience = patience_seconds
        self._clients: list[httpx.AsyncClient] = []
        self._sent = 0

    async def send(
        self, request: ModelRequest, body: Mapping[str, Any] | None, before_attempt: Callable[[int], None]
    ) -> tuple[ModelResponse, dict[str, Any] | None]:
        """Send until there is a good answer or none is to be had.

        Args:
            body: the parsed body of the request.
            before_attempt: called with 1, 2, ... before each attempt; what it raises ends the request.

        Returns:
            The last response, and its parsed body where it is a good answer.
        """
        started = time.monotonic()
        attempt = faults = useless = 0
        while True:
            attempt += 1
            await self.limiter.acquire(request.trial, len(request.body) / 4 if request.body else 0)
            try:
                before_attempt(attempt)
                response, answer = await self._send_once(request)
            finally:
                self.limiter.release()
            good = self._good(request, body, response)
            if good is not None:
                return response, good
            patient = time.monotonic() - max(started, self.limiter.last_success) < self._patience
            retry_after = _retry_after(answer)
            if response.status == 200:
                useless += 1
                again = useless < MAX_USELESS_ANSWERS
            elif response.status == TOO_MANY:
                self.limiter.refused(retry_after)
                again = patient and _may_pass(response, retry_after)
            elif response.status == 0 and answer is None and _is_away(response):
                again = patient and request.stage != CHECK_STAGE
            else:
                faults += 1
                again = faults < MAX_ATTEMPTS and (response.status in RETRIED_STATUS or response.status == 0)
                again &= request.stage != CHECK_STAGE or response.status != 0
            if not again:
                return response, None
            await asyncio.sleep(self._pause(faults + useless or attempt, retry_after))

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
        self._clients = []

    def _good(
        self, request: ModelRequest, body: Mapping[str, Any] | None, response: ModelResponse
    ) -> dict[str, Any] | None:
        if response.status != 200:
            return None
        answer = parsed(response.body)
        if request.path == CHAT_PATH and body is not None and not body.get("stream"):
            return answer if chat_problem(body, answer) is None else None
        if request.path == EMBEDDINGS_PATH and body is not None:
            return answer if answer and vectors_of(answer, len(texts_of(body))) is not None else None
        return answer if answer is not None else {}

    async def _send_once(self, request: ModelRequest) -> tuple[ModelResponse, httpx.Response | None]:
        headers = {"content-type": "application/json"}
        if self.endpoint.api_key:
            headers["authorization"] = f"Bearer {self.endpoint.api_key}"
        seconds = min(request.timeout_seconds, self.endpoint.timeout_seconds or request.timeout_seconds)
        started = time.monotonic()
        try:
            answer = await self._http().request(
                request.method,
                self.endpoint.base_url + request.path,
                content=request.body or None,
                headers=headers,
                timeout=httpx.Timeout(seconds, connect=min(seconds, 10.0), pool=None),
            )
        except httpx.HTTPError as error:
            # LocalProtocolError quotes the header that cannot be sent, which is the one with the key
            local = isinstance(error, httpx.LocalProtocolError)
            text = "a header cannot be sent: look for line breaks in the key" if local else error
            reason = f"{type(error).__name__} at {self.endpoint.base_url}: {text or f'no answer in {seconds:g} s'}"
            return ModelResponse(0, reason.encode(), "text/plain"), None
        if answer.status_code == 200:
            self.limiter.succeeded(answer.headers)
        content_type = answer.headers.get("content-type", "application/json")
        return ModelResponse(answer.status_code, answer.content, content_type, time.monotonic() - started), answer

    def _http(self) -> httpx.AsyncClient:
        """One of several clients in turn: the work of an httpx pool grows with the square of the calls in flight."""
        if not self._clients:
            kept = (self.endpoint.max_concurrency or MAX_CONCURRENCY) // CLIENTS + 1
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept)
            tls = httpx.create_ssl_context()
            self._clients = [httpx.AsyncClient(limits=limits, verify=tls) for _ in range(CLIENTS)]
        self._sent += 1
        return self._clients[self._sent % CLIENTS]

    def _pause(self, fault: int, retry_after: float | None) -> float:
        """Seconds before the next attempt: what the endpoint asked for, else exponential; either way with jitter."""
        longest = min(LONGEST_BACKOFF_SECONDS, self._first_backoff * 2 ** min(fault, 16))
        if retry_after is not None:
            return retry_after + random.uniform(0, self._first_backoff)
        return random.uniform(longest / 2, longest)


def _is_away(response: ModelResponse) -> bool:
    """Whether nobody took the request at all, as opposed to an answer that was too late or was cut off."""
    return response.body.startswith((b"ConnectError", b"ConnectTimeout"))


def _may_pass(response: ModelResponse, retry_after: float | None) -> bool:
    """Whether a 429 is about a minute's limit, and not OpenAI's for an empty account or a day's quota."""
    return b"insufficient_quota" not in response.body and (retry_after or 0) <= LONGEST_RETRY_AFTER_SECONDS


def _retry_after(answer: httpx.Response | None) -> float | None:
    """Seconds that the endpoint asks to wait: exact ones where it gives them (OpenAI, Azure), else whole ones."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(answer.headers[name]) / per_second if answer is not None else None
        except (KeyError, ValueError):
            continue
    return None
