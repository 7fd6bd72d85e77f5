"""Bad days: a killed driver, a spent budget, faults of every kind. Nothing is lost, nothing is paid twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Ran
from ray_cluster import wait_for

from dream.errors import ConfigurationError
from dream.experiment import run_experiment
from dream.golden_dataset import save_golden_dataset
from dream.meter import CHECK_STAGE, spent_of
from dream.records import ExperimentResult, GoldenDataset
from dream.results import load_experiment
from dream.search_space import SearchSpace

SPACE = SearchSpace(["chunks_with_overlap", "sentence_window"], ["llm-large@x"], ["embed-small@x"])
METRICS = ["faithfulness", "answer_correctness"]


@pytest.fixture(scope="module")
def golden(lab: Lab, small_golden: GoldenDataset) -> GoldenDataset:
    return save_golden_dataset(GoldenDataset(small_golden.questions[:6]), "six", lab.settings)


@pytest.fixture(scope="module")
def faultless(lab: Lab, golden: GoldenDataset, tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    """The experiment on a good day, from an empty cache."""
    settings = lab.changed(DREAM_CACHE_URI=str(tmp_path_factory.mktemp("good-day")), MLFLOW_TRACKING_URI="")
    return run_experiment(SPACE, name="good-day", golden_dataset=golden, metrics=METRICS, settings=settings, show=None)


def numbers(outcome: ExperimentResult) -> dict[tuple[str, str, str], Any]:
    """Every answer and score of an experiment."""
    found = {}
    for result in outcome.results:
        assert result.error is None
        found |= {(result.trial.id, one.question_id, "answer"): one.text for one in result.evaluation.answers}
        found |= {(result.trial.id, one.question_id, one.metric): one.value for one in result.evaluation.scores}
    return found


def paid(models: Any) -> int:
    """Answers that the models gave, as they counted themselves."""
    return models.counters()["by_status"].get("200", 0)


@pytest.mark.usefixtures("on_ray")
class TestBadDays:
    def test_every_kind_of_fault_changes_no_number(
        self, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        shares = ("error_share", "hang_share", "cut_share", "malformed_share", "wrong_schema_share")
        lab.models.reset()
        settings = lab.changed(
            DREAM_CACHE_URI=str(tmp_path),
            DREAM_ENDPOINT_X_TIMEOUT_SECONDS="3",
            MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        )

        def show(line: str) -> None:
            if line.startswith("faulty: "):  # the models were checked
                lab.models.faults(**dict.fromkeys(shares, 0.04), hang_seconds=600, seed=5)

        try:
            outcome = run_experiment(
                SPACE, name="faulty", golden_dataset=golden, metrics=METRICS, settings=settings, show=show
            )
        finally:
            lab.models.faults(**dict.fromkeys(shares, 0))
        assert set(lab.models.counters()["by_fault"]) >= {"error", "cut", "malformed"}
        assert numbers(outcome) == numbers(faultless)
        assert sum(row["retried"] for row in outcome.usage) > 0
        assert sum(row["failed"] for row in outcome.usage) == 0
        assert load_experiment("faulty", settings) == outcome

    def test_a_storm_of_429_loses_nothing_and_pays_nothing_twice(
        self, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        settings = lab.changed(DREAM_CACHE_URI=str(tmp_path), MLFLOW_TRACKING_URI="")

        def show(line: str) -> None:
            if line.startswith("storm: "):
                lab.models.reset()
                lab.models.faults(requests_per_minute=600, burst=1, retry_after=False)

        try:
            outcome = run_experiment(
                SPACE, name="storm", golden_dataset=golden, metrics=METRICS, settings=settings, show=show
            )
        finally:
            lab.models.faults(requests_per_minute=0)
        assert lab.models.counters()["by_status"]["429"] > 0
        assert numbers(outcome) == numbers(faultless)
        counted = [row for row in outcome.usage if row["stage"] != CHECK_STAGE]
        assert sum(row["sent"] - row["retried"] for row in counted) == paid(lab.models)

    def test_a_spent_budget_stops_and_a_higher_one_goes_on(
        self, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        needed = int(spent_of(faultless.usage)["calls"])
        small = lab.changed(DREAM_CACHE_URI=str(tmp_path), DREAM_BUDGET_CALLS=str(needed * 2 // 3))
        lines: list[str] = []
        stopped = run_experiment(
            SPACE, name="budget", golden_dataset=golden, metrics=METRICS, settings=small, show=lines.append
        )
        assert "stopped at budget" in (stopped.stopped or "")
        assert "dream run --resume budget" in lines[-1]
        assert spent_of(stopped.usage)["calls"] == needed * 2 // 3
        higher = lab.changed(DREAM_CACHE_URI=str(tmp_path), DREAM_BUDGET_CALLS=str(needed))
        outcome = run_experiment(resume="budget", settings=higher, show=None)
        assert outcome.stopped is None
        assert numbers(outcome) == numbers(faultless)
        assert spent_of(outcome.usage)["calls"] == needed
        assert_tracked_once(lab, "budget", {"FINISHED": 2})

    def test_what_is_finished_costs_nothing_and_changed_arguments_are_refused(
        self, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult
    ):
        settings = lab.changed(MLFLOW_TRACKING_URI="")
        lab.models.reset()
        outcome = run_experiment(resume="good-day", settings=settings, show=None)
        assert numbers(outcome) == numbers(faultless)
        assert lab.models.counters()["calls"] == 0
        with pytest.raises(ConfigurationError) as caught:
            run_experiment(
                SearchSpace(["sentence_window"], ["llm-large@x"], ["embed-small@x"]),
                resume="good-day", metrics=["faithfulness"], settings=settings, show=None,
            )  # fmt: skip
        assert "the trials differ" in str(caught.value)
        assert "the metrics differ" in str(caught.value)


def assert_tracked_once(lab: Lab, name: str, statuses: dict[str, int]) -> None:
    """One parent run, and one child run a trial with these statuses."""
    from mlflow import MlflowClient

    client = MlflowClient(lab.mlflow.url)
    experiment = client.get_experiment_by_name("dream").experiment_id
    runs = client.search_runs([experiment], f"tags.`dream.experiment` = '{name}'")
    parents = [run for run in runs if "dream.trial_id" not in run.data.tags]
    children = [run for run in runs if "dream.trial_id" in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    found = [run.info.status for run in children]
    assert {status: found.count(status) for status in found} == statuses
    for run in children:
        path = client.download_artifacts(run.info.run_id, "questions.json")
        table = json.loads(Path(path).read_text())
        place = table["columns"].index("question_id")
        ids = [row[place] for row in table["data"]]
        assert len(ids) == len(set(ids)) == 6


def test_a_killed_driver_is_resumed_by_the_same_command(
    lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, small_experiment: Ran, tmp_path: Path
):
    command = [str(Path(sys.executable).with_name("dream")), "run", "--resume", "killed-driver", "--golden", "six"]
    for method in SPACE.query_engines:
        command += ["--query-engine", method]
    for metric in METRICS:
        command += ["--metric", metric]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DREAM_", "OPENAI_"))},
        **lab.environment,
        "DREAM_LLMS": "llm-large@x",
        "DREAM_CACHE_URI": str(tmp_path / "cache"),
    }
    lab.models.reset()
    lab.models.faults(chat_latency_ms=150)
    before = 0
    try:
        with (tmp_path / "first.log").open("wb") as log:
            first = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
            wait_for(lambda: lab.models.chat_calls() > 30 or first.poll() is not None, 180)
            assert first.poll() is None, (tmp_path / "first.log").read_text()
            first.send_signal(signal.SIGKILL)
            first.wait(30)
    finally:
        lab.models.faults(chat_latency_ms=0)
    wait_for(lambda: (tmp_path / "cache").exists(), 10)
    before = paid(lab.models)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = load_experiment("killed-driver", lab.settings)
    assert numbers(outcome) == numbers(faultless)
    needed = spent_of(faultless.usage)["calls"]
    checks = 2 * 4  # of both runs: two LLMs, two embedding models
    # what was under way when the driver died may have been answered without being kept
    assert needed <= paid(lab.models) - checks <= needed + 40
    assert paid(lab.models) - before < needed
    assert_tracked_once(lab, "killed-driver", {"FINISHED": 2})
