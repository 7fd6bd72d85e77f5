"""`ask`: a query engine answers one question; its contexts, tokens and times are recorded.

Tokens and the end of retrieval come from LlamaIndex's instrumentation, question by question.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dream.errors import end_of_all
from dream.models.answer_reading import LENGTH, THINKING
from dream.models.http_transport import CallTimes, Turn, call_times
from dream.models.thinking import separated, shortened
from dream.models.token_usage import ESTIMATED
from dream.records import Answer, Failure, FailureKind, GoldenQuestion

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

NOTHING_RETRIEVED = Failure(FailureKind.NOTHING_RETRIEVED, "nothing was retrieved")
EMPTY_ANSWER = Failure(FailureKind.EMPTY_ANSWER, "the LLM gave an empty answer")
# LlamaIndex's replacement for an empty answer.
_EMPTY_RESPONSE = "Empty Response"

_llm_answers: "contextvars.ContextVar[list[_LlmAnswer] | None]" = contextvars.ContextVar("llm_answers", default=None)
# Called before an LLM call, that is, when retrieval is done.
_on_retrieved: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("retrieved", default=None)


# The maximum number of questions in this process that use CPU, while others wait for models or are judged; with more,
# the measured latency would be that of a busy process.
MAX_CONCURRENT_ANSWERS = 16
_permits_of: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


def _permits() -> asyncio.Semaphore:
    return _permits_of.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_CONCURRENT_ANSWERS))


async def ask(query_engine: "BaseQueryEngine", question: GoldenQuestion, needs_contexts: bool) -> Answer:
    """Ask one question when a permit is free. Failures are recorded in the answer, including an empty answer and, with
    `needs_contexts`, an answer without retrieved contexts.

    Raises:
        BudgetError, ServiceError: if the budget is spent or the key is refused.
    """
    turn = Turn(_permits())
    await turn.take()
    try:
        return await _ask(query_engine, question, needs_contexts, turn)
    finally:
        turn.end()


async def _ask(query_engine: "BaseQueryEngine", question: GoldenQuestion, needs_contexts: bool, turn: Turn) -> Answer:
    from dream.rag.postprocessors import passages
    from dream.rag.synthesis import nodes_of_prompt

    llm_answers: list[_LlmAnswer] = []
    times = CallTimes(turn)
    _llm_answers.set(llm_answers)
    call_times.set(times)
    nodes_of_prompt.set(nodes := [])
    started, started_at = time.monotonic(), time.time()
    retrieved: list[float] = []

    def seconds() -> float:
        """The latency for a single user without a cache: with the endpoint's response times instead of the actual
        waits."""
        return max(0.0, time.monotonic() - started - times.waited) + times.of_endpoint

    _on_retrieved.set(lambda: retrieved.append(seconds()))
    try:
        response = await query_engine.aquery(question.question)
    except Exception as error:  # noqa: BLE001 - a failed question is a value, and what failed is kept
        if (end := end_of_all(error)) is not None:
            raise end from None
        took, until_llm = time.monotonic() - started, next(iter(retrieved), None)
        return Answer(question.id, None, passages(nodes), took, None, None, Failure.of(error), until_llm, started_at)
    finally:
        call_times.set(None)
    timing = {"latency_seconds": seconds(), "retrieval_seconds": next(iter(retrieved), None), "started_at": started_at}
    contexts = passages(response.source_nodes)
    text, thinking = _text(response)
    of_llm = _of_llm(llm_answers)
    if thinking:  # for an LLM outside of the gateway
        of_llm["thinking"] = shortened(thinking)
    if not text or (needs_contexts and not contexts):
        failure = NOTHING_RETRIEVED if needs_contexts and not contexts else EMPTY_ANSWER
        return Answer(question.id, None, contexts, failure=failure, **timing, **of_llm)
    return Answer(question.id, text, contexts, **timing, **of_llm)


def _text(response: Any) -> tuple[str, str]:
    """The answer, and the thinking in it."""
    text = getattr(response, "response", None)
    read = separated((text if isinstance(text, str) else str(response)).strip())
    return ("" if read.answer == _EMPTY_RESPONSE else read.answer), read.thinking


@dataclass(frozen=True)
class _LlmAnswer:
    """The parts of an LLM's answer that LlamaIndex drops."""

    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    thinking: str
    is_cut: bool


def count_tokens_by_question() -> None:
    """Install the handler of LlamaIndex's instrumentation that `ask` relies on, once."""
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
    from llama_index.core.instrumentation.events.synthesis import SynthesizeStartEvent
    from llama_index_instrumentation import get_dispatcher

    class TokenHandler(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "DreamTokenHandler"

        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            if isinstance(event, SynthesizeStartEvent) and (on_retrieved := _on_retrieved.get()) is not None:
                on_retrieved()
            answers = _llm_answers.get()
            if isinstance(event, LLMChatEndEvent) and answers is not None and event.response is not None:
                answers += _llm_answer(event.response.raw)

    dispatcher = get_dispatcher()
    if not any(handler.class_name() == TokenHandler.class_name() for handler in dispatcher.event_handlers):
        dispatcher.add_event_handler(TokenHandler())


def _llm_answer(raw: Any) -> list[_LlmAnswer]:
    """The parts of the gateway's answer; empty for an LLM from elsewhere that reports no usage."""
    usage, choices = getattr(raw, "usage", None), getattr(raw, "choices", None)
    if usage is None:
        return []
    choice = choices[0] if choices else None
    return [
        _LlmAnswer(
            round(getattr(usage, "prompt_tokens", None) or 0),
            round(getattr(usage, "completion_tokens", None) or 0),
            bool(getattr(usage, ESTIMATED, 0)),
            getattr(getattr(choice, "message", None), THINKING, None) or "",
            getattr(choice, "finish_reason", None) == LENGTH,
        )
    ]


def _of_llm(answers: Sequence[_LlmAnswer]) -> dict[str, Any]:
    """The fields of an `Answer` that come from its LLM calls."""
    if not answers:
        return {}
    return {
        "prompt_tokens": sum(answer.prompt_tokens for answer in answers),
        "completion_tokens": sum(answer.completion_tokens for answer in answers),
        "tokens_are_estimated": any(answer.is_estimated for answer in answers),
        "thinking": shortened("\n\n".join(answer.thinking for answer in answers if answer.thinking)),
        "is_cut": any(answer.is_cut for answer in answers),
    }
