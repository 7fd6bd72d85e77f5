"""The judge: answers become scores on ragas' metrics, each `await judge.score(...)` for one answer."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.errors import DataError, end_of_all
from dream.evaluation.ragas_metrics import EmbeddedOnce, ragas_metrics
from dream.metrics import DEFINITIONS
from dream.models.pickers import judge_embed_model_picker, judge_llm_picker, model_calls
from dream.records import Answer, Failure, FailureKind, GoldenQuestion, Score

# cosines of float32 vectors may be above 1 by this
ROUNDING = 1e-5


class Judge:
    """Scores answers on the given metrics. The same models judge every trial of an experiment.

    Args:
        llm, embed_model: model identifiers.
        strictness: how many questions answer_relevancy derives from an answer.
        trial: labels the judge's calls in the gateway's meter.
        repeat: number of the judgement, from 0 on, where it is repeated on purpose.
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
        self._embeddings = EmbeddedOnce(
            judge_embed_model_picker(embed_model, trial=trial), model_calls(embed_model, trial=trial)
        )
        llm_judge = judge_llm_picker(llm, trial=trial, repeat=repeat)
        # requests that are alike need numbers of their own, or the cache would give all of them the first's answer
        numbers = range(repeat * strictness, (repeat + 1) * strictness)
        question_llms = [judge_llm_picker(llm, trial=trial, repeat=number) for number in numbers]
        self._metrics = ragas_metrics(metrics, llm_judge, question_llms, self._embeddings)

    async def score(self, question: GoldenQuestion, answer: Answer) -> list[Score]:
        """One score for each metric, in their order; a failed judgement is a score with `failure` and no value."""
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
            failure = _failure_of(error)
            return Score(question_id, name, None, failure=failure, seconds=time.monotonic() - started)
        value, seconds = float(result.value), time.monotonic() - started
        if (problem := _problem_of(name, value)) is not None:
            failure = Failure(FailureKind.UNREADABLE_JUDGEMENT, problem)
            return Score(question_id, name, None, failure=failure, seconds=seconds)
        return Score(question_id, name, value, reason=result.reason, seconds=seconds)


def _failure_of(error: Exception) -> Failure:
    """The failure of a judgement; what a judge said wrong is no mistake in a program that has a place in it."""
    failure = Failure.of(error, judging=True)
    return replace(failure, traceback="") if isinstance(error, DataError) else failure


def _problem_of(metric: str, value: float) -> str | None:
    """Why a value is no score; None if it is one."""
    if math.isnan(value):
        return "the judge found no statement to score"
    least, most = DEFINITIONS[metric].bounds
    if least - ROUNDING <= value <= most + ROUNDING:
        return None
    return f"the score {value:g} is outside of the range of {metric}, {least:g} to {most:g}: it is not used"
