"""An MLflow trace per question of a trial: retrieval, generation and judgements, with durations and scores.

Workers have no access to MLflow, by design, so the autologging of LlamaIndex and ragas cannot be used: the driver
writes the traces from the result of a finished trial. The duration of answering is that for a single user without a
cache (`Answer.latency_seconds`), the duration of judging the measured one. A span without a measured duration is marked
`UNTIMED`.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dream.metrics import definition_of
from dream.records import Answer, GoldenQuestion, Manifest, Score, Trial, TrialResult

if TYPE_CHECKING:
    from mlflow.entities import Assessment, Span, TraceInfo

# The maximum number of traces of an experiment by default.
MAX_TRACES = 2000
# The number of traces whose spans are sent in one request, and of concurrent requests that create traces (one for
# SQLite, which has a single writer: several would take a third more CPU time).
BATCH, AT_ONCE = 20, 4
UNTIMED = "not measured"
_PREVIEW = 1000


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
        return [QuestionTrace(self, question, answers[question.id], scores.get(question.id, [])) for question in asked]


@dataclass(frozen=True)
class QuestionTrace:
    """The trace of one question. Its id is a digest of run and question, so that no trace is logged twice."""

    of: TracedTrial
    question: GoldenQuestion
    answer: Answer
    scores: Sequence[Score]
    now: float = field(default_factory=time.time)

    @property
    def trace_id(self) -> str:
        """The id in MLflow's format, `tr-` and 32 hexadecimal digits."""
        return f"tr-{self._digits('trace', 32)}"

    def info(self) -> "TraceInfo":
        """The metadata of the trace: question, answer, tokens, scores, and the run."""
        from mlflow.entities import TraceInfo, TraceLocation, TraceState

        trial = self.of.result.trial
        tokens = self._tokens()
        applicable = [score for score in self.scores if not score.not_applicable]
        return TraceInfo(
            trace_id=self.trace_id,
            trace_location=TraceLocation.from_experiment_id(self.of.mlflow_experiment),
            request_time=int(self._started * 1000),
            execution_duration=int(self.answer.latency_seconds * 1000),
            state=TraceState.ERROR if self.answer.error else TraceState.OK,
            request_preview=self.question.question[:_PREVIEW],
            response_preview=(self.answer.text or self.answer.error or "")[:_PREVIEW],
            trace_metadata={
                "mlflow.sourceRun": self.of.run_id,
                **({"mlflow.trace.tokenUsage": json.dumps(tokens)} if tokens else {}),
            },
            tags={
                "mlflow.traceName": trial.query_engine_identifier,
                "dream.experiment": self.of.manifest.name,
                "dream.trial_id": trial.id,
                "dream.question_id": self.question.id,
                "dream.offline": str(self.of.manifest.offline).lower(),
            },
            assessments=[self._ground_truth(), *map(self._feedback, applicable)],
        )

    def spans(self) -> "list[Span]":
        """The root span, with the spans of retrieval and generation, and of the judge with a span per metric."""
        trial, answer = self.of.result.trial, self.answer
        begin, end = self._started, self._started + answer.latency_seconds
        judged = max((score.seconds or 0.0 for score in self.scores), default=0.0)
        root = _Step(trial.query_engine_identifier, "CHAIN", begin, end + judged, error=answer.error)
        root.inputs, root.outputs = {"question": self.question.question}, answer.text
        root.attributes = dict(trial.config()) | ({} if answer.started_at else {"started": UNTIMED})
        steps = [root, *(replace(step, parent=0) for step in self._answering(trial, begin, end))]
        if answer.error is None and self.scores:
            judge = _Step("judge", "EVALUATOR", end, end + judged, parent=0)
            judge.inputs = {"answer": answer.text, "ground_truth": self.question.ground_truth}
            judge.outputs = {score.metric: score.value for score in self.scores}
            judge.attributes = {"judge_llm": self.of.manifest.judge_llm}
            number = len(steps)
            steps += [judge, *(replace(_judged(score, end), parent=number) for score in self.scores)]
        return [self._span(number, step) for number, step in enumerate(steps)]

    @property
    def _started(self) -> float:
        """The time of the question in seconds since 1970; the current time if unknown."""
        return self.answer.started_at or self.now

    def _answering(self, trial: Trial, begin: float, end: float) -> "list[_Step]":
        answer, question = self.answer, self.question.question
        measured = answer.retrieval_seconds
        if measured is None and answer.error is not None and not answer.contexts:
            return []  # it is unknown whether retrieval or generation failed
        between = begin + (measured or 0.0)
        untimed = {} if measured is not None else {"duration": UNTIMED}
        retrieve = _Step("retrieve", "RETRIEVER", begin, between, attributes=dict(untimed))
        retrieve.inputs = {"query": question}
        retrieve.outputs = [_document(passage) for passage in answer.contexts] or None
        generate = _Step("generate", "LLM", between, between if untimed else end, error=answer.error)
        generate.inputs = {"question": question, "passages": len(answer.contexts)}
        generate.outputs = answer.text
        generate.attributes = {"mlflow.llm.model": trial.llm_identifier, **untimed}
        if tokens := self._tokens():
            generate.attributes["mlflow.chat.tokenUsage"] = tokens
        generate.attributes |= self._marks()
        # a closed-book answer has no retrieval
        return [retrieve, generate] if answer.contexts or answer.error else [generate]

    def _marks(self) -> dict[str, Any]:
        """The LLM's thinking, and whether its answer was cut or its tokens are estimates, where that is so."""
        answer = self.answer
        marks = {"thinking": answer.thinking, "cut": answer.is_cut, "tokens_estimated": answer.tokens_are_estimated}
        return {f"dream.{name}": value for name, value in marks.items() if value}

    def _tokens(self) -> dict[str, int] | None:
        given, made = self.answer.prompt_tokens, self.answer.completion_tokens
        if given is None or made is None:
            return None
        return {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}

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

    def _span(self, number: int, step: "_Step") -> "Span":
        from mlflow.entities import Span

        given = {
            "mlflow.traceRequestId": self.trace_id,
            "mlflow.experimentId": self.of.mlflow_experiment,
            "mlflow.spanType": step.kind,
            "mlflow.spanInputs": step.inputs,
            "mlflow.spanOutputs": step.outputs,
            **step.attributes,
        }
        return Span.from_dict(
            {
                "trace_id": self.trace_id,
                "span_id": self._digits(str(number), 16),
                "parent_span_id": None if step.parent is None else self._digits(str(step.parent), 16),
                "name": step.name,
                "start_time_unix_nano": int(step.begin * 1e9),
                "end_time_unix_nano": int(step.end * 1e9),
                "status": {"code": f"STATUS_CODE_{'ERROR' if step.error else 'OK'}", "message": step.error or ""},
                "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in given.items()},
            }
        )

    def _digits(self, part: str, n: int) -> str:
        """`n` hexadecimal digits that are unique for each run, question and part of its trace."""
        return hashlib.sha256(f"{self.of.run_id} {self.question.id} {part}".encode()).hexdigest()[:n]


@dataclass
class _Step:
    """A span to be converted to MLflow's class.

    `begin` and `end` are in seconds since 1970; `parent` is the index of the parent span.
    """

    name: str
    kind: str
    begin: float
    end: float
    inputs: Any = None
    outputs: Any = None
    attributes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    parent: int | None = None


def _judged(score: Score, begin: float) -> _Step:
    step = _Step(score.metric, "EVALUATOR", begin, begin + (score.seconds or 0.0), error=score.error)
    step.outputs = {"score": score.value, "reason": score.reason}
    step.attributes = {} if score.seconds is not None else {"duration": UNTIMED}
    return step


def _document(passage: Any) -> dict[str, Any]:
    """A passage in the format that MLflow's UI shows as a retrieved document."""
    metadata = {"doc_uri": passage.location, "tokens": passage.tokens}
    if passage.score is not None:
        metadata["score"] = passage.score
    if passage.is_cut:
        metadata["is_cut"] = True
    return {"page_content": passage.text, "metadata": metadata, "id": None}
