"""ragas' metrics as the judge uses them; the only module that knows ragas' metrics. It calls ragas' public parts alone.

Three faults of ragas 0.4.3 are corrected. answer_similarity embeds with a blocking call, which delays all other
questions. answer_correctness gives the full score if the judge finds or classifies no statement. Independent requests
are sent one after the other (context_precision: one for each context); here they are sent together in advance, and the
metric receives the answers without waiting.
"""

import asyncio
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel, create_model
from ragas.embeddings import OpenAIEmbeddings
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics.collections import (
    AnswerCorrectness,
    AnswerRelevancy,
    BaseMetric,
    ContextPrecision,
    ContextRecall,
    Faithfulness,
    SemanticSimilarity,
)
from ragas.metrics.collections.answer_correctness.util import (
    ClassificationWithReason,
    StatementGeneratorInput,
    StatementGeneratorOutput,
)
from ragas.metrics.collections.context_precision.util import ContextPrecisionInput, ContextPrecisionOutput
from ragas.metrics.result import MetricResult
from ragas.prompt.metrics.base_prompt import BasePrompt

from dream.errors import DataError
from dream.models.direct_calls import ModelCalls


def ragas_metrics(
    names: Sequence[str],
    llm: InstructorBaseRagasLLM,
    question_llms: Sequence[InstructorBaseRagasLLM],
    embeddings: "EmbeddedOnce",
) -> dict[str, BaseMetric]:
    """The metrics of these names, ready to `ascore`.

    Args:
        question_llms: one LLM for each question that answer_relevancy derives from an answer.
    """
    constructors = {
        "faithfulness": lambda: Faithfulness(llm=llm),
        "answer_relevancy": lambda: _AnswerRelevancy(question_llms, embeddings),
        "context_precision": lambda: _ContextPrecision(llm),
        "context_recall": lambda: ContextRecall(llm=llm),
        "answer_correctness": lambda: _AnswerCorrectness(llm, embeddings),
        "answer_similarity": lambda: _AnswerSimilarity(embeddings=embeddings),
    }
    metrics: dict[str, BaseMetric] = {name: constructors[name]() for name in names}
    for metric in metrics.values():
        for prompt in vars(metric).values():
            if isinstance(prompt, BasePrompt):
                prompt.output_model = _with_schema_at_hand(prompt.output_model)
    return metrics


class EmbeddedOnce(OpenAIEmbeddings):
    """Embeds each text once, however many metrics ask for it; texts given to `begin` share one request."""

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
        """The vector of a text that `aembed_text` has given before, without ragas' blocking call."""
        return self._tasks[text].result()

    def _is_embedded(self, text: str) -> bool:
        """True when a text has its vector, or a request for it is running; a failed one is asked again."""
        task = self._tasks.get(text)
        return task is not None and not (task.done() and (task.cancelled() or task.exception()))


async def _vector_at(position: int, request: "asyncio.Task[list[list[float]]]") -> list[float]:
    return (await request)[position]


@functools.cache
def _with_schema_at_hand(response_model: type[BaseModel]) -> Any:
    """A response model that keeps its JSON schema, which ragas' prompts otherwise make anew each time."""
    prepared: Any = create_model(response_model.__name__, __base__=response_model, __doc__=response_model.__doc__)
    schema = response_model.model_json_schema()
    prepared.model_json_schema = lambda *_, **__: schema
    return prepared


