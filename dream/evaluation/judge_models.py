"""The judge's models for ragas' metrics: with requests that are sent concurrently in advance, or in turn, and checks
for empty answers."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from ragas.embeddings import OpenAIEmbeddings
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics.collections.answer_correctness.util import ClassificationWithReason

from dream.errors import DataError
from dream.models.direct_calls import ModelCalls


class EmbeddedOnce(OpenAIEmbeddings):
    """Embeds each text once for all metrics; texts given to `begin` share one request."""

    def __init__(self, embeddings: OpenAIEmbeddings, calls: ModelCalls) -> None:
        super().__init__(embeddings.client, embeddings.model)
        self._calls = calls
        self._tasks: dict[str, asyncio.Task[list[float]]] = {}

    def begin(self, texts: Iterable[str]) -> None:
        """Embed these texts in one request; `aembed_text` then waits for it."""
        if new := [text for text in dict.fromkeys(texts) if text.strip() and not self._is_embedded(text)]:
            request = asyncio.create_task(self._calls.embed(new))
            for position, text in enumerate(new):
                self._tasks[text] = asyncio.create_task(_vector_at(position, request))
                self._tasks[text].add_done_callback(lambda done: done.cancelled() or done.exception())

    async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
        if not self._is_embedded(text):
            self._tasks[text] = asyncio.create_task(_vector_at(0, asyncio.create_task(self._calls.embed([text]))))
        return await self._tasks[text]

    def embed_text(self, text: str, **kwargs: Any) -> list[float]:
        """The vector of a text that `aembed_text` has already embedded, without ragas' blocking call."""
        return self._tasks[text].result()

    def _is_embedded(self, text: str) -> bool:
        """True if a text has its vector, or a request for it is in flight; failed requests are repeated."""
        task = self._tasks.get(text)
        return task is not None and not (task.done() and (task.cancelled() or task.exception()))


async def _vector_at(position: int, request: "asyncio.Task[list[list[float]]]") -> list[float]:
    return (await request)[position]


class AskedAhead(InstructorBaseRagasLLM):
    """An LLM whose answers can be fetched concurrently before a metric requests them one by one.

    Answers belong to the asyncio task that fetched them, so one object can serve many questions concurrently.
    """

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        self._llm = llm
        self._answers: ContextVar[Mapping[tuple[str, Any], Any]] = ContextVar("answers")

    async def fetch(self, prompts: Sequence[str], response_model: Any) -> list[Any]:
        """Fetch the answers to these prompts concurrently; `agenerate` then returns them without a request."""
        answers = await asyncio.gather(*(self._llm.agenerate(prompt, response_model) for prompt in prompts))
        fetched = {(prompt, response_model): answer for prompt, answer in zip(prompts, answers, strict=True)}
        self._answers.set({**self._answers.get({}), **fetched})
        return answers

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        fetched = self._answers.get({}).get((prompt, response_model))
        return fetched if fetched is not None else await self._llm.agenerate(prompt, response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return self._llm.generate(prompt, response_model)


class Classifying(AskedAhead):
    """Raises an error if the judge classified no statement, which ragas would score."""

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        answer = await super().agenerate(prompt, response_model)
        if isinstance(answer, ClassificationWithReason) and not (answer.TP or answer.FP or answer.FN):
            raise DataError("the judge classified no statement")
        return answer


class FindingSomething(AskedAhead):
    """Raises an error if the judge found no claims or statements, which ragas would score."""

    async def fetch(self, prompts: Sequence[str], response_model: Any) -> list[Any]:
        """As in the base class, but an empty answer is an error."""
        answers = await super().fetch(prompts, response_model)
        if not all(getattr(answer, "claims", None) or getattr(answer, "statements", None) for answer in answers):
            raise DataError("the judge found no statement")
        return answers


class InTurn(InstructorBaseRagasLLM):
    """Several LLMs that are called in turn; `start` returns to the first one, in the calling asyncio task."""

    def __init__(self, llms: Sequence[InstructorBaseRagasLLM]) -> None:
        self._llms = llms
        self._turn: ContextVar[Iterator[InstructorBaseRagasLLM]] = ContextVar("turn")

    def start(self) -> None:
        self._turn.set(itertools.cycle(self._llms))

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        return await next(self._turn.get()).agenerate(prompt, response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return next(self._turn.get()).generate(prompt, response_model)
