"""Bad days: faults of every kind, servers gone, a spent budget, a killed driver. Nothing is lost or paid twice.

Short in CI; `LONG_BAD_DAYS=1 pytest tests/experiments/test_resume.py` has everything on both engines, 30 s without a
server, a limit of 60 requests a minute and ten killed drivers.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gate import Gate
from lab import Lab, Ran, S3Server
from ray_cluster import RayCluster, wait_for

from dream.errors import ConfigurationError
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.golden.dataset import save_golden_dataset
from dream.models.usage import CHECK_STAGE, spent_of
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, GoldenDataset

pytestmark = pytest.mark.mlflow

LONG = os.environ.get("LONG_BAD_DAYS") == "1"
SECONDS_AWAY = 30 if LONG else 5
KILLS = 10 if LONG else 1
REQUESTS_A_MINUTE = 60
SPACE = SearchSpace(["chunks_with_overlap", "hierarchical_automerging"], ["llm-small@x"], ["embed-small@x"])
# The check before an experiment: an LLM, a judge with each of its forms, two embedding models with three requests each.
MOST_CHECKS = 16
BOTH = ("in_process", "ray")
ENGINES = ("in_process", pytest.param("ray", marks=pytest.mark.ray))
FAULTS = ("error_share", "hang_share", "cut_share", "malformed_share", "wrong_schema_share")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each test runs on both engines; Ray is reached through one connection for all of them."""
    if request.param == "ray":
        request.getfixturevalue("on_ray")
    return request.param


@pytest.fixture
def on_an_engine(request: pytest.FixtureRequest) -> tuple[Lab, Ran]:
    """The lab of the test's engine, Ray where it has none, and the small experiment there."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("engine", "ray") == "ray":
        return request.getfixturevalue("ray_lab"), request.getfixturevalue("experiment_on_ray")
    return request.getfixturevalue("lab"), request.getfixturevalue("small_experiment")


@pytest.fixture
def lab(on_an_engine: tuple[Lab, Ran]) -> Lab:
    return on_an_engine[0]


@pytest.fixture
def faultless(on_an_engine: tuple[Lab, Ran]) -> ExperimentResult:
    """The experiment on a good day."""
    return on_an_engine[1].outcome


@pytest.fixture
def golden(lab: Lab, faultless: ExperimentResult) -> GoldenDataset:
    return save_golden_dataset(GoldenDataset(faultless.manifest.questions), "three", lab.settings)


def run(lab: Lab, golden: GoldenDataset, name: str, engine: str, show: Any = None, **changes: str) -> ExperimentResult:
    settings = lab.changed(DREAM_ENGINE=engine, **changes)
    return run_experiment(SPACE, name=name, golden_dataset=golden, settings=settings, show=show)


def numbers(outcome: ExperimentResult) -> dict[tuple[str, str, str], Any]:
    """Every answer and score of an experiment."""
    found = {}
    for result in outcome.results:
        assert result.error is None
        assert result.evaluation is not None
        found |= {(result.trial.id, one.question_id, "answer"): one.text for one in result.evaluation.answers}
        found |= {(result.trial.id, one.question_id, one.metric): one.value for one in result.evaluation.scores}
    return found


def paid(lab: Lab) -> int:
    """Answers that the models gave, as they counted themselves."""
    return lab.models.counters()["by_status"].get("200", 0)


def first_answers(outcome: ExperimentResult) -> int:
    """Answers that were paid, as the meter counted them: what was sent and did not have to be sent again."""
    return sum(row.sent - row.retried for row in outcome.usage if row.stage != CHECK_STAGE)


def assert_paid_alike(outcome: ExperimentResult, faultless: ExperimentResult) -> None:
    """Both paid for the same answers of LLMs and for the vectors of the same texts. How many requests for vectors that
    takes depends on which trial is first: where its answer is the ground truth, another's answer is a request more."""
    assert _chats(outcome) == _chats(faultless)
    assert _embedded_tokens(outcome) == pytest.approx(_embedded_tokens(faultless))


