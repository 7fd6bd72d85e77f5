"""`EndpointClient`: sends requests to one model endpoint over HTTP, with rate limiting and retries."""

import asyncio
import json
import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx

from dream.errors import EndpointError, ServiceError
from dream.models.answer_reading import body_of, read_chat
from dream.models.call_log import SENT, CallLog, keys_paid_for
from dream.models.endpoint_access import BEARER, Access, key_headers, url_of
from dream.models.no_answer import NoAnswer, of_redirect
from dream.models.openai_wire import (
    CHAT_PATH,
    EMBEDDINGS_PATH,
    RERANK_PATH,
    ModelRequest,
    ModelResponse,
    parsed,
    texts_of,
)
from dream.models.outcomes import request_outcome
from dream.models.rate_limiter import Limiter
from dream.models.refusals import (
    endless,
    no_answer_in_time,
    pause_asked_for,
    readable,
    refusal,
    shown,
    too_slow,
    variable_of,
)
from dream.models.request_forms import TEI_DOCUMENTS
from dream.models.rerank_reading import read_ranking
from dream.models.response_times import Pace, ResponseTimes
from dream.models.retry_policy import (
    FIRST_BACKOFF_SECONDS,
    TOO_MANY,
    GiveUp,
    Outcome,
    RequestState,
    Retry,
    decide,
)
from dream.models.usage import CHECK_STAGE
from dream.models.vector_reading import VECTORS, read_vectors
from dream.settings import Endpoint

# requests to a model end when it was unreachable, or answered only 429, for this long
PATIENCE_SECONDS = 300.0
# the time limit of a check if none is configured; a server may load the model first
CHECK_SECONDS = 300.0
CONNECT_SECONDS = 10.0
# how long the end of a run waits for answers in flight
FINISH_SECONDS = 5.0
# no connection was made, as opposed to a late or partial response
UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

logger = logging.getLogger(__name__)


