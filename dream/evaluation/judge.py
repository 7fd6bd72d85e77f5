"""The six ragas metrics, each `await judge.score(...)` for one answer. The only room that knows ragas' metrics.

Some of ragas' habits are mended here, each seen in 0.4.3: answer_similarity embeds with a blocking call that starts
a thread and holds up every other question; answer_correctness takes an answer for a perfect one where the judge found
or classified no statement; and what could be asked at the same time is asked one after the other (context_precision:
a call for each context).
"""

import asyncio
import contextvars
import functools
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

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
from ragas.metrics.collections.answer_correctness.util import ClassificationWithReason
from ragas.metrics.collections.context_precision.util import ContextPrecisionInput, ContextPrecisionOutput
from ragas.metrics.result import MetricResult
from ragas.prompt.metrics.base_prompt import BasePrompt

from dream.errors import DataError, end_of_all
from dream.evaluation.judge_llm import JudgeLLM
from dream.metrics import DEFINITIONS
from dream.models.pickers import judge_embed_model_picker, judge_llm_picker
from dream.records import Answer, Failure, FailureKind, GoldenQuestion, Score

# the statements of the texts that are being compared, by text
_statements: contextvars.ContextVar[Mapping[str, list[str]]] = contextvars.ContextVar("statements")


class Judge:
    """Scores answers on the given metrics. The same models judge every trial of an experiment.

    Args:
        llm, embed_model: model identifiers.
        strictness: how many questions answer_relevancy derives from an answer.
        trial: labels the judge's calls in the gateway's meter.
        repeat: number of the judgement, where it is repeated on purpose.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        llm: str,
        embed_model: str,
        strictness: int,
        trial: str = "",
        repeat: int = 0,
    ) -> None:
        self._embeddings = _EmbeddedOnce(judge_embed_model_picker(embed_model, trial=trial))
        judge = JudgeLLM(judge_llm_picker(llm, trial=trial, repeat=repeat))
        # the same request several times: each its own number, or the cache would make one answer of them
        numbers = range(repeat * strictness, (repeat + 1) * strictness)
        in_turn = _InTurn([JudgeLLM(judge_llm_picker(llm, trial=trial, repeat=number)) for number in numbers])
        make = {
            "faithfulness": lambda: Faithfulness(llm=judge),
            "answer_relevancy": lambda: _AnswerRelevancy(
                llm=in_turn, embeddings=self._embeddings, strictness=strictness
            ),
            "context_precision": lambda: _ContextPrecision(llm=judge),
            "context_recall": lambda: ContextRecall(llm=judge),
            "answer_correctness": lambda: _AnswerCorrectness(llm=judge, embeddings=self._embeddings),
            "answer_similarity": lambda: _AnswerSimilarity(embeddings=self._embeddings),
        }
        self._metrics: dict[str, BaseMetric] = {name: make[name]() for name in metrics}
        for metric in self._metrics.values():
            for prompt in vars(metric).values():
                if isinstance(prompt, BasePrompt):
                    prompt.output_model = _prepared(prompt.output_model)

    async def score(self, question: GoldenQuestion, answer: Answer) -> list[Score]:
        """One score for each metric; what cannot be scored is an error in it."""
        if answer.failure is not None:
            failure = answer.failure.before_judging()
            return [Score(question.id, name, None, failure=failure) for name in self._metrics]
        values = {
            "user_input": question.question,
            "response": answer.text,
            "reference": question.ground_truth,
            "retrieved_contexts": [passage.text for passage in answer.contexts],
        }
        self._embeddings.begin(values[name] for metric in self._metrics for name in DEFINITIONS[metric].embedded)
        return await asyncio.gather(*(self._score(name, question.id, values) for name in self._metrics))

    async def _score(self, name: str, question_id: str, values: Mapping[str, Any]) -> Score:
        arguments = {argument: values[argument] for argument in DEFINITIONS[name].arguments}
        started = time.monotonic()
        try:
            result = await self._metrics[name].ascore(**arguments)
        except Exception as error:  # noqa: BLE001 - a failed judgement is a value, and what failed is kept
            if (end := end_of_all(error)) is not None:
                raise end from None
            failure = Failure.of(error, judging=True)
            return Score(question_id, name, None, failure=failure, seconds=time.monotonic() - started)
        value, seconds = float(result.value), time.monotonic() - started
        if math.isnan(value):
            failure = Failure(FailureKind.UNREADABLE_JUDGEMENT, "the judge found no statement to score")
            return Score(question_id, name, None, failure=failure, seconds=seconds)
        return Score(question_id, name, value, reason=result.reason, seconds=seconds)


class _EmbeddedOnce(OpenAIEmbeddings):
    """Embeds each text once, however many metrics ask for it, and in one request those that are known beforehand."""

    def __init__(self, embeddings: OpenAIEmbeddings) -> None:
        super().__init__(embeddings.client, embeddings.model)
        self._tasks: dict[str, asyncio.Task[list[float]]] = {}

    def begin(self, texts: Iterable[str]) -> None:
        """Embed these texts together; `aembed_text` then waits for them."""
        if new := [text for text in dict.fromkeys(texts) if text.strip() and not self._is_known(text)]:
            together = asyncio.create_task(self.aembed_texts(new))
            for place, text in enumerate(new):
                self._tasks[text] = asyncio.create_task(_item(together, place))
                self._tasks[text].add_done_callback(lambda done: done.cancelled() or done.exception())

    async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
        if not self._is_known(text):
            self._tasks[text] = asyncio.create_task(super().aembed_text(text, **kwargs))
        return await self._tasks[text]

    def embed_text(self, text: str, **kwargs: Any) -> list[float]:
        """The vector of a text that `aembed_text` has given before, without ragas' blocking call."""
        return self._tasks[text].result()

    def _is_known(self, text: str) -> bool:
        """Whether a text has its vector, or will have it."""
        task = self._tasks.get(text)
        return task is not None and not (task.done() and (task.cancelled() or task.exception()))


