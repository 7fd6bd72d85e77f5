"""An MLflow trace per question of a trial: retrieval, generation and judgements, with durations and scores.

Workers have no access to MLflow, by design, so the autologging of LlamaIndex and ragas cannot be used: the driver
writes the traces from the result of a finished trial. The duration of answering is that of `AnswerTrace`, the duration
of judging the measured one.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dream.metrics import definition_of
from dream.records import Answer, GoldenQuestion, Manifest, Score, TrialResult
from dream.tracking.answer_trace import UNTIMED, AnswerTrace, Step

if TYPE_CHECKING:
    from mlflow.entities import Assessment, TraceInfo

# The maximum number of traces of an experiment by default.
MAX_TRACES = 2000
# The number of traces whose spans are sent in one request, and of concurrent requests that create traces (one for
# SQLite, which has a single writer: several would take a third more CPU time).
BATCH, AT_ONCE = 20, 4


def questions_traced(setting: str, n_trials: int, n_questions: int) -> int:
    """The number of questions of each trial that get a trace, by the setting DREAM_MLFLOW_TRACES.

    Example:
        >>> questions_traced("auto", 12, 50), questions_traced("auto", 200, 50), questions_traced("all", 200, 50)
        (50, 10, 50)
    """
    limits = {"all": n_questions, "auto": MAX_TRACES // max(n_trials, 1)}
    return min(n_questions, limits[setting] if setting in limits else int(setting))


@dataclass(frozen=True)
class TracedTrial:
    """A trial whose questions are traced, and the MLflow run that the traces belong to."""

    tracking_uri: str
    mlflow_experiment: str
    run_id: str
    result: TrialResult
    manifest: Manifest

    def log(self, n_questions: int) -> int:
        """Log the traces of the first `n_questions` questions; returns the number of traces."""
        from mlflow.tracing.client import TracingClient

        client = TracingClient(self.tracking_uri)
        traces = self._traces(n_questions)
        at_once = 1 if self.tracking_uri.startswith("sqlite:") else AT_ONCE
        with ThreadPoolExecutor(at_once, thread_name_prefix="dream-traces") as pool:
            for first in range(0, len(traces), BATCH):
                batch = traces[first : first + BATCH]
                list(pool.map(client.start_trace, [trace.info() for trace in batch]))
                client.log_spans(self.mlflow_experiment, [span for trace in batch for span in trace.spans()])
        return len(traces)

    def _traces(self, n_questions: int) -> "list[QuestionTrace]":
        evaluation = self.result.evaluation
        if evaluation is None:
            return []
        answers = {answer.question_id: answer for answer in evaluation.answers}
        asked = [question for question in self.manifest.questions if question.id in answers][:n_questions]
        scores: dict[str, list[Score]] = {}
        for score in evaluation.scores:
            scores.setdefault(score.question_id, []).append(score)
        return [self._trace(question, answers[question.id], scores.get(question.id, [])) for question in asked]

    def _trace(self, question: GoldenQuestion, answer: Answer, scores: Sequence[Score]) -> "QuestionTrace":
        seed = f"{self.run_id} {question.id}"
        own = (self.mlflow_experiment, self.result.trial, question.question, answer, seed)
        return QuestionTrace(*own, self, question, scores)


@dataclass(frozen=True)
class QuestionTrace(AnswerTrace):
    """The trace of a golden question, with its scores."""

    of: TracedTrial
    question: GoldenQuestion
    scores: Sequence[Score]

    def info(self) -> "TraceInfo":
        """The metadata of the trace: question, answer, tokens, scores, and the run."""
        applicable = [score for score in self.scores if not score.not_applicable]
        return self.trace_info(
            metadata={"mlflow.sourceRun": self.of.run_id},
            tags={
                "dream.experiment": self.of.manifest.name,
                "dream.question_id": self.question.id,
                "dream.offline": str(self.of.manifest.offline).lower(),
            },
            assessments=[self._ground_truth(), *map(self._feedback, applicable)],
        )

    def steps(self) -> list[Step]:
        """The root, with retrieval and generation, and the judge with a step per metric."""
        root, *answering = super().steps()
        end = root.end
        judged = max((score.seconds or 0.0 for score in self.scores), default=0.0)
        steps = [replace(root, end=end + judged), *answering]
        if self.answer.error is None and self.scores:
            judge = Step("judge", "EVALUATOR", end, end + judged, parent=0)
            judge.inputs = {"answer": self.answer.text, "ground_truth": self.question.ground_truth}
            judge.outputs = {score.metric: score.value for score in self.scores}
            judge.attributes = {"judge_llm": self.of.manifest.judge_llm}
            number = len(steps)
            steps += [judge, *(replace(_judged(score, end), parent=number) for score in self.scores)]
        return steps

    def _ground_truth(self) -> "Assessment":
        from mlflow.entities import AssessmentSource, Expectation

        made = self.question.synthesizer
        source = AssessmentSource("CODE" if made else "HUMAN", made or "golden dataset")
        return Expectation("expected_response", self.question.ground_truth, source, self.trace_id)

    def _feedback(self, score: Score) -> "Assessment":
        from mlflow.entities import AssessmentError, AssessmentSource, Feedback

        manifest = self.of.manifest
        metric = definition_of(score.metric, manifest.own_metrics)
        by_code = ("CODE", manifest.judge_embed_model if metric.embedded else "dream")
        source = ("LLM_JUDGE", manifest.judge_llm) if metric.judged else by_code
        return Feedback(
            name=score.metric,
            value=score.value,
            error=AssessmentError("NOT_SCORED", score.error) if score.error else None,
            source=AssessmentSource(*source),
            trace_id=self.trace_id,
            rationale=score.reason,
        )


def _judged(score: Score, begin: float) -> Step:
    step = Step(score.metric, "EVALUATOR", begin, begin + (score.seconds or 0.0), error=score.error)
    step.outputs = {"score": score.value, "reason": score.reason}
    step.attributes = {} if score.seconds is not None else {"duration": UNTIMED}
    return step