def _chats(outcome: ExperimentResult) -> int:
    rows = [row for row in outcome.usage if row.stage != CHECK_STAGE and not row.model.startswith("embed")]
    return sum(row.sent - row.retried for row in rows)


def _embedded_tokens(outcome: ExperimentResult) -> float:
    rows = [row for row in outcome.usage if row.stage != CHECK_STAGE and row.model.startswith("embed")]
    return sum(row.paid_prompt_tokens for row in rows)


@contextmanager
def faulty(lab: Lab, name: str, **switches: Any) -> Iterator[Any]:
    """Faults that begin when the experiment has checked its models, which it says in the line that this takes."""

    def show(line: str) -> None:
        if line.startswith(f"{name}: "):
            lab.models.reset()
            lab.models.faults(**switches)

    try:
        yield show
    finally:
        lab.models.faults(**{one: 0 for one in switches if one in (*FAULTS, "requests_per_minute", "chat_latency_ms")})


class TestBadDays:
    @pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1], indirect=True)
    def test_every_kind_of_fault_and_no_mlflow_change_no_number(
        self, engine: str, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        changes = {"DREAM_ENDPOINT_X_TIMEOUT_SECONDS": "3", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
        limit = {"requests_per_minute": 1200, "burst": 5, "retry_after": False}
        name = f"faulty-{engine}"
        with faulty(lab, name, **dict.fromkeys(FAULTS, 0.02), hang_seconds=600, seed=5, **limit) as show:
            outcome = run(lab, golden, name, engine, show, DREAM_CACHE_URI=str(tmp_path), **changes)
        counters = lab.models.counters()
        assert set(counters["by_fault"]) >= {"error", "cut", "malformed"}
        assert counters["by_status"]["429"] > 0
        found, true = numbers(outcome), numbers(faultless)
        twice_unreadable = dict.fromkeys(key for key, value in found.items() if value is None)
        assert len(twice_unreadable) < 0.05 * len(found)
        assert found == {**true, **twice_unreadable}
        assert sum(row.retried for row in outcome.usage) > 0
        assert bool(twice_unreadable) == any(row.failed for row in outcome.usage)
        assert load_experiment(name, lab.settings) == outcome
        lab.models.reset()
        again = lab.changed(DREAM_ENGINE=engine, DREAM_CACHE_URI=str(tmp_path), **changes)
        assert numbers(run_experiment(resume=name, settings=again, show=None)) == true

    @pytest.mark.skipif(not LONG, reason="minutes at 60 requests a minute: LONG_BAD_DAYS=1")
    def test_a_storm_of_429_loses_nothing_and_pays_nothing_twice(
        self, engine: str, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        name = f"storm-{engine}"
        with faulty(lab, name, requests_per_minute=REQUESTS_A_MINUTE, burst=1, retry_after=False) as show:
            outcome = run(lab, golden, name, engine, show, DREAM_CACHE_URI=str(tmp_path), MLFLOW_TRACKING_URI="")
        assert lab.models.counters()["by_status"]["429"] > 0
        assert numbers(outcome) == numbers(faultless)
        assert first_answers(outcome) == paid(lab)
        assert_paid_alike(outcome, faultless)

    @pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1], indirect=True)
    def test_models_and_s3_gone_for_a_while(
        self, engine: str, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, moto: S3Server
    ):
        models, s3, name = Gate(lab.models.root), Gate(moto.url), f"away-{engine}"
        cut: list[int] = []

        def go_away() -> None:
            wait_for(lambda: lab.models.chat_calls() > 20, 120)
            cut.extend(gate.shut() for gate in (models, s3))
            time.sleep(SECONDS_AWAY)
            models.open()
            s3.open()

        away = threading.Thread(target=go_away)

        def show(line: str) -> None:
            if line.startswith(f"{name}: "):
                lab.models.reset()
                lab.models.faults(chat_latency_ms=100)
                away.start()

        changes = {
            "S3_ENDPOINT_URL": s3.url,
            "AWS_ACCESS_KEY_ID": moto.access_key_id,
            "AWS_SECRET_ACCESS_KEY": moto.secret_access_key,
            "DREAM_DOCUMENTS_URI": str(lab.home / "documents"),
            "DREAM_CACHE_URI": "s3://away/cache",
            "DREAM_EXPERIMENTS_URI": "s3://away/experiments",
            "DREAM_ENDPOINT_X_BASE_URL": f"{models.url}/v1",
            "MLFLOW_TRACKING_URI": "",
        }
        try:
            outcome = run(lab, golden, name, engine, show, **changes)
        finally:
            lab.models.faults(chat_latency_ms=0)
            away.join()
        assert numbers(outcome) == numbers(faultless)
        # the answer that was on its way in a connection when that was cut has reached nobody, and is asked for again
        connections, _ = cut
        assert_paid_alike(outcome, faultless)
        needed = first_answers(outcome)
        assert needed <= paid(lab) <= needed + connections
        assert 0 < connections < needed
        kept = load_experiment(name, lab.changed(**changes))
        assert numbers(kept) == numbers(faultless)

    @pytest.mark.skipif(not LONG, reason="Ray takes half a minute to learn of a killed node: LONG_BAD_DAYS=1")
    @pytest.mark.usefixtures("on_ray")
    def test_a_killed_node_is_done_without(
        self, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, ray_cluster: RayCluster, tmp_path: Path
    ):
        killed: list[int] = []

        def kill() -> None:
            wait_for(lambda: lab.models.chat_calls() > 20 and node.pids("ray::ImplicitFunc"), 120)
            for pid in node.pids():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        with ray_cluster.second_node() as node, faulty(lab, "node", chat_latency_ms=1000) as show:
            killer = threading.Thread(target=kill)
            killer.start()
            # a third trial, as the head has a limit of two
            space = SearchSpace([*SPACE.query_engines, "sentence_window"], SPACE.llms, SPACE.embed_models)
            settings = lab.changed(DREAM_CACHE_URI=str(tmp_path), MLFLOW_TRACKING_URI="")
            outcome = run_experiment(space, name="node", golden_dataset=golden, settings=settings, show=show)
            killer.join()
        assert killed
        assert len(outcome.results) == 3
        found, expected = numbers(outcome), numbers(faultless)
        assert {key: found[key] for key in expected} == expected
        assert first_answers(outcome) == paid(lab)

    @pytest.mark.usefixtures("on_ray")
    @pytest.mark.parametrize(("stops_on", "goes_on"), [("ray", "in_process"), ("in_process", "ray")][: 1 + LONG])
    def test_a_spent_budget_stops_and_a_higher_one_goes_on_with_the_other_engine(
        self, stops_on: str, goes_on: str, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult, tmp_path: Path
    ):
        needed = int(spent_of(faultless.usage)["calls"])
        ceiling = needed * 2 // 3
        lines: list[str] = []
        name = f"budget-{stops_on}"
        changes = {"DREAM_CACHE_URI": str(tmp_path)}
        stopped = run(lab, golden, name, stops_on, lines.append, DREAM_BUDGET_CALLS=str(ceiling), **changes)
        assert "stopped at budget" in (stopped.stopped or "")
        assert f"dream run --resume {name}" in lines[-1]
        assert spent_of(stopped.usage)["calls"] == ceiling
        uncertain = len(golden.questions)  # a request for vectors more or less at each, see `assert_paid_alike`
        higher = lab.changed(DREAM_BUDGET_CALLS=str(needed + uncertain), **changes)
        outcome = run_experiment(resume=name, engine=goes_on, settings=higher, show=None)
        assert outcome.stopped is None
        assert numbers(outcome) == numbers(faultless)
        assert abs(spent_of(outcome.usage)["calls"] - needed) <= uncertain
        assert_paid_alike(outcome, faultless)
        assert_tracked_once(lab, name)

    def test_what_is_finished_costs_nothing_and_changed_arguments_are_refused(
        self, engine: str, lab: Lab, golden: GoldenDataset, faultless: ExperimentResult
    ):
        settings = lab.changed(MLFLOW_TRACKING_URI="")
        lab.models.reset()
        outcome = run_experiment(resume="small", engine=engine, settings=settings, show=None)
        assert numbers(outcome) == numbers(faultless)
        assert lab.models.counters()["calls"] == 0
        other = SearchSpace(["sentence_window"], ["llm-small@x"], ["embed-small@x"])
        with pytest.raises(ConfigurationError) as caught:
            run_experiment(other, resume="small", metrics=["faithfulness"], settings=settings, show=None)
        assert "the trials differ" in str(caught.value)
        assert "the metrics differ" in str(caught.value)


def assert_tracked_once(lab: Lab, name: str) -> None:
    """One finished parent run, one finished child run a trial, a row a question."""
    from mlflow import MlflowClient

    client = MlflowClient(lab.mlflow.url)
    experiment = client.get_experiment_by_name("dream")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`dream.experiment` = '{name}'")
    children = [run for run in runs if "dream.trial_id" in run.data.tags]
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3
    assert len({run.data.tags["dream.trial_id"] for run in children}) == len(children) == 2
    for run in children:
        path = client.download_artifacts(run.info.run_id, "questions.json")
        table = json.loads(Path(path).read_text())
        place = table["columns"].index("question_id")
        ids = [row[place] for row in table["data"]]
        assert len(ids) == len(set(ids)) == 3


@pytest.mark.ray
@pytest.mark.parametrize(
    ("killed_on", "ends_on"),
    [(a, b) for a in BOTH for b in BOTH] if LONG else [("ray", "in_process")],
)
def test_a_killed_driver_is_resumed_by_the_same_command_on_either_engine(
    lab: Lab,
    golden: GoldenDataset,
    faultless: ExperimentResult,
    tmp_path: Path,
    killed_on: str,
    ends_on: str,
):
    name = f"killed-{killed_on}-{ends_on}"
    command = [str(Path(sys.executable).with_name("dream")), "run", "--resume", name, "--golden", "three"]
    for method in SPACE.query_engines:
        command += ["--query-engine", method]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DREAM_", "OPENAI_"))},
        **lab.environment,
        "DREAM_CACHE_URI": str(tmp_path / "cache"),
    }
    lab.models.reset()
    lab.models.faults(chat_latency_ms=1000 if LONG else 150)
    chance = random.Random(7)
    try:
        for kill in range(KILLS):
            seconds = chance.uniform(0, 20) if LONG else None
            _start_and_kill([*command, "--engine", killed_on], environment, tmp_path, lab, seconds)
            print(f"kill {kill + 1}: {paid(lab)} answers paid")
    finally:
        lab.models.faults(chat_latency_ms=0)
    before = paid(lab)
    last = [*command, "--engine", ends_on]
    done = subprocess.run(last, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = load_experiment(name, lab.settings)
    assert numbers(outcome) == numbers(faultless)
    needed = first_answers(faultless)
    checks = MOST_CHECKS * (KILLS + 1)
    # what was under way when a driver died may have been answered without being kept, and as much may have waited to be
    # written to the cache together with others
    lost = 2 * lab.models.counters()["in_flight_most"]
    print(f"{paid(lab)} answers paid, {needed} needed, up to {checks} checks, at most {lost} lost by a kill")
    assert _chats(faultless) <= paid(lab) <= needed + checks + lost * KILLS
    assert paid(lab) - before < needed + MOST_CHECKS
    assert_tracked_once(lab, name)


def _start_and_kill(
    command: list[str], environment: dict[str, str], folder: Path, lab: Lab, seconds: float | None
) -> None:
    """Kill the driver some seconds after it has started to ask, None for as soon as there is something to lose."""
    calls = lab.models.chat_calls()
    with (folder / "killed.log").open("wb") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            enough = calls + MOST_CHECKS + (30 if seconds is None else 1)
            wait_for(lambda: lab.models.chat_calls() > enough or driver.poll() is not None, 180)
            time.sleep(seconds or 0)
            assert driver.poll() is None or seconds, (folder / "killed.log").read_text()
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait(30)