async def _item(together: "asyncio.Task[list[list[float]]]", place: int) -> list[float]:
    return (await together)[place]


@functools.cache
def _prepared(response_model: type[BaseModel]) -> Any:
    """A response model with its JSON schema at hand, which ragas' prompts make anew each time they are written."""
    prepared: Any = create_model(response_model.__name__, __base__=response_model, __doc__=response_model.__doc__)
    schema = response_model.model_json_schema()
    prepared.model_json_schema = lambda *_, **__: schema
    return prepared


class _InTurn(InstructorBaseRagasLLM):
    """Judges asked one after the other, from the first on in each task that calls `start`."""

    def __init__(self, judges: Sequence[InstructorBaseRagasLLM]) -> None:
        self._judges = judges
        self._turn: contextvars.ContextVar[Iterator[InstructorBaseRagasLLM]] = contextvars.ContextVar("turn")

    def start(self) -> None:
        self._turn.set(itertools.cycle(self._judges))

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        return await next(self._turn.get()).agenerate(prompt, response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return next(self._turn.get()).generate(prompt, response_model)


class _AnswerRelevancy(AnswerRelevancy):
    """ragas' metric, except that each of its `strictness` requests is one of its own."""

    async def ascore(self, user_input: str, response: str) -> MetricResult:
        cast(_InTurn, self.llm).start()
        return await super().ascore(user_input, response)


class _ContextPrecision(ContextPrecision):
    """ragas' metric, except that the contexts are judged at the same time and not one after the other."""

    async def ascore(self, user_input: str, reference: str, retrieved_contexts: list[str]) -> MetricResult:
        if not (user_input and reference and retrieved_contexts):
            return await super().ascore(user_input, reference, retrieved_contexts)  # it says what is missing
        prompts = [
            self.prompt.to_string(ContextPrecisionInput(question=user_input, context=context, answer=reference))
            for context in retrieved_contexts
        ]
        judged = await asyncio.gather(*(self.llm.agenerate(prompt, ContextPrecisionOutput) for prompt in prompts))
        return MetricResult(value=float(self._calculate_average_precision([one.verdict for one in judged])))


class _AnswerSimilarity(SemanticSimilarity):
    """ragas' metric, except that waiting for the embeddings does not block."""

    async def ascore(self, reference: str, response: str) -> MetricResult:
        await asyncio.gather(*(self.embeddings.aembed_text(text) for text in (reference, response)))
        return await super().ascore(reference, response)


class _AnswerCorrectness(AnswerCorrectness):
    """ragas' metric, except that a judge who finds or classifies no statement is an error and not a perfect match, and
    that both texts are cut into statements at the same time."""

    async def ascore(self, user_input: str, response: str, reference: str) -> MetricResult:
        texts = list(dict.fromkeys((response, reference)))
        statements = await asyncio.gather(*(self._statements_in(user_input, text) for text in texts))
        _statements.set(dict(zip(texts, statements, strict=True)))
        return await super().ascore(user_input, response, reference)

    async def _generate_statements(self, question: str, text: str) -> list[str]:
        return _statements.get()[text]

    async def _statements_in(self, question: str, text: str) -> list[str]:
        statements = await super()._generate_statements(question, text)
        if not statements:
            raise DataError(f"the judge found no statement in {text[:100]!r}")
        return statements

    async def _classify_statements(
        self, question: str, answer_statements: list[str], ground_truth_statements: list[str]
    ) -> ClassificationWithReason:
        found = await super()._classify_statements(question, answer_statements, ground_truth_statements)
        if not (found.TP or found.FP or found.FN):
            raise DataError("the judge classified no statement")
        return found
