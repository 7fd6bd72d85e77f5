"""`evaluator(query_engine, golden_dataset)`: questions become answers and scores, concurrently, failures included.

The metrics are ragas' own. A question that cannot be answered, or a judgement that cannot be read, is a recorded
error: it is counted, never averaged in or away.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dream.defaults import STRICTNESS
from dream.errors import ConfigurationError, end_of_all, explain
from dream.event_loop import run_async
from dream.libraries import prepare_libraries
from dream.metrics import COMPUTED, METRICS, check_metrics
from dream.models.http_transport import CallTimes, call_times
from dream.records import Answer, Evaluation, GoldenQuestion, Score

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

    from dream.evaluation.judge import Judge

MAX_CONCURRENT_QUESTIONS = 64
# So many of these are being answered, the others judged: all at once would measure the latency of a busy process.
MAX_CONCURRENT_ANSWERS = 16
BLOCK_SIZE = 10
# What LlamaIndex puts in the place of an LLM's empty answer.
_EMPTY_RESPONSE = "Empty Response"


@dataclass(frozen=True)
class Repeats:
    """The answers to these questions are judged so many times, the first included; all others once."""

    times: int = 1
    question_ids: tuple[str, ...] = ()

    def missing(self, one: Evaluation, metrics: Sequence[str]) -> list[int]:
        """Numbers of the judgements that a single question still lacks on these metrics."""
        judged = set(metrics) - set(COMPUTED)
        if not one.answers or one.answers[0].error or one.answers[0].question_id not in self.question_ids:
            return []
        there = {(score.repeat, score.metric) for score in one.repeats if score.error is None}
        return [number for number in range(1, self.times) if not judged <= {name for at, name in there if at == number}]


JUDGED_ONCE = Repeats()

_token_counts: contextvars.ContextVar[list[Mapping[str, int]] | None] = contextvars.ContextVar("tokens", default=None)
# Called when an LLM is about to be asked, that is, when retrieval is done.
_on_retrieved: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("retrieved", default=None)


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
    repeat: int = 0,
    repeats: Repeats = JUDGED_ONCE,
    needs_contexts: bool = True,
    known: Evaluation | None = None,
    block_size: int = BLOCK_SIZE,
    on_block: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Ask every question, keep answers with their contexts, and score them.

    Works in scripts, notebooks and Ray workers: all calls run on DREAM's own event loop.

    Args:
        judge_llm, judge_embed_model: model identifiers; use the same for all trials of an experiment.
        metrics: names in `METRICS`.
        max_concurrency: questions in work at the same time; at most `MAX_CONCURRENT_ANSWERS` are being answered.
        strictness: how many questions answer_relevancy derives from an answer.
        trial: labels the judge's calls in the gateway's meter.
        repeat: number of the judgement; another one asks the judge anew instead of taking the cache's answer.
        repeats: answers that are judged several times, each time anew; the further scores are `Evaluation.repeats`.
        needs_contexts: whether an answer without any retrieved context is a failure.
        known: what an earlier run found: its questions are not asked again, unless something failed in them, and its
            repeated judgements are not made again.
        on_block: called with each `block_size` questions, as they are done.

    Raises:
        ConfigurationError: for an unknown metric, listing the valid ones; for a number below 1.
        BudgetError, ServiceError: when the budget is spent or the key refused; finished questions went to `on_block`.
    """
    check_metrics(metrics)
    numbers = {"max_concurrency": max_concurrency, "strictness": strictness, "block_size": block_size}
    if wrong := {name: value for name, value in numbers.items() if value < 1}:
        raise ConfigurationError(f"{wrong}: give at least 1")
    prepare_libraries()
    from dream.evaluation.judge import Judge

    judged = [name for name in metrics if name not in COMPUTED]
    judges = [
        Judge(judged if number else metrics, judge_llm, judge_embed_model, strictness, trial, repeat + number)
        for number in range(repeats.times)
    ]
    _count_tokens()
    done = {one.answers[0].question_id: one for one in by_question(known, metrics)} if known else {}
    procedure = _Procedure(query_engine, judges, repeats, needs_contexts, dict(done))
    asked = [one for one in golden_dataset if one.id not in done or repeats.missing(done[one.id], metrics)]
    for one in run_async(_evaluate(procedure, asked, max_concurrency, _Blocks(block_size, on_block))):
        done[one.answers[0].question_id] = one
    return joined(done[question.id] for question in golden_dataset)


def by_question(evaluation: Evaluation, metrics: Sequence[str]) -> list[Evaluation]:
    """One evaluation for each question that was answered and scored on all metrics without a failure.

    Repeated judgements go with their question; those that failed are left out. Of the same thing twice, the later.
    """
    answers = {answer.question_id: answer for answer in evaluation.answers}
    scores, repeats = (
        {(score.question_id, score.metric, score.repeat): score for score in some}
        for some in (evaluation.scores, evaluation.repeats)
    )
    found = []
    for question_id, answer in answers.items():
        own = [scores.get((question_id, metric, 0)) for metric in metrics]
        good = tuple(score for score in own if score is not None and score.error is None)
        again = [score for score in repeats.values() if score.question_id == question_id and score.error is None]
        if answer.error is None and len(good) == len(own):
            found.append(Evaluation((answer,), good, tuple(again)))
    return found


