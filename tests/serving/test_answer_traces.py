"""Traces of served answers over a real MLflow server: what is in them, what is not, and that none is waited for."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from winners import Measured

from dream.models.gateway_client import GatewayClient
from dream.models.http_serving import served_in_thread
from dream.rag.own_systems import OwnSystem
from dream.records import Answer, Failure, FailureKind
from dream.serving.answer_traces import TraceLog, without_texts
from dream.serving.server import AnswerServer
from dream.settings import Settings

TOKEN = "a-token-of-the-tests-93ab"
QUESTION = "How high is the tower of Arven?"


def logged(settings: Settings, log: TraceLog, n: int) -> list[Any]:
    """The traces of the MLflow experiment, once the log is written."""
    from mlflow.tracing.client import TracingClient

    from dream.tracking.mlflow_runs import experiment_id, mlflow_client

    give_up = time.monotonic() + 60
    while log.logged < n and time.monotonic() < give_up:
        time.sleep(0.05)
    log.close()
    assert (log.logged, log.dropped) == (n, 0)
    found = experiment_id(mlflow_client(settings), settings)
    return list(TracingClient(settings.mlflow_tracking_uri).search_traces(locations=[found]))


@pytest.fixture
def settings(measured: Measured, mlflow_server, request: pytest.FixtureRequest) -> Settings:
    return replace(measured.settings, mlflow_tracking_uri=mlflow_server.url, mlflow_experiment=request.node.name)


def recorded(measured: Measured) -> Answer:
    return measured.experiment.results[0].answers[0]


def test_a_trace_has_the_spans_of_experiments_and_its_texts_only_where_they_are_wanted(
    measured: Measured, settings: Settings
):
    log = TraceLog(measured.promotion(), settings, 1.0, with_texts=True)
    log.note(QUESTION, recorded(measured))
    (trace,) = logged(settings, log, 1)
    root, retrieve, generate = trace.data.spans
    assert [root.name, retrieve.name, generate.name] == ["chunks_with_overlap", "retrieve", "generate"]
    assert root.inputs == {"question": QUESTION} and root.outputs == recorded(measured).text
    assert retrieve.outputs[0]["page_content"] == recorded(measured).contexts[0].text
    assert trace.info.tags["dream.trial_id"] == measured.good and trace.info.tags["dream.served"] == "true"

    log = TraceLog(measured.promotion(), replace(settings, mlflow_experiment="without texts"), 1.0)
    log.note(QUESTION, recorded(measured))
    (bare,) = logged(log.settings, log, 1)
    assert [span.name for span in bare.data.spans] == ["chunks_with_overlap", "retrieve", "generate"]
    assert bare.info.execution_duration == trace.info.execution_duration
    assert bare.info.token_usage == trace.info.token_usage
    kept = str(bare.to_dict())
    assert "tower" not in kept and "oak" not in kept and "Arven.txt" in kept


def test_a_failure_keeps_its_kind_alone_without_texts():
    failed = Answer("", None, failure=Failure(FailureKind.EXCEPTION, f"cannot read {QUESTION}", "traceback"))
    bare = without_texts(failed)
    assert bare.failure == Failure(FailureKind.EXCEPTION, FailureKind.EXCEPTION.value)


def test_answers_do_not_wait_for_an_mlflow_that_is_not_there(
    measured: Measured, gateway: GatewayClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    away = replace(measured.settings, mlflow_tracking_uri="http://me:a-password@127.0.0.1:9")
    log = TraceLog(measured.promotion(), away, 1.0, show=said.append)
    server = AnswerServer(measured.promotion().as_trial, gateway, on_answer=log.note)
    server.engine = OwnSystem(lambda question: (f"To {question}", ["a passage"]), "our_rag", 8)(None, None)
    headers: Mapping[str, str] = {"Authorization": f"Bearer {TOKEN}"}
    with served_in_thread(server.application(TOKEN), "test", host="127.0.0.1", port=0) as url:
        for _ in range(3):
            reply = httpx.post(f"{url}/answer", json={"question": QUESTION}, headers=headers, trust_env=False)
            assert reply.json()["answer"] == f"To {QUESTION}"
    give_up = time.monotonic() + 30
    while not log.dropped and time.monotonic() < give_up:
        time.sleep(0.05)
    assert log.dropped and not log.logged
    (line,) = said
    assert "http://127.0.0.1:9 accepts no traces" in line and "a-password" not in line


def test_only_a_share_is_taken_and_a_full_queue_is_counted(measured: Measured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TraceLog, "_run", lambda self: None)  # nobody writes
    log = TraceLog(measured.promotion(), measured.settings, 0.25)
    for _ in range(1000):
        log.note(QUESTION, recorded(measured))
    assert 150 < log.waiting < 350 and log.dropped == 0
    everything = replace(log, share=1.0)
    for _ in range(1005):
        everything.note(QUESTION, recorded(measured))
    assert (everything.waiting, everything.dropped) == (1000, 5)
