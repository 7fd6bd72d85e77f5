"""One model endpoint over HTTP: its pace, and another attempt where a fault may pass."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import httpx

from dream.models.openai_wire import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    ModelRequest,
    ModelResponse,
    chat_problem,
    parsed,
    texts_of,
    vectors_of,
)
from dream.models.rate_limiter import Limiter
from dream.models.usage import CHECK_STAGE
from dream.settings import Endpoint

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
# nobody took the request at all, as opposed to an answer that was too late or was cut off
AWAY = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class EndpointClient:
    """Sends requests to one endpoint. All methods must be called on one event loop.

    By aiohttp: with 250 calls in flight a request costs it 0.2 ms of CPU, and httpx 2 to 3.

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
        self._session: aiohttp.ClientSession | None = None

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
                response, headers, is_away = await self._send_once(request)
            finally:
                self.limiter.release()
            good = self._good(request, body, response)
            if good is not None:
                return response, good
            patient = time.monotonic() - max(started, self.limiter.last_success) < self._patience
            retry_after = _retry_after(headers)
            if response.status == 200:
                useless += 1
                again = useless < MAX_USELESS_ANSWERS
            elif response.status == TOO_MANY:
                self.limiter.refused(retry_after)
                again = patient and _may_pass(response, retry_after)
            elif is_away:
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
        if self._session is not None:
            await self._session.close()
            self._session = None

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

    async def _send_once(self, request: ModelRequest) -> tuple[ModelResponse, Mapping[str, str], bool]:
        """The response, its headers, and whether the endpoint is away."""
        headers = {"content-type": "application/json"}
        if self.endpoint.api_key:
            headers["authorization"] = f"Bearer {self.endpoint.api_key}"
        seconds = min(request.timeout_seconds, self.endpoint.timeout_seconds or request.timeout_seconds)
        started = time.monotonic()
        try:
            async with self._http().request(
                request.method,
                self.endpoint.base_url + request.path,
                data=request.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(seconds, 10.0), sock_read=seconds),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            text = f"no answer in {seconds:g} s" if isinstance(error, aiohttp.SocketTimeoutError) else error
            reason = f"{type(error).__name__} at {self.endpoint.base_url}: {text}"
            return ModelResponse(0, reason.encode(), "text/plain"), {}, isinstance(error, AWAY)
        except ValueError:  # it may quote the header that cannot be sent, which is the one with the key
            reason = f"{self.endpoint.base_url}: a header cannot be sent: look for line breaks in the key"
            return ModelResponse(0, reason.encode(), "text/plain"), {}, False
        if answer.status == 200:
            self.limiter.succeeded(answer.headers)
        content_type = answer.headers.get("content-type", "application/json")
        return ModelResponse(answer.status, content, content_type, time.monotonic() - started), answer.headers, False

    def _http(self) -> aiohttp.ClientSession:
        """One session for all: how many connections there are at once is the limiter's matter."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            )
        return self._session

    def _pause(self, fault: int, retry_after: float | None) -> float:
        """Seconds before the next attempt: what the endpoint asked for, else exponential; either way with jitter."""
        longest = min(LONGEST_BACKOFF_SECONDS, self._first_backoff * 2 ** min(fault, 16))
        if retry_after is not None:
            return retry_after + random.uniform(0, self._first_backoff)
        return random.uniform(longest / 2, longest)


def _may_pass(response: ModelResponse, retry_after: float | None) -> bool:
    """Whether a 429 is about a minute's limit, and not OpenAI's for an empty account or a day's quota."""
    return b"insufficient_quota" not in response.body and (retry_after or 0) <= LONGEST_RETRY_AFTER_SECONDS


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait: exact ones where it gives them (OpenAI, Azure), else whole ones."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(headers[name]) / per_second
        except (KeyError, ValueError):
            continue
    return None
