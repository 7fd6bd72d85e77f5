"""The judge: answers become scores, each `await judge.score(...)` for one answer."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.errors import DataError, end_of_all
from dream.evaluation.answer_metrics import AnswerMetric
from dream.evaluation.applicability import why_not_applicable
from dream.evaluation.evidence import Covered, Evidence, coverage
from dream.evaluation.judge_models import EmbeddedOnce
from dream.evaluation.locating import known_evidence
from dream.evaluation.own_functions import AskedJudge, OwnFunction
from dream.evaluation.ragas_metrics import ragas_metrics
from dream.evaluation.retrieval_metrics import RetrievalMetric
from dream.metrics import Metric, NotApplicable, find_metric
from dream.models.pickers import judge_embed_model_picker, judge_llm_picker, model_calls
from dream.records import Answer, Failure, FailureKind, GoldenQuestion, Score

# cosines of float32 vectors may be above 1 by this
ROUNDING = 1e-5


class Judge:
    """Scores answers on the given metrics. The same models judge every trial of an experiment.

    Args:
        llm, embed_model: model identifiers.
        strictness: the number of questions that answer_relevancy derives from an answer.
        trial: labels the judge's calls in the gateway's usage.
        repeat: the number of the judgement, from 0; above 0 for intentional repeats.
        evidence: the evidence by question id, as located in the documents; for other questions, the evidence that they
            name.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        llm: str,
        embed_model: str,
        strictness: int,
        trial: str = "",
        repeat: int = 0,
        evidence: Mapping[str, Evidence] | None = None,
    ) -> None:
        self._definitions = {name: find_metric(name) for name in metrics}
        self._evidence = evidence or {}
        self._embeddings = EmbeddedOnce(
            judge_embed_model_picker(embed_model, trial=trial), model_calls(embed_model, trial=trial)
        )
        llm_judge = judge_llm_picker(llm, trial=trial, repeat=repeat)
        # identical requests need distinct numbers, or the cache would return the same answer for all
        numbers = range(repeat * strictness, (repeat + 1) * strictness)
        question_llms = [judge_llm_picker(llm, trial=trial, repeat=number) for number in numbers]
        self._metrics: dict[str, Any] = ragas_metrics(metrics, llm_judge, question_llms, self._embeddings)
        asked = AskedJudge(llm_judge)
        for name, metric in self._definitions.items():
            if name not in self._metrics:
                self._metrics[name] = _computed(metric, asked)

    async def score(self, question: GoldenQuestion, answer: Answer) -> list[Score]:
        """One score per metric, in order; a failed judgement is a score with `failure` and without value."""
        values: dict[str, Any] = {
            "user_input": question.question,
            "response": answer.text,
            "reference": question.ground_truth,
            "retrieved_contexts": [passage.text for passage in answer.contexts],
        }
        evidence = self._evidence.get(question.id) or known_evidence(question)
        scores: dict[str, Score] = {}
        for name, metric in self._definitions.items():
            if reason := why_not_applicable(metric, question, evidence):
                scores[name] = Score(question.id, name, None, not_applicable=reason)
            elif answer.failure is not None and not _can_be_scored(metric, answer):
                scores[name] = Score(question.id, name, None, failure=answer.failure.before_judging())
        due = {name: metric for name, metric in self._definitions.items() if name not in scores}
        self._embeddings.begin(values[name] for metric in due.values() for name in metric.embedded)
        if any(metric.needs_evidence for metric in due.values()):
            values["evidence"] = _covered(answer, evidence)
        found = await asyncio.gather(*(self._score(metric, question.id, values) for metric in due.values()))
        scores |= {score.metric: score for score in found}
        return [scores[name] for name in self._definitions]

    async def _score(self, metric: Metric, question_id: str, values: Mapping[str, Any]) -> Score:
        arguments = {name: values[name] for name in metric.arguments}
        started = time.monotonic()
        try:
            if isinstance(problem := arguments.get("evidence"), DataError):
                raise problem
            result = await self._metrics[metric.name].ascore(**arguments)
        except NotApplicable as reason:
            return Score(question_id, metric.name, None, not_applicable=str(reason) or "the metric says so")
        except Exception as error:  # noqa: BLE001 - a failed judgement is a value, and what failed is kept
            if (end := end_of_all(error)) is not None:
                raise end from None
            failure = _failure_of(error)
            return Score(question_id, metric.name, None, failure=failure, seconds=time.monotonic() - started)
        value, seconds = float(result.value), time.monotonic() - started
        if (problem := _problem_of(metric, value)) is not None:
            failure = Failure(FailureKind.UNREADABLE_JUDGEMENT, problem)
            return Score(question_id, metric.name, None, failure=failure, seconds=seconds)
        return Score(question_id, metric.name, value, reason=result.reason, seconds=seconds)


def _computed(metric: Metric, judge: AskedJudge) -> RetrievalMetric | AnswerMetric | OwnFunction:
    if metric.source:
        return OwnFunction(metric, judge)
    return RetrievalMetric(metric) if metric.needs_evidence else AnswerMetric(metric)


def _covered(answer: Answer, evidence: Evidence) -> Sequence[Covered] | DataError:
    """The evidence with the passages that cover it, for all evidence metrics; an exception if it cannot be
    determined."""
    try:
        return coverage(answer.contexts, evidence.places)
    except DataError as error:
        return error


def _can_be_scored(metric: Metric, answer: Answer) -> bool:
    """True for a pure retrieval metric if nothing was retrieved, or if the LLM failed after retrieval."""
    retrieved = bool(answer.contexts) or (answer.failure and answer.failure.kind == FailureKind.NOTHING_RETRIEVED)
    return bool(retrieved) and metric.has_cutoff


def _failure_of(error: Exception) -> Failure:
    """The failure of a judgement; a wrong reply of the judge is not a bug, so it has no traceback."""
    failure = Failure.of(error, judging=True)
    return replace(failure, traceback="") if isinstance(error, DataError) else failure


def _problem_of(metric: Metric, value: float) -> str | None:
    """The reason why a value is not a valid score; None if it is one."""
    if math.isnan(value):
        return "the judge found no statement to score"
    least, most = (0.0, 1.0) if metric.source else metric.bounds
    if least - ROUNDING <= value <= most + ROUNDING:
        return None
    return f"the score {value:g} is outside of the range of {metric.name}, {least:g} to {most:g}: it is not used"