def joined(evaluations: Iterable[Evaluation]) -> Evaluation:
    """Several evaluations as one, in their order."""
    parts = list(evaluations)
    return Evaluation(
        tuple(answer for part in parts for answer in part.answers),
        tuple(score for part in parts for score in part.scores),
        tuple(score for part in parts for score in part.repeats),
    )


@dataclass
class _Blocks:
    """Hands finished questions on, `size` at a time."""

    size: int
    on_block: Callable[[Evaluation], None] | None
    waiting: list[Evaluation] = field(default_factory=list)

    def add(self, one: Evaluation) -> None:
        self.waiting.append(one)
        if len(self.waiting) >= self.size:
            self.hand_on()

    def hand_on(self) -> None:
        block, self.waiting = self.waiting, []
        if block and self.on_block is not None:
            self.on_block(joined(block))


@dataclass(frozen=True)
class _Procedure:
    """What is done with a question: ask and judge it, unless that is known, then judge it again where that is due."""

    query_engine: "BaseQueryEngine"
    judges: Sequence["Judge"]
    repeats: Repeats
    needs_contexts: bool
    known: Mapping[str, Evaluation]
    answering: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_ANSWERS))

    async def one(self, question: GoldenQuestion) -> Evaluation:
        one = self.known.get(question.id) or await self._first(question)
        numbers = self.repeats.missing(one, [score.metric for score in one.scores])
        again = await asyncio.gather(*(self._again(question, one.answers[0], number) for number in numbers))
        kept = [score for score in one.repeats if score.repeat not in numbers]
        return Evaluation(one.answers, one.scores, tuple(score for scores in (kept, *again) for score in scores))

    async def _first(self, question: GoldenQuestion) -> Evaluation:
        async with self.answering:
            answer = await _ask(self.query_engine, question, self.needs_contexts)
        return Evaluation((answer,), tuple(await self.judges[0].score(question, answer)))

    async def _again(self, question: GoldenQuestion, answer: Answer, number: int) -> list[Score]:
        return [replace(score, repeat=number) for score in await self.judges[number].score(question, answer)]


async def _evaluate(
    procedure: _Procedure, golden_dataset: Sequence[GoldenQuestion], max_concurrency: int, blocks: _Blocks
) -> list[Evaluation]:
    """One evaluation a question. Blocks are filled as questions are done, so that none waits for a slower one."""
    room = asyncio.Semaphore(max_concurrency)

    async def evaluate(question: GoldenQuestion) -> Evaluation:
        async with room:
            one = await procedure.one(question)
        blocks.add(one)
        return one

    tasks = [asyncio.create_task(evaluate(question)) for question in golden_dataset]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        blocks.hand_on()


async def _ask(query_engine: "BaseQueryEngine", question: GoldenQuestion, needs_contexts: bool) -> Answer:
    from dream.rag.postprocessors import passages

    counts: list[Mapping[str, int]] = []
    times = CallTimes()
    _token_counts.set(counts)
    call_times.set(times)
    started, started_at = time.monotonic(), time.time()
    retrieved: list[float] = []

    def seconds() -> float:
        """As it would be for a single user with no cache: what the endpoint took instead of what was waited for."""
        return max(0.0, time.monotonic() - started - times.waited) + times.of_endpoint

    _on_retrieved.set(lambda: retrieved.append(seconds()))
    try:
        response = await query_engine.aquery(question.question)
    except Exception as error:  # noqa: BLE001 - a failed question is a value, and what failed is kept
        if (end := end_of_all(error)) is not None:
            raise end from None
        took, until_llm = time.monotonic() - started, next(iter(retrieved), None)
        return Answer(question.id, None, (), took, None, None, explain(error), until_llm, started_at)
    finally:
        call_times.set(None)
    timing = {"latency_seconds": seconds(), "retrieval_seconds": next(iter(retrieved), None), "started_at": started_at}
    contexts = passages(response.source_nodes)
    text = _text(response)
    if not text or (needs_contexts and not contexts):
        reason = "nothing was retrieved" if needs_contexts and not contexts else "the LLM gave an empty answer"
        return Answer(question.id, None, contexts, error=reason, **timing)
    prompt_tokens, completion_tokens = _sum_tokens(counts)
    return Answer(
        question.id, text, contexts, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, **timing
    )


def _text(response: Any) -> str:
    text = getattr(response, "response", None)
    text = (text if isinstance(text, str) else str(response)).strip()
    return "" if text == _EMPTY_RESPONSE else text


def _count_tokens() -> None:
    """Note the tokens of LLM calls and the end of retrieval, question by question, by LlamaIndex's instrumentation."""
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
