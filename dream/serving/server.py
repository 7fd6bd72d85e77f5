"""The HTTP server of a promotion (`dream serve`): answers questions with the query engine of the experiment.

POST /answer                 {"question": ...} -> answer, passages with file and pages, usage; each "repeat": N other
than 0 bypasses the cache once POST /v1/chat/completions    OpenAI's format; the user's last message is the question GET
/v1/models, /usage, /metrics GET  /healthz, /readyz       need no token; readiness follows the index
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dream import defaults
from dream.evaluation.asking import ask
from dream.models.gateway_client import GatewayClient
from dream.models.http_serving import Refused, chat_events, error_response, guard
from dream.models.openai_wire import repeat_of_task
from dream.records import Answer, GoldenQuestion, Trial
from dream.runtime.event_loop import start_async

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

TITLE = "answer server"
# The model name for clients, independent of the trial, so that a promotion changes no client.
MODEL = "dream"
_BODY_BYTES = 1_000_000
_RETRY_SECONDS = 1
_LOADING_SECONDS = 5


@dataclass(frozen=True)
class Limits:
    """Limits of a server: characters of a question, concurrent questions, and seconds for an answer."""

    question_characters: int = defaults.SERVE_QUESTION_CHARACTERS
    at_once: int = defaults.SERVE_AT_ONCE
    timeout_seconds: float = defaults.SERVE_TIMEOUT_SECONDS


@dataclass
class AnswerServer:
    """Answers questions with the query engine of a trial. It is not ready before `engine` is set, and after `drain`.

    Args:
        secrets: values that no message may contain.
        on_answer: called with each question and its answer or failure; it must return at once.
        in_progress: the number of questions in progress.
    """

    trial: Trial
    gateway: GatewayClient
    limits: Limits = field(default_factory=Limits)
    secrets: Sequence[str] = ()
    on_answer: Callable[[str, Answer], None] | None = None
    engine: "BaseQueryEngine | None" = None
    in_progress: int = field(default=0, init=False)
    _draining: bool = field(default=False, init=False)
    _counted: Counter[str] = field(default_factory=Counter, init=False)

    def drain(self) -> None:
        """Report as not ready; questions that still arrive are answered."""
        self._draining = True

    def application(self, token: str) -> Starlette:
        """The ASGI application; requires `token` as `dream gateway` does."""
        guarded = guard(token, TITLE, self.secrets)
        routes = [
            Route("/answer", guarded(self._answer), methods=["POST"]),
            Route("/v1/chat/completions", guarded(self._chat), methods=["POST"]),
            Route("/v1/models", guarded(self._models)),
            Route("/usage", guarded(self._usage)),
            Route("/metrics", guarded(self._metrics)),
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_path})

    # --- questions

    async def _answer(self, request: Request) -> Response:
        body = await _body(request)
        answer = await self._asked(body.get("question"), _repeat(body.get("repeat", 0)))
        return JSONResponse(
            {
                "answer": answer.text,
                "passages": _passages(answer),
                "usage": _usage(answer),
                "seconds": round(answer.latency_seconds, 3),
                "trial": self.trial.id,
            }
        )

    async def _chat(self, request: Request) -> Response:
        body = await _body(request)
        if (model := body.get("model", MODEL)) != MODEL:
            raise Refused(404, "model_not_found", f"model={model!r} is not served here; there is {MODEL!r}")
        if body.get("tools") or body.get("n", 1) != 1:
            raise Refused(400, "not_supported", "tools, and n other than 1, are not supported: leave them out")
        answer = await self._asked(_last_question(body.get("messages")))
        completion = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "system_fingerprint": self.trial.id,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text, "passages": _passages(answer)},
                    "finish_reason": "length" if answer.is_cut else "stop",
                }
            ],
            "usage": _usage(answer),
        }
        if body.get("stream") is True:
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(chat_events(completion, with_usage=with_usage), media_type="text/event-stream")
        return JSONResponse(completion)

    async def _asked(self, question: Any, repeat: int = 0) -> Answer:
        """The answer to a question within the limits; `repeat` is the number of a repetition on purpose.

        Raises:
            Refused: for an invalid question, too many concurrent questions, a time-out, or a failed answer.
        """
        question = self._checked(question)
        engine = self.engine
        if engine is None:
            raise Refused(503, "not_ready", "the index is being loaded: ask again", _LOADING_SECONDS)
        with self._turn():
            asked = _repeated(repeat, ask(engine, GoldenQuestion("", question, ""), needs_contexts=True))
            try:
                answer = await asyncio.wait_for(asyncio.wrap_future(start_async(asked)), self.limits.timeout_seconds)
            except TimeoutError:
                self._counted["timeout"] += 1
                seconds = f"{self.limits.timeout_seconds:g} s"
                raise Refused(504, "timeout", f"there was no answer within {seconds}: ask again later") from None
            except BaseException:
                self._counted["failed"] += 1
                raise
        failure = answer.failure and answer.failure.redacted(self.secrets)
        if self.on_answer is not None:
            self.on_answer(question, replace(answer, failure=failure))
        if failure is None:
            self._counted["answered"] += 1
            return answer
        self._counted["failed"] += 1
        raise Refused(422 if failure.kind.by_system else 502, failure.kind.value, f"no answer: {failure.reason}")

    def _checked(self, question: Any) -> str:
        if not isinstance(question, str) or not question.strip():
            raise Refused(400, "no_question", f"question={question!r}: give a text")
        if len(question) > (most := self.limits.question_characters):
            message = f"the question has {len(question):,} characters: give at most {most:,}"
            raise Refused(413, "question_too_long", message)
        return question

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.in_progress >= self.limits.at_once:
            self._counted["refused"] += 1
            message = f"{self.limits.at_once} questions are being answered: ask again in {_RETRY_SECONDS} s"
            raise Refused(429, "too_many_questions", message, _RETRY_SECONDS)
        self.in_progress += 1
        try:
            yield
        finally:
            self.in_progress -= 1

    # --- what is served, and how it is

    async def _models(self, request: Request) -> Response:
        row = {"id": MODEL, "object": "model", "created": 0, "owned_by": "dream", "trial": self.trial.id}
        return JSONResponse({"object": "list", "data": [row]})

    async def _usage(self, request: Request) -> Response:
        return JSONResponse([row.to_json() for row in self.gateway.usage()])

    async def _metrics(self, request: Request) -> Response:
        lines = ["# TYPE dream_serve_questions_total counter"]
        for outcome in ("answered", "failed", "timeout", "refused"):
            lines.append(f'dream_serve_questions_total{{outcome="{outcome}"}} {self._counted[outcome]}')
        lines += ["# TYPE dream_serve_questions_in_progress gauge"]
        lines.append(f"dream_serve_questions_in_progress {self.in_progress}")
        return PlainTextResponse("\n".join([*lines, ""]))

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        status = "stopping" if self._draining else "loading" if self.engine is None else "ready"
        return JSONResponse({"status": status, "trial": self.trial.id}, 200 if status == "ready" else 503)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object in the request body, at most a million bytes."""
    content = b""
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > _BODY_BYTES:
                raise Refused(413, "body_too_large", f"the body has more than {_BODY_BYTES:,} bytes")
        body = json.loads(content)
    except (ValueError, ClientDisconnect):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json", 'the body is not a JSON object: send {"question": "..."}')
    return body


