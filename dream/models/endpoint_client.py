"""`EndpointClient`: sends requests to one model endpoint over HTTP, with rate limiting and retries."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx

from dream.models.answer_reading import body_of, read_chat
from dream.models.endpoint_access import BEARER, Access, key_headers, url_of
from dream.models.no_answer import NoAnswer, of_redirect
from dream.models.openai_wire import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    ModelRequest,
    ModelResponse,
    base_url_variable,
    parsed,
    texts_of,
)
from dream.models.rate_limiter import Limiter
from dream.models.retry_policy import (
    FIRST_BACKOFF_SECONDS,
    TOO_MANY,
    Outcome,
    RequestState,
    Retry,
    decide,
    retry_after_seconds,
)
from dream.models.usage import CHECK_STAGE
from dream.models.vector_reading import VECTORS, read_vectors
from dream.settings import Endpoint

# a request is given up when the endpoint was unreachable, or answered only 429, for this long
PATIENCE_SECONDS = 300.0
# no connection was made, as opposed to a late or partial response
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def _is_loopback(url: str) -> bool:
    """True for a server of this machine, such as the offline models, which no proxy can reach."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class EndpointClient:
    """Sends requests to one endpoint. All methods must be called on one event loop.

    It uses aiohttp: with 250 calls in flight, a request takes 0.2 ms of CPU time, with httpx 2 to 3 ms.

    Args:
        first_backoff_seconds: the pause before the first retry; it doubles with each retry.
        patience_seconds: see `PATIENCE_SECONDS`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.endpoint = endpoint
        self.access = Access(header=endpoint.auth_header or BEARER)
        self.limiter = Limiter(endpoint.max_concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._first_backoff = first_backoff_seconds
        self._patience = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        request: ModelRequest,
        body: Mapping[str, Any] | None,
        before_attempt: Callable[[int], None],
        on_useless: Callable[[bytes], None] = lambda content: None,
    ) -> tuple[ModelResponse, dict[str, Any] | None]:
        """Send a request until there is a usable answer, or `decide` gives up.

        Args:
            body: the parsed body of the request.
            before_attempt: called with 1, 2, ... before each attempt; an exception that it raises ends the request.
            on_useless: called with the body of each response with status 200 that is no answer, but may cost.

        Returns:
            The last response, and its parsed body if it is usable, else None; of an embeddings request the vectors in
            the order of the texts (`VECTORS`) and the `usage`.
        """
        started = time.monotonic()
        state = RequestState(is_check=request.stage == CHECK_STAGE)
        while True:
            outcome = await self._attempt(request, body, partial(before_attempt, state.attempts + 1))
            if outcome.useless_body is not None:
                on_useless(outcome.useless_body)
            if outcome.response.status == TOO_MANY:
                self.limiter.refused(retry_after_seconds(outcome.headers))
            seconds_without_success = time.monotonic() - max(started, self.limiter.last_success)
            state = replace(state, is_patient=seconds_without_success < self._patience)
            decision = decide(outcome, state, self._first_backoff)
            if not isinstance(decision, Retry):
                return outcome.response, outcome.answer
            state = decision.state
            await asyncio.sleep(random.uniform(decision.least_seconds, decision.most_seconds))

    async def _attempt(
        self, request: ModelRequest, body: Mapping[str, Any] | None, before: Callable[[], None]
    ) -> Outcome:
        await self.limiter.acquire(request.trial, len(request.body) / 4 if request.body else 0)
        try:
            before()
            outcome = await self._send_once(request)
        finally:
            self.limiter.release()
        return self._read(request, body, outcome)

    def _read(self, request: ModelRequest, body: Mapping[str, Any] | None, outcome: Outcome) -> Outcome:
        """The outcome with the answer that its response holds, in OpenAI's format, or with an error in its place."""
        response = outcome.response
        if 300 <= response.status < 400:
            location, variable = outcome.headers.get("location", ""), base_url_variable(self.endpoint.name)
            return self._failed(outcome, of_redirect(response.status, location, request.path, variable))
        if response.status != 200:
            return outcome
        if body is None or body.get("stream") or request.path not in (CHAT_PATH, EMBEDDINGS_PATH):
            return replace(outcome, answer=parsed(response.body) or {})
        if request.path == EMBEDDINGS_PATH:
            return self._vectors(body, outcome)
        given = body_of(response.body, response.content_type)
        answer = read_chat(body, given)
        if isinstance(answer, NoAnswer):
            return self._failed(outcome, answer)
        is_as_given = answer == given and response.body[:1] == b"{"
        content = response.body if is_as_given else json.dumps(answer).encode()
        in_format = replace(response, body=content, content_type="application/json")
        return replace(outcome, response=in_format, answer=answer)

    def _vectors(self, body: Mapping[str, Any], outcome: Outcome) -> Outcome:
        given = body_of(outcome.response.body, outcome.response.content_type)
        if isinstance(given, NoAnswer):
            return self._failed(outcome, given)
        vectors = read_vectors(texts_of(body), given)
        if isinstance(vectors, NoAnswer):
            return self._failed(outcome, vectors)
        return replace(outcome, answer={VECTORS: vectors, "usage": given.get("usage")})

    def _failed(self, outcome: Outcome, failure: NoAnswer) -> Outcome:
        """The outcome with the error that a client is given for a useless response."""
        body = self.error_body(failure)
        response = replace(outcome.response, status=failure.status, body=body, content_type="application/json")
        useless = outcome.response.body if outcome.response.status == 200 else None
        return replace(outcome, response=response, most_attempts=failure.most_attempts, useless_body=useless)

    def error_body(self, failure: NoAnswer) -> bytes:
        """The error that a client is given for a useless response of this endpoint."""
        return failure.body(f"the endpoint {self.endpoint.name!r} at {self.endpoint.base_url}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send_once(self, request: ModelRequest) -> Outcome:
        headers = {"content-type": "application/json", **key_headers(self.access, self.endpoint.api_key)}
        seconds = min(request.timeout_seconds, self.endpoint.timeout_seconds or request.timeout_seconds)
        started = time.monotonic()
        try:
            async with self._http().request(
                request.method,
                url_of(self.endpoint.base_url, self.access.prefix + request.path),
                data=request.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(seconds, 10.0), sock_read=seconds),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            text = f"no answer in {seconds:g} s" if isinstance(error, aiohttp.SocketTimeoutError) else error
            reason = f"{type(error).__name__} at {self.endpoint.base_url}: {text}"
            return Outcome(_no_response(reason), is_unreachable=isinstance(error, UNREACHABLE))
        except ValueError:  # its message may quote the header with the API key
            reason = f"{self.endpoint.base_url}: a header cannot be sent: check the API key for line breaks"
            return Outcome(_no_response(reason))
        if answer.status == 200:
            self.limiter.succeeded(answer.headers)
        content_type = answer.headers.get("content-type", "application/json")
        response = ModelResponse(answer.status, content, content_type, time.monotonic() - started)
        return Outcome(response, answer.headers)

    def _http(self) -> aiohttp.ClientSession:
        """The session of all requests; the limiter bounds the number of connections."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=not _is_loopback(self.endpoint.base_url),  # proxies and .netrc
            )
        return self._session


def _no_response(reason: str) -> ModelResponse:
    return ModelResponse(0, reason.encode(), "text/plain")
