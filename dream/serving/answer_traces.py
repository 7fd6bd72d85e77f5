"""`TraceLog`: answers of `dream serve` as MLflow traces, with the spans that experiments have.

A share of the answers is put into a queue, from which a thread writes them; answering never waits for it. Answers that
do not fit into the queue, or that MLflow does not accept, are dropped and counted.
"""

import contextlib
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from dream.records import Answer, Failure
from dream.serving.promotion import Promotion
from dream.settings import Settings, safe_uri
from dream.tracking.answer_trace import AnswerTrace
from dream.tracking.process import safe_text

BATCH = 20
_WAITING = 1000  # answers at most in the queue
_SECONDS = 2.0  # between a question and its trace, and for the last ones at the end
_PAUSE_SECONDS = 30.0  # after MLflow has failed


@dataclass
class TraceLog:
    """Writes a share (0 to 1) of the answers to MLflow, in a thread that starts with it.

    Args:
        with_texts: include questions, answers and passages; otherwise a trace has times, tokens, and the locations of
            passages.
        show: called with a line when MLflow fails.
    """

    promotion: Promotion
    settings: Settings
    share: float
    with_texts: bool = False
    show: Callable[[str], object] = print
    logged: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)
    _waiting: "queue.Queue[tuple[str, Answer] | None]" = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = queue.Queue(_WAITING)
        self._target: tuple[Any, str] | None = None
        self._thread = threading.Thread(target=self._run, name="dream-served-traces", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of answers in the queue."""
        return self._waiting.qsize()

    def note(self, question: str, answer: Answer) -> None:
        """Queue an answer if it belongs to the share. Returns at once and never raises."""
        if random.random() >= self.share:
            return
        if not self.with_texts:
            question, answer = "", without_texts(answer)
        try:
            self._waiting.put_nowait((question, answer))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write the queued answers, for a few seconds at most."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # told where it fails again, with the first answer
            self._target = _opened(self.settings)
        is_open, is_failing = True, False
        while is_open:
            batch = self._batch()
            is_open = None not in batch
            answers = [each for each in batch if each is not None]
            try:
                self._write(answers)
                self.logged += len(answers)
                is_failing = False
            except Exception as error:  # noqa: BLE001 - a trace is worth no answer; it is counted and told once
                self.dropped += len(answers)
                if not is_failing:
                    uri, said = safe_uri(self.settings.mlflow_tracking_uri), safe_text(error, self.settings)[:300]
                    self.show(f"  MLflow at {uri} accepts no traces ({said}); answers continue without them")
                is_failing, self._target = True, None
                if is_open:
                    time.sleep(_PAUSE_SECONDS)

    def _batch(self) -> "list[tuple[str, Answer] | None]":
        """The next answers, as soon as there are enough or the first has waited long enough; None marks the end."""
        batch = [self._waiting.get()]
        give_up = time.monotonic() + _SECONDS
        while len(batch) < BATCH and batch[-1] is not None:
            try:
                batch.append(self._waiting.get(timeout=max(0.0, give_up - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _write(self, answers: list[tuple[str, Answer]]) -> None:
        if not answers:
            return
        if self._target is None:
            self._target = _opened(self.settings)
        client, experiment = self._target
        trial, evidence = self.promotion.as_trial, self.promotion.evidence.experiment
        tags = {"dream.experiment": evidence, "dream.served": "true"}
        tags["dream.offline"] = str(self.promotion.offline).lower()
        traces = [AnswerTrace(experiment, trial, question, answer, uuid.uuid4().hex) for question, answer in answers]
        for trace in traces:
            client.start_trace(trace.trace_info({}, tags))
        client.log_spans(experiment, [span for trace in traces for span in trace.spans()])


def without_texts(answer: Answer) -> Answer:
    """The answer without texts: times, tokens, the kind of failure, and the locations of passages."""
    failure = answer.failure and Failure(answer.failure.kind, answer.failure.kind.value)
    passages = tuple(replace(passage, text="") for passage in answer.contexts)
    return replace(answer, text=None if answer.text is None else "", thinking="", contexts=passages, failure=failure)


def _opened(settings: Settings) -> tuple[Any, str]:
    """MLflow's client for traces, and the id of the experiment that the settings name."""
    from mlflow.tracing.client import TracingClient

    from dream.tracking.mlflow_runs import experiment_id, mlflow_client

    found = experiment_id(mlflow_client(settings), settings)
    return TracingClient(settings.mlflow_tracking_uri), found
