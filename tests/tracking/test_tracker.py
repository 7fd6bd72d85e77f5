"""What an MLflow server keeps of hand-made experiments: one true run a trial, evidence, and no secret."""

import json
import socket
import time
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from hand_made_runs import AT_BUDGET, NO_KEY, TRIALS, Kept, experiment, finished, run_through
from lab import LAB_KEY, MlflowServer
from model_servers import free_port

from dream.errors import ServiceError
from dream.experiments.store import NOT_FINISHED
from dream.records import Evaluation, Failure, FailureKind, Plan, PlannedCalls, Trial, TrialResult
from dream.settings import Settings
from dream.tracking.mlflow_artifacts import evidence_files, files_of, try_to_compare
from dream.tracking.tracker import Tracker, check_mlflow, track


def test_logging_the_same_results_again_changes_nothing(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("same", [finished(TRIALS[0], 0.25), finished(TRIALS[1], 0.75)])
    assert run_through(settings, outcome, outcome.results) == []
    kept = Kept(mlflow_server, "same")
    before = kept.everything()
    assert len(before) == 3
    assert all(run.info.status == "FINISHED" for run in kept.runs())
    assert track(outcome, settings) == kept.parent.info.run_id
    assert kept.everything() == before


def test_a_failed_trial_that_finishes_later_has_one_run_that_says_so(settings: Settings, mlflow_server: MlflowServer):
    broken = TrialResult(TRIALS[1], failure=NO_KEY)
    first = experiment("mended", [finished(TRIALS[0]), broken])
    run_through(settings, first, first.results)
    kept = Kept(mlflow_server, "mended")
    failed, whole = kept.child(TRIALS[1]), kept.child(TRIALS[0])
    assert (failed.info.status, failed.data.tags["dream.error"]) == ("FAILED", "ServiceError: 401")
    assert failed.data.tags["dream.failure"] == "service"
    assert kept.parent.info.status == "FINISHED"
    assert kept.parent.data.metrics["trials_failed"] == 1
    second = experiment("mended", [first.results[0], finished(TRIALS[1])])
    run_through(settings, second, second.results[1:])
    mended = kept.child(TRIALS[1])
    assert mended.info.status == "FINISHED"
    assert "dream.error" not in mended.data.tags
    assert mended.info.run_id != failed.info.run_id
    assert kept.child(TRIALS[0]).info.run_id == whole.info.run_id
    assert [run.info.run_id for run in kept.runs("deleted_only")] == [failed.info.run_id]
    assert kept.parent.data.metrics["trials_failed"] == 0
    assert [row["error"] for row in kept.table(kept.parent, "results.json")] == [None, None]
    assert len(kept.table(mended, "questions.json")) == 3


def test_stopped_at_the_budget_is_killed_then_running_then_finished(settings: Settings, mlflow_server: MlflowServer):
    first = experiment("budget", [finished(TRIALS[0]), TrialResult(TRIALS[1], failure=AT_BUDGET)])
    run_through(settings, first, first.results)
    kept = Kept(mlflow_server, "budget")
    parent = kept.parent.info.run_id
    assert kept.parent.info.status == "KILLED"
    assert kept.child(TRIALS[1]).info.status == "KILLED"
    assert "**Not finished:** BudgetError: stopped at budget" in kept.parent.data.tags["mlflow.note.content"]
    tracker = Tracker(settings, first.manifest, print)
    give_up = time.monotonic() + 30
    while kept.parent.info.status != "RUNNING":
        assert time.monotonic() < give_up
        time.sleep(0.1)
    second = experiment("budget", [first.results[0], finished(TRIALS[1])])
    tracker.log_trial(second.results[1])
    tracker.finish(second)
    assert (kept.parent.info.run_id, kept.parent.info.status) == (parent, "FINISHED")
    assert {kept.child(trial).info.status for trial in TRIALS} == {"FINISHED"}
    assert len(kept.table(kept.parent, "results.json")) == 2
    assert "Not finished" not in kept.parent.data.tags["mlflow.note.content"]


def test_what_a_killed_driver_left_running_is_replaced(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("left", [finished(TRIALS[0]), finished(TRIALS[1])])
    Tracker(settings, outcome.manifest, print)
    give_up = time.monotonic() + 30
    while not (kept := Kept(mlflow_server, "left")).runs():
        assert time.monotonic() < give_up
        time.sleep(0.1)
    tags = {"dream.experiment": "left", "dream.run": "trial", "dream.trial_id": TRIALS[0].id}
    left = kept.client.create_run(kept.place, tags={**tags, "mlflow.parentRunId": kept.parent.info.run_id})
    track(outcome, settings)
    assert kept.child(TRIALS[0]).info.run_id != left.info.run_id
    assert {run.info.status for run in kept.runs()} == {"FINISHED"}
    assert len(kept.runs()) == 3


def test_no_result_at_all_is_failed_and_the_note_says_why(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("nothing", [TrialResult(trial, failure=NO_KEY) for trial in TRIALS])
    assert run_through(settings, outcome, outcome.results) == []
    parent = Kept(mlflow_server, "nothing").parent
    assert parent.info.status == "FAILED"
    note = parent.data.tags["mlflow.note.content"]
    assert "**No recommendation:** DataError: no trial of 'nothing' has a score on answer_correctness" in note
    assert f"- {TRIALS[0].name}: ServiceError: 401" in note
    assert "dream.recommended" not in parent.data.tags


def test_a_trial_that_is_gone_from_storage_is_told_from_a_failed_one(settings: Settings, mlflow_server: MlflowServer):
    missing = TrialResult(TRIALS[1], failure=NOT_FINISHED)
    track(experiment("away", [finished(TRIALS[0]), missing]), settings)
    kept = Kept(mlflow_server, "away")
    assert (kept.parent.info.status, kept.child(TRIALS[1]).info.status) == ("KILLED", "KILLED")


def test_the_parent_shows_the_choice_with_its_evidence(settings: Settings, mlflow_server: MlflowServer):
    planned = Plan(2, 3, 1, 0, 20, (PlannedCalls("llm-small@x", "answer", 5),), None, 1.0)
    outcome = experiment("choice", [finished(TRIALS[0], 0.25), finished(TRIALS[1], 0.75)], plan=planned)
    outcome = replace(outcome, baselines=(finished(Trial("closed_book", "llm-small@x", ""), 0.125),))
    track(outcome, settings)
    kept = Kept(mlflow_server, "choice")
    parent = kept.parent
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**Offline models: this shows how DREAM works")
    recommended = parent.data.tags["dream.recommended"]
    run_ids = {trial.name: kept.child(trial).info.run_id for trial in TRIALS}
    assert f"### Recommended: [{recommended}](#/experiments/{kept.place}/runs/{run_ids[recommended]})" in note
    assert all(run_id in note.split("#/compare-runs?")[1].split(")")[0] for run_id in run_ids.values())
    assert parent.data.metrics["best/answer_correctness"] == 0.75
    assert parent.data.metrics["cost/usd"] == 0.5
    assert [one["answer_correctness"] for one in kept.table(parent, "leaderboard.json")] == [0.75, 0.25]
    assert [one["LLM"] for one in kept.table(parent, "leaderboard.json")] == ["llm-large@x", "llm-small@x"]
    assert [one["answer_correctness"] for one in kept.table(parent, "baselines.json")] == [0.125]
    assert [(one["calls"], one["usd"]) for one in kept.table(parent, "usage.json")] == [(3, 0.25), (3, 0.25)]
    (planned, *_) = kept.table(parent, "plan_against_actual.json")
    assert (planned["planned calls"], planned["planned USD"]) == (5, None)
    pictures = {file.path for file in kept.client.list_artifacts(parent.info.run_id, "plots")}
    names = ("forest", "heat_map", "main_effects", "parallel_coordinates", "pareto")
    assert pictures == {f"plots/{name}.png" for name in names}
    picture = Path(kept.client.download_artifacts(parent.info.run_id, "plots/forest.png")).read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_a_child_has_factors_numbers_with_counts_and_every_question(settings: Settings, mlflow_server: MlflowServer):
    outcome = experiment("child", [finished(TRIALS[0]), finished(TRIALS[1], usd=None)])
    track(outcome, settings)
    kept = Kept(mlflow_server, "child")
    child = kept.child(TRIALS[0])
    assert child.data.params == {
        "query_engine_identifier": "chunks_with_overlap",
        "llm_identifier": "llm-small@x",
        "embed_model_identifier": "embed@x",
        "rag/top_k": "3",
    }
    assert child.data.metrics == {
        "answer_correctness": 0.5, "latency_seconds": 1.5, "context_tokens": 9, "tokens_a_question": 110,
        "usd_a_question": pytest.approx(0.25 / 3), "scored/faithfulness": 0, "scored/answer_correctness": 3,
        "questions/asked": 3, "questions/unanswered": 0, "questions/judgements_failed": 3, "cost/model_calls": 3,
        "cost/cached_calls": 1, "cost/tokens": 330, "cost/usd": 0.25, "trial/seconds": 4, "trial/nodes": 20,
        "trial/passages": 2,
    }  # fmt: skip
    assert not {name for name in kept.child(TRIALS[1]).data.metrics if "usd" in name}
    assert "cost/usd" not in kept.parent.data.metrics
    row = kept.table(child, "questions.json")[1]
    assert row == {
        "question_id": "q1", "question": "Where is number 1?", "answer": "At place 1.", "ground_truth": "place 1",
        "faithfulness": None, "answer_correctness": 0.5, "error": None,
        "contexts": ["Number q1 is at a place.", "Other text."],
        "context_sources": ["1.pdf#page=2", "other.pdf#page=1-3"], "context_tokens": 9, "latency_seconds": 1.5,
        "retrieval_seconds": 0.5, "prompt_tokens": 100, "completion_tokens": 10,
        "faithfulness_error": "the judge's reply is no JSON", "answer_correctness_reason": "one of two statements",
    }  # fmt: skip
    (dataset,) = child.inputs.dataset_inputs
    assert json.loads(dataset.dataset.source)["uri"] == "s3://golden/golden.csv"


def test_no_secret_reaches_the_server(settings: Settings, mlflow_server: MlflowServer):
    environment = {
        "DREAM_HOME": settings.home,
        "DREAM_ENDPOINT_X_BASE_URL": "http://models.example/v1",
        "DREAM_ENDPOINT_X_API_KEY": LAB_KEY,
        "MLFLOW_TRACKING_URI": mlflow_server.url.replace("://", "://dream:a-database-password@"),
    }
    with_secrets = Settings.from_environment(environment)
    talkative = finished(TRIALS[0])
    answers = (
        replace(talkative.evaluation.answers[0], text=None, failure=Failure(FailureKind.REFUSED, f"refused {LAB_KEY}")),
    )
    rows = (replace(talkative.evaluation.scores[0], failure=Failure(FailureKind.SERVICE, f"401 {LAB_KEY}")),)
    partly = replace(talkative, evaluation=Evaluation(answers, rows))
    quoting = Failure(FailureKind.SERVICE, f"AuthenticationError: {LAB_KEY}", f"raise Error({LAB_KEY!r})")
    outcome = experiment("secret", [partly, TrialResult(TRIALS[1], failure=quoting)])
    assert run_through(with_secrets, outcome, outcome.results) == []
    files = [path for path in mlflow_server.folder.rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files}
    assert any(b"AuthenticationError: ***" in content for content in contents.values())
    assert any(b"raise Error('***')" in content for content in contents.values())
    for secret in (LAB_KEY, "a-database-password"):
        assert [path for path, content in contents.items() if secret.encode() in content] == []


@pytest.mark.whole
def test_mlflow_away_is_told_once_and_stops_nothing(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = replace(home, mlflow_tracking_uri=f"http://dream:a-password@127.0.0.1:{free_port()}")
    outcome = experiment("alone", [finished(TRIALS[0]), finished(TRIALS[1])])
    lines = run_through(settings, outcome, outcome.results)
    assert sum("did not accept the results" in line for line in lines) == 2  # while it ran, and at the end
    assert lines[-1].endswith("dream track alone")
    assert "a-password" not in " ".join(lines)
    for use in (lambda: track(outcome, settings), lambda: check_mlflow(settings)):
        with pytest.raises(ServiceError, match="does not answer") as caught:
            use()
        assert "a-password" not in str(caught.value)


@pytest.mark.whole
def test_mlflow_that_never_answers_does_not_hold_up_the_trials(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr("dream.tracking.tracker.SILENT_SECONDS", 0.5)
    outcome = experiment("mute", [finished(TRIALS[0]), finished(TRIALS[1])])
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = replace(home, mlflow_tracking_uri=f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        tracker = Tracker(settings, outcome.manifest, lines.append)
        for result in outcome.results:
            tracker.log_trial(result)
        seconds_of_trials = time.monotonic() - started
        tracker.finish(outcome)
        assert seconds_of_trials < (time.monotonic() - started) / 2  # each unanswered request takes 2 s
    assert lines[0] == "  all trials are in storage; waiting for MLflow to accept the last ones"
    assert lines[-1].endswith("dream track mute")


@pytest.mark.whole
def test_report_and_figures_are_the_same_whoever_makes_them(home: Settings):
    outcome = experiment("drawn", [finished(TRIALS[0], 0.25), finished(TRIALS[1], 0.75)])
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        made = files_of(outcome, home)
        assert matplotlib.rcParams["font.size"] == 30
    assert made == evidence_files(outcome, *try_to_compare(outcome))
    assert {"report.html", "plots/forest.png", "leaderboard.json"} <= {*made}
