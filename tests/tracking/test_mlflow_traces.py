"""Traces of the answers of hand-made experiments, as an MLflow server keeps them."""

import time
from dataclasses import replace

import pytest
from hand_made_runs import ASKED_AT, TRIALS, Kept, experiment, finished, run_through
from lab import MlflowServer

from dream.records import Answer, Evaluation, Failure, FailureKind
from dream.settings import Settings
from dream.tracking.mlflow_traces import questions_traced
from dream.tracking.tracker import track


def test_a_trace_shows_retrieval_generation_and_judging_as_they_were_timed(settings, mlflow_server: MlflowServer):
    track(experiment("traced", [finished(TRIALS[0]), finished(TRIALS[1])]), settings)
    kept = Kept(mlflow_server, "traced")
    traces = {trace.info.tags["dream.question_id"]: trace for trace in kept.traces(kept.child(TRIALS[0]))}
    assert sorted(traces) == ["q0", "q1", "q2"]
    trace = traces["q1"]
    spans = {span.name: span for span in trace.data.spans}
    names = {span.span_id: span.name for span in trace.data.spans}
    shape = {
        name: (span.span_type, names.get(span.parent_id), times(span)) for name, span in spans.items()
    }  # fmt: skip
    assert shape == {
        "chunks_with_overlap": ("CHAIN", None, (0.0, 3.5)),
        "retrieve": ("RETRIEVER", "chunks_with_overlap", (0.0, 0.5)),
        "generate": ("LLM", "chunks_with_overlap", (0.5, 1.5)),
        "judge": ("EVALUATOR", "chunks_with_overlap", (1.5, 3.5)),
        "faithfulness": ("EVALUATOR", "judge", (1.5, 2.5)),
        "answer_correctness": ("EVALUATOR", "judge", (1.5, 3.5)),
    }
    assert spans["chunks_with_overlap"].inputs == {"question": "Where is number 1?"}
    assert spans["chunks_with_overlap"].outputs == spans["generate"].outputs == "At place 1."
    document, other = spans["retrieve"].outputs
    assert other["metadata"] == {"doc_uri": "other.pdf#page=1-3", "tokens": 2, "is_cut": True}
    assert document["page_content"] == "Number q1 is at a place."
    assert document["metadata"] == {"doc_uri": "1.pdf#page=2", "tokens": 7, "score": 0.75}
    assert spans["generate"].attributes["mlflow.llm.model"] == "llm-small@x"
    assert (spans["faithfulness"].status.status_code.value, spans["judge"].status.status_code.value) == ("ERROR", "OK")
    assert (trace.info.request_time, trace.info.execution_duration) == (ASKED_AT * 1000, 1500)
    assert trace.info.token_usage == {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}


def times(span) -> tuple[float, float]:
    return round(span.start_time_ns / 1e9 - ASKED_AT, 3), round(span.end_time_ns / 1e9 - ASKED_AT, 3)


def test_scores_and_ground_truth_are_assessments_of_the_trace(settings: Settings, mlflow_server: MlflowServer):
    track(experiment("assessed", [finished(TRIALS[0]), finished(TRIALS[1])]), settings)
    kept = Kept(mlflow_server, "assessed")
    for trace in kept.traces(kept.child(TRIALS[0])):
        found = {one.name: one for one in trace.info.assessments}
        assert len(found) == len(trace.info.assessments) == 3
        correct, failed = found["answer_correctness"], found["faithfulness"]
        assert (correct.value, correct.rationale) == (0.5, "one of two statements")
        assert (correct.source.source_type, correct.source.source_id) == ("LLM_JUDGE", "judge@x")
        assert (failed.value, failed.error.error_message) == (None, "the judge's reply is no JSON")
        assert found["expected_response"].value == f"place {trace.info.tags['dream.question_id'][1:]}"
        assert found["expected_response"].source.source_type == "HUMAN"


def test_what_was_not_measured_is_not_invented(settings: Settings, mlflow_server: MlflowServer):
    old = finished(TRIALS[0])
    answers = [replace(one, retrieval_seconds=None, started_at=None) for one in old.evaluation.answers]
    answers[2] = Answer("q2", None, latency_seconds=0.25, failure=Failure(FailureKind.SERVICE, "ServiceError: 500"))
    judged = tuple(replace(one, seconds=None) for one in old.evaluation.scores)
    before = time.time()
    track(experiment("old", [replace(old, evaluation=Evaluation(tuple(answers), judged))]), settings)
    kept = Kept(mlflow_server, "old")
    traces = {trace.info.tags["dream.question_id"]: trace for trace in kept.traces(kept.child(TRIALS[0]))}
    spans = {span.name: span for span in traces["q0"].data.spans}
    assert spans["chunks_with_overlap"].attributes["started"] == "not measured"
    assert traces["q0"].info.request_time >= int(before * 1000)
    for name in ("retrieve", "generate", "answer_correctness"):
        assert spans[name].attributes["duration"] == "not measured"
        assert spans[name].start_time_ns == spans[name].end_time_ns
    (failed,) = traces["q2"].data.spans
    assert (failed.status.status_code.value, failed.status.description) == ("ERROR", "ServiceError: 500")
    assert traces["q2"].info.state == "ERROR"


def test_the_number_of_traces_is_the_users(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("few", [finished(TRIALS[0]), finished(TRIALS[1])])
    none = run_through(replace(settings, mlflow_traces="0"), outcome, outcome.results)
    kept = Kept(mlflow_server, "few")
    child = kept.child(TRIALS[0])
    assert none == ["  MLflow gets traces of 0 of 3 questions per trial (DREAM_MLFLOW_TRACES=all for all)"]
    assert kept.traces(child) == []
    track(outcome, replace(settings, mlflow_traces="2"))
    assert sorted(trace.info.tags["dream.question_id"] for trace in kept.traces(child)) == ["q0", "q1"]
    track(outcome, replace(settings, mlflow_traces="all"))
    assert len(kept.traces(child)) == 3
    assert kept.child(TRIALS[0]).info.run_id == child.info.run_id


@pytest.mark.whole
def test_by_default_an_experiment_has_at_most_2000_traces():
    assert questions_traced("auto", 12, 50) == 50
    assert 200 * questions_traced("auto", 200, 500) <= 2000
    assert questions_traced("auto", 3000, 5) == 0


def test_traces_of_a_replaced_run_go_with_it(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("replaced", [finished(TRIALS[0]), finished(TRIALS[1])])
    track(outcome, settings)
    kept = Kept(mlflow_server, "replaced")
    old = kept.child(TRIALS[0])
    again = experiment("replaced", [finished(TRIALS[0], 0.75), outcome.results[1]])
    track(again, settings)
    assert kept.traces(old) == []
    assert len(kept.traces(kept.child(TRIALS[0]))) == 3
    assert [row["answer_correctness"] for row in kept.table(kept.parent, "results.json")] == [0.75, 0.5]