class _AskedAhead(InstructorBaseRagasLLM):
    """An LLM whose answers can be fetched together before a metric asks for them one by one.

    The answers belong to the asyncio task that fetched them, so one object serves many questions at the same time.
    """

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        self._llm = llm
        self._answers: ContextVar[Mapping[tuple[str, Any], Any]] = ContextVar("answers")

    async def fetch(self, prompts: Sequence[str], response_model: Any) -> list[Any]:
        """The answers to these prompts, asked at the same time; `agenerate` then gives them without a request."""
        answers = await asyncio.gather(*(self._llm.agenerate(prompt, response_model) for prompt in prompts))
        self._answers.set({(prompt, response_model): answer for prompt, answer in zip(prompts, answers, strict=True)})
        return answers

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        fetched = self._answers.get({}).get((prompt, response_model))
        return fetched if fetched is not None else await self._llm.agenerate(prompt, response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return self._llm.generate(prompt, response_model)


class _Classifying(_AskedAhead):
    """Refuses a classification of no statement, which ragas would score."""

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        answer = await super().agenerate(prompt, response_model)
        if isinstance(answer, ClassificationWithReason) and not (answer.TP or answer.FP or answer.FN):
            raise DataError("the judge classified no statement")
        return answer


class _InTurn(InstructorBaseRagasLLM):
    """Several LLMs, asked in turn; `start` begins again with the first, for the asyncio task that calls it."""

    def __init__(self, llms: Sequence[InstructorBaseRagasLLM]) -> None:
        self._llms = llms
        self._turn: ContextVar[Iterator[InstructorBaseRagasLLM]] = ContextVar("turn")

    def start(self) -> None:
        self._turn.set(itertools.cycle(self._llms))

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        return await next(self._turn.get()).agenerate(prompt, response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return next(self._turn.get()).generate(prompt, response_model)


class _AnswerRelevancy(AnswerRelevancy):
    """ragas' metric with an LLM for each question that it derives, so that equal requests get answers of their own."""

    llm: _InTurn

    def __init__(self, llms: Sequence[InstructorBaseRagasLLM], embeddings: EmbeddedOnce) -> None:
        super().__init__(llm=_InTurn(llms), embeddings=embeddings, strictness=len(llms))

    async def ascore(self, user_input: str, response: str) -> MetricResult:
        self.llm.start()
        return await super().ascore(user_input, response)


class _ContextPrecision(ContextPrecision):
    """ragas' metric, except that the contexts are judged at the same time and not one after the other."""

    llm: _AskedAhead

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        super().__init__(llm=_AskedAhead(llm))

    async def ascore(self, user_input: str, reference: str, retrieved_contexts: list[str]) -> MetricResult:
        if user_input and reference and retrieved_contexts:  # ragas says which of them is missing
            inputs = (
                ContextPrecisionInput(question=user_input, context=context, answer=reference)
                for context in retrieved_contexts
            )
            await self.llm.fetch([self.prompt.to_string(each) for each in inputs], ContextPrecisionOutput)
        return await super().ascore(user_input, reference, retrieved_contexts)


class _AnswerSimilarity(SemanticSimilarity):
    """ragas' metric, except that waiting for the embeddings does not block."""

    async def ascore(self, reference: str, response: str) -> MetricResult:
        await asyncio.gather(*(self.embeddings.aembed_text(text) for text in (reference, response)))
        return await super().ascore(reference, response)


class _AnswerCorrectness(AnswerCorrectness):
    """ragas' metric, except that both texts are cut into statements at the same time, and that a judge who finds or
    classifies no statement is an error and not a perfect match."""

    llm: _Classifying

    def __init__(self, llm: InstructorBaseRagasLLM, embeddings: EmbeddedOnce) -> None:
        super().__init__(llm=_Classifying(llm), embeddings=embeddings)

    async def ascore(self, user_input: str, response: str, reference: str) -> MetricResult:
        texts = list(dict.fromkeys((response, reference)))
        inputs = (StatementGeneratorInput(question=user_input, answer=text) for text in texts)
        prompts = [self.statement_generator_prompt.to_string(each) for each in inputs]
        for text, answer in zip(texts, await self.llm.fetch(prompts, StatementGeneratorOutput), strict=True):
            if not answer.statements:
                raise DataError(f"the judge found no statement in {text[:100]!r}")
        return await super().ascore(user_input, response, reference)
