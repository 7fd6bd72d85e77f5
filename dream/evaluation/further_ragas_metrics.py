"""Optional metrics of ragas, and its rubrics and aspect critic with the user's texts. Like `ragas_metrics`, this module
uses only ragas' public interface."""

from collections.abc import Sequence

from pydantic import BaseModel, Field
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics.collections import BaseMetric, DomainSpecificRubrics, FactualCorrectness, NoiseSensitivity
from ragas.metrics.collections.factual_correctness.util import (
    ClaimDecompositionInput,
    ClaimDecompositionOutput,
    NLIStatementInput,
    NLIStatementOutput,
)
from ragas.metrics.collections.noise_sensitivity import util as noise_util
from ragas.metrics.result import MetricResult
from ragas.prompt.metrics.base_prompt import BasePrompt

from dream.errors import DataError
from dream.evaluation.judge_models import FindingSomething
from dream.metrics import Metric


class AheadFactualCorrectness(FactualCorrectness):
    """ragas' metric, but both texts are decomposed and checked concurrently, and it is an error instead of a score if
    the judge finds no claim."""

    llm: FindingSomething

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        super().__init__(llm=FindingSomething(llm))

    async def ascore(self, response: str, reference: str) -> MetricResult:
        texts = (response, reference)
        inputs = (ClaimDecompositionInput(response=text, atomicity="low", coverage="low") for text in texts)
        decompositions = await self.llm.fetch(
            [self.prompt.to_string(each) for each in inputs], ClaimDecompositionOutput
        )
        pairs = zip(decompositions, reversed(texts), strict=True)
        checks = (NLIStatementInput(context=context, statements=answer.claims) for answer, context in pairs)
        await self.llm.fetch([self.nli_prompt.to_string(each) for each in checks], NLIStatementOutput)
        return await super().ascore(response, reference)


class AheadNoiseSensitivity(NoiseSensitivity):
    """ragas' metric, but statements are checked against all passages concurrently, and it is an error instead of a
    score if the judge finds no statement."""

    llm: FindingSomething

    def __init__(self, llm: InstructorBaseRagasLLM) -> None:
        super().__init__(llm=FindingSomething(llm))

    async def ascore(
        self, user_input: str, response: str, reference: str, retrieved_contexts: list[str]
    ) -> MetricResult:
        inputs = (noise_util.StatementGeneratorInput(question=user_input, text=text) for text in (reference, response))
        prompts = [self.statement_prompt.to_string(each) for each in inputs]
        of_truth, of_answer = await self.llm.fetch(prompts, noise_util.StatementGeneratorOutput)
        pairs = [(context, stated) for context in retrieved_contexts for stated in (of_truth, of_answer)]
        checks = (
            noise_util.StatementFaithfulnessInput(context=context, statements=stated.statements)
            for context, stated in [*pairs, (reference, of_answer)]
        )
        prompts = [self.faithfulness_prompt.to_string(each) for each in checks]
        await self.llm.fetch(prompts, noise_util.StatementFaithfulnessOutput)
        return await super().ascore(user_input, response, reference, retrieved_contexts)


class ScaledRubric(DomainSpecificRubrics):
    """ragas' metric with user-defined levels, scored from 0 for the worst to 1 for the best."""

    def __init__(self, llm: InstructorBaseRagasLLM, name: str, levels: Sequence[str]) -> None:
        self._levels = levels
        rubrics = {f"score{number}_description": text for number, text in enumerate(self._levels, 1)}
        super().__init__(llm=llm, rubrics=rubrics, with_reference=True, name=name)

    async def ascore(self, user_input: str, response: str, reference: str) -> MetricResult:
        result = await super().ascore(user_input=user_input, response=response, reference=reference)
        if not 1 <= result.value <= len(self._levels):
            raise DataError(f"the judge chose level {result.value:g} of {len(self._levels)}")
        return MetricResult(value=(result.value - 1) / (len(self._levels) - 1), reason=result.reason)


class _AspectInput(BaseModel):
    user_input: str
    response: str
    retrieved_contexts: list[str]
    reference: str


class AspectCriticOutput(BaseModel):
    """The judge's answer in the form of ragas' aspect critic."""

    reason: str = Field(description="Reason for the verdict")
    verdict: int = Field(description="The verdict (0 or 1) for the submission")


class _AspectPrompt(BasePrompt[_AspectInput, AspectCriticOutput]):
    input_model, output_model = _AspectInput, AspectCriticOutput

    def __init__(self, criterion: str) -> None:
        self.instruction = (
            "Evaluate the Input based on the criterial defined. Use only 'Yes' (1) and 'No' (0) as verdict.\n"
            f"Criteria Definition: {criterion}"
        )
        example = _AspectInput(
            user_input="When was the mill built?",
            response="The mill was built in 1931.",
            retrieved_contexts=["The mill was built in 1931."],
            reference="In 1931.",
        )
        verdict = AspectCriticOutput(reason="The response meets the criteria for this input.", verdict=1)
        self.examples = [(example, verdict)]


class AspectCritic(BaseMetric):
    """ragas' aspect critic, which ragas lacks for its modern models: one verdict on a criterion."""

    llm: InstructorBaseRagasLLM

    def __init__(self, llm: InstructorBaseRagasLLM, metric: Metric) -> None:
        self.llm, self.prompt = llm, _AspectPrompt(metric.criterion)
        super().__init__(name=metric.name)

    async def ascore(
        self, user_input: str, response: str, retrieved_contexts: list[str], reference: str
    ) -> MetricResult:
        given = _AspectInput(
            user_input=user_input, response=response, retrieved_contexts=retrieved_contexts, reference=reference
        )
        answer = await self.llm.agenerate(self.prompt.to_string(given), self.prompt.output_model)
        return MetricResult(value=float(answer.verdict), reason=answer.reason)