def _repeat(given: Any) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53:
        return given
    raise Refused(400, "invalid_repeat", f"repeat={given!r}: give a whole number from 0, such as the time in seconds")


async def _repeated(number: int, asked: Awaitable[Answer]) -> Answer:
    repeat_of_task.set(number)
    return await asked


def _last_question(messages: Any) -> Any:
    """The text of the last message of the user."""
    rows = [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    content = next((each.get("content") for each in reversed(rows) if each.get("role") == "user"), None)
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict)]
    if wrong := [part.get("type") for part in parts if part.get("type") != "text"]:
        raise Refused(
            400, "not_supported", f"a question may only contain text, but there is a part of type {wrong[0]!r}"
        )
    return "\n".join(str(part.get("text", "")) for part in parts)


def _passages(answer: Answer) -> list[dict[str, Any]]:
    """The passages in the order of the prompt; `location` is the file with its pages."""
    return [{**asdict(passage), "location": passage.location} for passage in answer.contexts]


def _usage(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.prompt_tokens or 0, answer.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def _no_such_path(request: Request, error: Exception) -> Response:
    message = (
        f"{request.method} {request.url.path} is not served here; there are POST /answer, POST /v1/chat/completions, "
        "GET /v1/models, /usage, /metrics, /healthz and /readyz"
    )
    return error_response(getattr(error, "status_code", 500), "unknown_url", message, TITLE)
