"""ragas' metrics for the judge; this module uses only ragas' public interface.

Three faults of ragas 0.4.3 are corrected. answer_similarity embeds with a blocking call, which delays all other
questions. answer_correctness gives the full score if the judge finds or classifies no statement. Independent requests
are sent one after the other (context_precision: one for each context); here they are sent together in advance, and the
metric receives the answers without waiting.
"""

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, create_model
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
from ragas.metrics.collections.answer_correctness.util import StatementGeneratorInput, StatementGeneratorOutput
from ragas.metrics.collections.context_precision.util import ContextPrecisionInput, ContextPrecisionOutput
from ragas.metrics.collections.domain_specific_rubrics.util import DEFAULT_WITH_REFERENCE_RUBRICS
from ragas.metrics.result import MetricResult
from ragas.prompt.metrics.base_prompt import BasePrompt

from dream.errors import DataError
from dream.evaluation.further_ragas_metrics import (
    AheadFactualCorrectness,
    AheadNoiseSensitivity,
    AspectCritic,
    ScaledRubric,
)
from dream.evaluation.judge_models import AskedAhead, Classifying, EmbeddedOnce, InTurn
from dream.metrics import own_metrics


def ragas_metrics(
    names: Sequence[str],
    llm: InstructorBaseRagasLLM,
    question_llms: Sequence[InstructorBaseRagasLLM],
    embeddings: EmbeddedOnce,
) -> dict[str, BaseMetric]:
    """The ragas metrics among these metrics, including user-defined rubrics and criteria, ready for `ascore`.

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
        "factual_correctness": lambda: AheadFactualCorrectness(llm),
        "noise_sensitivity": lambda: AheadNoiseSensitivity(llm),
        "rubrics": lambda: ScaledRubric(llm, "rubrics", tuple(DEFAULT_WITH_REFERENCE_RUBRICS.values())),
    }
    metrics: dict[str, BaseMetric] = {name: constructors[name]() for name in names if name in constructors}
    for metric in own_metrics(names):
        if metric.rubric:
            metrics[metric.name] = ScaledRubric(llm, metric.name, metric.rubric)
        elif metric.criterion:
            metrics[metric.name] = AspectCritic(llm, metric)
    for metric in metrics.values():
        for prompt in vars(metric).values():
            if isinstance(prompt, BasePrompt):
                prompt.output_model = _with_schema_at_hand(prompt.output_model)
    return metrics


@functools.cache
def _with_schema_at_hand(response_model: type[BaseModel]) -> Any:
    """A response model that caches its JSON schema, which ragas' prompts otherwise generate each time."""
    prepared: Any = create_model(response_model.__name__, __base__=response_model, __doc__=response_model.__doc__)
    schema = response_model.model_json_schema()
    prepared.model_json_schema = lambda *_, **__: schema
    return prepared


class _AnswerRelevancy(AnswerRelevancy):
    """ragas' metric with a separate LLM for each derived question, so that equal requests get different answers."""

    llm: InTurn

    def __init__(self, llms: Sequence[InstructorBaseRagasLLM], embeddings: EmbeddedOnce) -> None:
        super().__init__(llm=InTurn(llms), embeddings=embeddings, strictness=len(llms))

    async def ascore(self, user_input: str, response: str) -> MetricResult:
        self.llm.start()
        return await super().ascore(user_input, response)


class _ContextPrecision(ContextPrecision):
    """ragas' metric, but the contexts are judged concurrently."""

    llm: AskedAhead

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        super().__init__(llm=AskedAhead(llm))

    async def ascore(self, user_input: str, reference: str, retrieved_contexts: list[str]) -> MetricResult:
        if user_input and reference and retrieved_contexts:  # ragas reports which of them is missing
            inputs = (
                ContextPrecisionInput(question=user_input, context=context, answer=reference)
                for context in retrieved_contexts
            )
            await self.llm.fetch([self.prompt.to_string(each) for each in inputs], ContextPrecisionOutput)
        return await super().ascore(user_input, reference, retrieved_contexts)


class _AnswerSimilarity(SemanticSimilarity):
    """ragas' metric, but waiting for the embeddings does not block."""

    async def ascore(self, reference: str, response: str) -> MetricResult:
        await asyncio.gather(*(self.embeddings.aembed_text(text) for text in (reference, response)))
        return await super().ascore(reference, response)


class _AnswerCorrectness(AnswerCorrectness):
    """ragas' metric, but both texts are decomposed concurrently, and it is an error instead of a perfect match if the
    judge finds or classifies no statement."""

    llm: Classifying

    def __init__(self, llm: InstructorBaseRagasLLM, embeddings: EmbeddedOnce) -> None:
        super().__init__(llm=Classifying(llm), embeddings=embeddings)

    async def ascore(self, user_input: str, response: str, reference: str) -> MetricResult:
        texts = list(dict.fromkeys((response, reference)))
        inputs = (StatementGeneratorInput(question=user_input, answer=text) for text in texts)
        prompts = [self.statement_generator_prompt.to_string(each) for each in inputs]
        for text, answer in zip(texts, await self.llm.fetch(prompts, StatementGeneratorOutput), strict=True):
            if not answer.statements:
                raise DataError(f"the judge found no statement in {text[:100]!r}")
        return await super().ascore(user_input, response, reference)
