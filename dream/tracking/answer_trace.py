"""`AnswerTrace`: an answer as spans of an MLflow trace, the same for experiments and for what is served.

The duration of answering is that for a single user without a cache (`Answer.latency_seconds`). A span without a
measured duration is marked `UNTIMED`.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dream.records import Answer, Trial

if TYPE_CHECKING:
    from mlflow.entities import Assessment, Span, TraceInfo

UNTIMED = "not measured"
_PREVIEW = 1000


@dataclass
class Step:
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


@dataclass(frozen=True)
class AnswerTrace:
    """The trace of one answer. Its id is a digest of `seed`, so that no trace is logged twice."""

    mlflow_experiment: str
    trial: Trial
    question_text: str
    answer: Answer
    seed: str
    now: float = field(default_factory=time.time, kw_only=True)

    @property
    def trace_id(self) -> str:
        """The id in MLflow's format, `tr-` and 32 hexadecimal digits."""
        return f"tr-{self._digits('trace', 32)}"

    def trace_info(
        self, metadata: Mapping[str, str], tags: Mapping[str, str], assessments: "Sequence[Assessment]" = ()
    ) -> "TraceInfo":
        """MLflow's metadata of the trace: question, answer, tokens and trial, with further metadata and tags."""
        from mlflow.entities import TraceInfo, TraceLocation, TraceState

        tokens, answer = self.tokens(), self.answer
        return TraceInfo(
            trace_id=self.trace_id,
            trace_location=TraceLocation.from_experiment_id(self.mlflow_experiment),
            request_time=int(self.started * 1000),
            execution_duration=int(answer.latency_seconds * 1000),
            state=TraceState.ERROR if answer.error else TraceState.OK,
            request_preview=self.question_text[:_PREVIEW],
            response_preview=(answer.text or answer.error or "")[:_PREVIEW],
            trace_metadata={**metadata, **({"mlflow.trace.tokenUsage": json.dumps(tokens)} if tokens else {})},
            tags={"mlflow.traceName": self.trial.query_engine_identifier, "dream.trial_id": self.trial.id, **tags},
            assessments=list(assessments),
        )

    def steps(self) -> list[Step]:
        """The root, named as the RAG method, with retrieval and generation."""
        trial, answer = self.trial, self.answer
        begin, end = self.started, self.started + answer.latency_seconds
        root = Step(trial.query_engine_identifier, "CHAIN", begin, end, error=answer.error)
        root.inputs, root.outputs = {"question": self.question_text}, answer.text
        root.attributes = dict(trial.config()) | ({} if answer.started_at else {"started": UNTIMED})
        return [root, *(replace(step, parent=0) for step in self.answering(begin, end))]

    def spans(self) -> "list[Span]":
        """The steps as MLflow's spans."""
        return [self.span(number, step) for number, step in enumerate(self.steps())]

    @property
    def started(self) -> float:
        """The time of the question in seconds since 1970; the current time if unknown."""
        return self.answer.started_at or self.now

    def answering(self, begin: float, end: float) -> "list[Step]":
        """Retrieval and generation between two times."""
        answer = self.answer
        measured = answer.retrieval_seconds
        if measured is None and answer.error is not None and not answer.contexts:
            return []  # it is unknown whether retrieval or generation failed
        between = begin + (measured or 0.0)
        untimed = {} if measured is not None else {"duration": UNTIMED}
        retrieve = Step("retrieve", "RETRIEVER", begin, between, attributes=dict(untimed))
        retrieve.inputs = {"query": self.question_text}
        retrieve.outputs = [_document(passage) for passage in answer.contexts] or None
        generate = Step("generate", "LLM", between, between if untimed else end, error=answer.error)
        generate.inputs = {"question": self.question_text, "passages": len(answer.contexts)}
        generate.outputs = answer.text
        generate.attributes = {"mlflow.llm.model": self.trial.llm_identifier, **untimed}
        if tokens := self.tokens():
            generate.attributes["mlflow.chat.tokenUsage"] = tokens
        generate.attributes |= self._marks()
        # a closed-book answer has no retrieval
        return [retrieve, generate] if answer.contexts or answer.error else [generate]

    def _marks(self) -> dict[str, Any]:
        """The LLM's thinking, and whether its answer was cut or its tokens are estimates, where that is so."""
        answer = self.answer
        marks = {"thinking": answer.thinking, "cut": answer.is_cut, "tokens_estimated": answer.tokens_are_estimated}
        return {f"dream.{name}": value for name, value in marks.items() if value}

    def tokens(self) -> dict[str, int] | None:
        """The tokens as MLflow counts them; None where they are unknown."""
        given, made = self.answer.prompt_tokens, self.answer.completion_tokens
        if given is None or made is None:
            return None
        return {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}

    def span(self, number: int, step: "Step") -> "Span":
        """MLflow's span of the step with a number, the root first."""
        from mlflow.entities import Span

        given = {
            "mlflow.traceRequestId": self.trace_id,
            "mlflow.experimentId": self.mlflow_experiment,
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
        """`n` hexadecimal digits that are unique for each answer and part of its trace."""
        return hashlib.sha256(f"{self.seed} {part}".encode()).hexdigest()[:n]


def _document(passage: Any) -> dict[str, Any]:
    """A passage in the format that MLflow's UI shows as a retrieved document."""
    metadata = {"doc_uri": passage.location, "tokens": passage.tokens}
    if passage.score is not None:
        metadata["score"] = passage.score
    if passage.is_cut:
        metadata["is_cut"] = True
    return {"page_content": passage.text, "metadata": metadata, "id": None}