def _is_loopback(url: str) -> bool:
    """True for a server of this machine, such as the offline models, which no proxy can reach."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class EndpointClient:
    """Sends requests to one endpoint. All methods must be called on one event loop.

    It uses aiohttp: with 250 calls in flight, a request takes 0.2 ms of CPU time, with httpx 2 to 3 ms.

    Args:
        first_backoff_seconds: the pause before the first retry; it doubles with each retry.
        patience_seconds: see `PATIENCE_SECONDS`.
        calls: receives a line for each attempt.

    Attributes:
        requests: HTTP requests by model, stage and outcome (`outcomes.request_outcome`).
        waited: the seconds that limits held requests back, by model and stage.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        calls: CallLog | None = None,
    ) -> None:
        self._calls = calls or CallLog()
        self.endpoint = endpoint
        self.access = Access(header=endpoint.auth_header or BEARER)
        self.limiter = Limiter(endpoint.max_concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._first_backoff = first_backoff_seconds
        self._patience = patience_seconds
        self._session: aiohttp.ClientSession | None = None
        self._times: dict[tuple[str, str], ResponseTimes] = {}
        self._last_answer: dict[str, float] = {}
        self._refusals: dict[str, str] = {}
        self._is_finishing = False
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.waited: defaultdict[tuple[str, str], float] = defaultdict(float)

    async def send(
        self,
        request: ModelRequest,
        body: Mapping[str, Any] | None,
        before_attempt: Callable[[int], None],
        on_useless: Callable[[bytes], None] = lambda content: None,
    ) -> tuple[ModelResponse, dict[str, Any] | None]:
        """Send a request, with retries according to the retry policy.

        Args:
            body: the parsed body of the request.
            before_attempt: called with 1, 2, ... before each attempt; an exception that it raises ends the request.
            on_useless: called with the body of each response with status 200 that is not an answer, but may be billed.

        Returns:
            The last response, and its parsed body if it is usable, else None; of an embeddings request the vectors in
            the order of the texts (`VECTORS`) and the `usage`. If the endpoint refuses all further requests to the
            model, `refused` has the reason.

        Raises:
            EndpointError: if the endpoint refused all further requests to the model before, in a request that was not a
                check.
        """
        model = str((body or {}).get("model", ""))
        state = RequestState(is_check=request.stage == CHECK_STAGE)
        sent_at: list[float] = []

        def before() -> None:
            if self._is_finishing:
                raise ServiceError("the model gateway is closed: nothing more is sent")
            before_attempt(state.attempts + 1)
            if model in self._refusals and not state.is_check:
                raise EndpointError(self._refusals[model])
            sent_at.append(time.monotonic())

        while True:
            outcome = await self._attempt(request, body, state, before)
            is_useless = outcome.useless_body is not None
            self.requests[model, request.stage, request_outcome(outcome.response.status, is_useless=is_useless)] += 1
            if outcome.useless_body is not None:
                on_useless(outcome.useless_body)
            self._log(request, model, state.attempts + 1, outcome)
            now = time.monotonic()
            is_patient = now - max(sent_at[0], self._last_answer.get(model, 0.0)) < self._patience
            pace = self._pace(request, model, outcome)
            decision = decide(outcome, replace(state, is_patient=is_patient, pace=pace), self._first_backoff)
            if isinstance(decision, GiveUp) and decision.ends_all and not state.is_check:
                self._refusals[model] = self._why_all_ends(outcome)
            if not isinstance(decision, Retry):
                return readable(outcome.response), outcome.answer
            if outcome.waited is not None and not state.waits_in_vain:
                logger.warning("%s; retrying", outcome.response.body.decode())
            state = decision.state
            await asyncio.sleep(random.uniform(decision.least_seconds, decision.most_seconds))

    def _log(self, request: ModelRequest, model: str, attempt: int, outcome: Outcome) -> None:
        response, answer = outcome.response, outcome.answer
        status = response.status if outcome.useless_body is None else 200
        fields: dict[str, Any] = {"attempt": attempt, "status": status, "seconds": round(response.seconds, 3)}
        if answer is None:
            fields["error"] = shown(self.endpoint, response)
        tokens = (answer or {}).get("usage")
        if isinstance(tokens, Mapping):
            fields |= {name: tokens.get(name) for name in ("prompt_tokens", "completion_tokens")}
        self._calls.add(SENT, request, model, keys_paid_for.get(), **fields)

    def _times_of(self, request: ModelRequest, model: str) -> ResponseTimes:
        """The response times of this kind of request; answers to checks are faster than others."""
        key = (model, request.stage)
        if key not in self._times:
            default = CHECK_SECONDS if request.stage == CHECK_STAGE else None
            self._times[key] = ResponseTimes(self.endpoint.timeout_seconds or default)
        return self._times[key]

    def _pace(self, request: ModelRequest, model: str, outcome: Outcome) -> Pace:
        """The pace of the model's answers. The caller's own time limit says nothing about the model."""
        times = self._times_of(request, model)
        is_own_limit = request.timeout_seconds < times.limit()
        return Pace.QUICK if outcome.waited is None or is_own_limit else times.pace(outcome.waited)

    def _why_all_ends(self, outcome: Outcome) -> str:
        """The message for all later requests to the model."""
        if outcome.waited is not None:
            return too_slow(self.endpoint, outcome.waited)
        return refusal(self.endpoint, outcome.response, outcome.headers) or endless(
            self.endpoint, outcome.response, self._patience
        )

    async def _attempt(
        self, request: ModelRequest, body: Mapping[str, Any] | None, state: RequestState, before: Callable[[], None]
    ) -> Outcome:
        model = str((body or {}).get("model", ""))
        times, window = self._times_of(request, model), self.limiter.window(model)
        arrived = time.monotonic()
        sent = await self.limiter.acquire(request.trial, len(request.body) / 4 if request.body else 0, model)
        self.waited[model, request.stage] += time.monotonic() - arrived
        try:
            before()
            outcome = self._read(request, body, await self._send_once(request, times, state.waits_in_vain))
            response = outcome.response
            if response.status == 200:
                self._last_answer[model] = time.monotonic()
                times.answered(response.seconds)
                if not state.is_check:  # a short prompt with a short answer
                    window.answered(response.seconds)
                self.limiter.succeeded(outcome.headers, sent)
            elif response.status == TOO_MANY:
                self.limiter.refused(pause_asked_for(response, outcome.headers), sent)
            elif self._pace(request, model, outcome) is not Pace.QUICK:
                window.timed_out()
        finally:
            self.limiter.release(model)
        return outcome

    def _read(self, request: ModelRequest, body: Mapping[str, Any] | None, outcome: Outcome) -> Outcome:
        """The outcome with the response's answer in OpenAI's format, or with an error in its place."""
        response = outcome.response
        if 300 <= response.status < 400:
            location, variable = outcome.headers.get("location", ""), variable_of(self.endpoint.name, "BASE_URL")
            return self._failed(outcome, of_redirect(response.status, location, request.path, variable))
        if response.status != 200:
            return outcome
        if body is None or body.get("stream") or request.path not in (CHAT_PATH, EMBEDDINGS_PATH, RERANK_PATH):
            return replace(outcome, answer=parsed(response.body) or {})
        if request.path == RERANK_PATH:
            return self._ranking(body, outcome)
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

    def _ranking(self, body: Mapping[str, Any], outcome: Outcome) -> Outcome:
        documents = body.get("documents") or body.get(TEI_DOCUMENTS)
        answer = read_ranking({"documents": documents}, outcome.response.body, outcome.response.content_type)
        if isinstance(answer, NoAnswer):
            return self._failed(outcome, answer)
        response = replace(outcome.response, body=json.dumps(answer).encode(), content_type="application/json")
        return replace(outcome, response=response, answer=answer)

    def _vectors(self, body: Mapping[str, Any], outcome: Outcome) -> Outcome:
        given = body_of(outcome.response.body, outcome.response.content_type)
        if isinstance(given, NoAnswer):
            return self._failed(outcome, given)
        vectors = read_vectors(texts_of(body), given)
        if isinstance(vectors, NoAnswer):
            return self._failed(outcome, vectors)
        return replace(outcome, answer={VECTORS: vectors, "usage": given.get("usage")})

    def _failed(self, outcome: Outcome, failure: NoAnswer) -> Outcome:
        """The outcome with the error that a client receives for a useless response."""
        body = self.error_body(failure)
        response = replace(outcome.response, status=failure.status, body=body, content_type="application/json")
        useless = outcome.response.body if outcome.response.status == 200 else None
        return replace(outcome, response=response, most_attempts=failure.most_attempts, useless_body=useless)

    def error_body(self, failure: NoAnswer) -> bytes:
        """The error that a client receives for a useless response of this endpoint."""
        return failure.body(f"the endpoint {self.endpoint.name!r} at {self.endpoint.base_url}")

    def refused(self, model: str) -> str | None:
        """The reason why the endpoint refuses all further requests to a model; None if it does not."""
        return self._refusals.get(model)

    def forget_refusal(self, model: str) -> None:
        """Allow requests to a refused model again, for instance with the key in another header."""
        self._refusals.pop(model, None)

    async def finish(self) -> None:
        """Send nothing more, and wait a few seconds for answers in flight, which may be billed."""
        self._is_finishing = True
        until = time.monotonic() + FINISH_SECONDS
        while self.limiter.in_flight and time.monotonic() < until:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send_once(self, request: ModelRequest, times: ResponseTimes, waits_in_vain: int) -> Outcome:
        headers = {"content-type": "application/json", **key_headers(self.access, self.endpoint.api_key)}
        connect = min(times.limit(), request.timeout_seconds, CONNECT_SECONDS)
        started = time.monotonic()
        try:
            async with (
                _at_most(lambda: min(times.limit(waits_in_vain), request.timeout_seconds)),
                self._http().request(
                    request.method,
                    url_of(self.endpoint.base_url, self.access.prefix + request.path),
                    data=request.body or None,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
                    allow_redirects=False,
                ) as answer,
            ):
                content = await answer.read()
        except _NoAnswerInTime:
            waited = time.monotonic() - started
            return Outcome(_no_response(no_answer_in_time(self.endpoint, waited)), waited=waited)
        except (aiohttp.ClientError, OSError) as error:
            reason = f"{type(error).__name__} at {self.endpoint.base_url}: {error}"
            return Outcome(_no_response(reason), is_unreachable=isinstance(error, UNREACHABLE))
        except ValueError:  # its message may quote the header with the API key
            reason = f"{self.endpoint.base_url}: a header cannot be sent: check the API key for line breaks"
            return Outcome(_no_response(reason))
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


class _NoAnswerInTime(Exception):
    """The time limit of a wait has passed."""


@asynccontextmanager
async def _at_most(limit: Callable[[], float]) -> AsyncIterator[None]:
    """Cancel the block after `limit()` seconds. The limit is evaluated again when it has passed, because it grows when
    other answers of a slow server arrive meanwhile.

    Raises:
        _NoAnswerInTime: when the block was cancelled.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()

    def check() -> None:
        nonlocal alarm
        due = started + limit()
        if due > loop.time():
            alarm = loop.call_at(due, check)
        else:
            scope.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as scope:
            alarm = loop.call_at(started + limit(), check)
            try:
                yield
            finally:
                alarm.cancel()
    except TimeoutError:
        if scope.expired():
            raise _NoAnswerInTime from None
        raise


def _no_response(reason: str) -> ModelResponse:
    return ModelResponse(0, reason.encode(), "text/plain")
