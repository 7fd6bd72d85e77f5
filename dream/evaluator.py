"""`evaluator(query_engine, golden_dataset)`: questions become answers and scores, concurrently, failures included.

The metrics are ragas' own. A question that cannot be answered, or a judgement that cannot be read, is a recorded
error: it is counted, never averaged in or away.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dream.errors import ConfigurationError, explain
from dream.loop import run_async
from dream.records import Answer, Evaluation, GoldenQuestion, Score
from dream.settings import prepare_libraries

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

    from dream.judge import Judge

METRICS = (
    "faithfulness",
    "answer_relevancy",
    "context_precision",
    "context_recall",
    "answer_correctness",
    "answer_similarity",
)
MAX_CONCURRENT_QUESTIONS = 16
# ragas asks the judge for the same question `strictness` times. At its temperature of 0.01 the repeats are one
# answer paid three times, so DREAM asks once unless told otherwise.
STRICTNESS = 1
# What LlamaIndex puts in the place of an LLM's empty answer.
_EMPTY_RESPONSE = "Empty Response"

_token_counts: contextvars.ContextVar[list[Mapping[str, int]] | None] = contextvars.ContextVar("tokens", default=None)


def evaluator(
    query_engine: "BaseQueryEngine",
    golden_dataset: Sequence[GoldenQuestion],
    *,
    judge_llm: str,
    judge_embed_model: str,
    metrics: Sequence[str] = METRICS,
    max_concurrency: int = MAX_CONCURRENT_QUESTIONS,
    strictness: int = STRICTNESS,
    trial: str = "",
    on_question: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask every question, keep answers with their contexts, and score them.

    Works in scripts, notebooks and Ray workers: all calls run on DREAM's own event loop.

    Args:
        judge_llm, judge_embed_model: model identifiers; use the same for all trials of an experiment.
        metrics: names in `METRICS`.
        max_concurrency: questions in work at the same time.
        strictness: how many questions answer_relevancy derives from an answer.
        trial: labels the judge's calls in the gateway's meter.
        on_question: called with the number of questions done, after each.

    Raises:
        ConfigurationError: for an unknown metric, listing the valid ones; for a number below 1.
    """
    check_metrics(metrics)
    if max_concurrency < 1 or strictness < 1:
        raise ConfigurationError(f"max_concurrency={max_concurrency}, strictness={strictness}: give at least 1")
    prepare_libraries()
    from dream.judge import Judge

    judge = Judge(metrics, judge_llm, judge_embed_model, strictness, trial)
    _count_tokens()
    return run_async(_evaluate(query_engine, golden_dataset, judge, max_concurrency, on_question))


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise a ConfigurationError if a metric is unknown, named twice, or none is named."""
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown or not metrics or len(set(metrics)) != len(metrics):
        raise ConfigurationError(f"metrics={list(metrics)}: name each at most once, of: {', '.join(METRICS)}")


async def _evaluate(
    query_engine: "BaseQueryEngine",
    golden_dataset: Sequence[GoldenQuestion],
    judge: "Judge",
    max_concurrency: int,
    on_question: Callable[[int], None] | None,
) -> Evaluation:
    room = asyncio.Semaphore(max_concurrency)
    done = 0

    async def work(question: GoldenQuestion) -> tuple[Answer, list[Score]]:
        nonlocal done
        async with room:
            answer = await _ask(query_engine, question)
            scores = await judge.score(question, answer)
        done += 1
        if on_question is not None:
            on_question(done)
        return answer, scores

    tasks = [asyncio.create_task(work(question)) for question in golden_dataset]
    try:
        pairs = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return Evaluation(
        tuple(answer for answer, _ in pairs),
        tuple(score for _, scores in pairs for score in scores),
    )


async def _ask(query_engine: "BaseQueryEngine", question: GoldenQuestion) -> Answer:
    from dream.passages import passages

    counts: list[Mapping[str, int]] = []
    _token_counts.set(counts)
    started = time.monotonic()
    try:
        response = await query_engine.aquery(question.question)
    except Exception as error:  # noqa: BLE001 - a failed question is a value, and what failed is kept
        return Answer(question.id, None, latency_seconds=time.monotonic() - started, error=explain(error))
    seconds = time.monotonic() - started
    contexts = passages(response.source_nodes)
    text = _text(response)
    if not contexts or not text:
        reason = "nothing was retrieved" if not contexts else "the LLM gave an empty answer"
        return Answer(question.id, None, contexts, seconds, error=reason)
    return Answer(question.id, text, contexts, seconds, *_sum_tokens(counts))


def _text(response: Any) -> str:
    text = getattr(response, "response", None)
    text = (text if isinstance(text, str) else str(response)).strip()
    return "" if text == _EMPTY_RESPONSE else text


def _count_tokens() -> None:
    """Note the tokens that LlamaIndex's LLM calls report, question by question, through its instrumentation."""
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
    from llama_index_instrumentation import get_dispatcher

    class TokenHandler(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "DreamTokenHandler"

        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            counts = _token_counts.get()
            raw = getattr(getattr(event, "response", None), "raw", None)
            usage = getattr(raw, "usage", None)
            if isinstance(event, LLMChatEndEvent) and counts is not None and usage is not None:
                counts.append({"prompt": usage.prompt_tokens, "completion": usage.completion_tokens})

    dispatcher = get_dispatcher()
    if not any(handler.class_name() == TokenHandler.class_name() for handler in dispatcher.event_handlers):
        dispatcher.add_event_handler(TokenHandler())


def _sum_tokens(counts: Sequence[Mapping[str, int]]) -> tuple[int | None, int | None]:
    if not counts:
        return None, None
    return sum(count["prompt"] for count in counts), sum(count["completion"] for count in counts)
