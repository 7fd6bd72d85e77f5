"""Experiments on a real cluster through Ray Client: results, failures, lost workers, secrets."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lab import LAB_KEY, Lab, Ran
from model_servers import ModelServer, free_port
from ray_cluster import NODE_S3_KEY, RayCluster, RayNode, wait_for

from dream.experiments.run import run_experiment
from dream.experiments.stopping import stop_trial
from dream.experiments.store import load_experiment
from dream.golden.dataset import save_golden_dataset
from dream.metrics import METRICS
from dream.models import gateway_client
from dream.offline.process import OfflineServer
from dream.rag.search_space import SearchSpace
from dream.records import FailureKind, GoldenDataset
from dream.services import ACTOR_NAME
from dream.storage import open_storage
from dream.tracking.tracker import track

pytestmark = pytest.mark.usefixtures("on_ray")


SMALL_SPACE = SearchSpace(["chunks_with_overlap", "hierarchical_automerging"], ["llm-small@x"], ["embed-small@x"])


def one_trial(method: str = "chunks_with_overlap", embed_model: str = "embed-small@x") -> SearchSpace:
    return SearchSpace([method], ["llm-small@x"], [embed_model])


def files_with(text: str, folder: Path) -> list[str]:
    """The files under a folder that hold a text, as bytes, however they are named."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # sockets, and logs that go while one looks
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(str(path))
    return found


def test_all_trials_answer_the_same_questions_and_every_metric_is_scored(experiment_on_ray: Ran):
    outcome = experiment_on_ray.outcome
    questions = [question.id for question in outcome.manifest.questions]
    assert len(outcome.results) == 2
    for result in outcome.results:
        assert result.error is None
        assert [answer.question_id for answer in result.evaluation.answers] == questions
        assert all(answer.text and answer.contexts for answer in result.evaluation.answers)
        assert {(score.question_id, score.metric) for score in result.evaluation.scores} == {
            (question, metric) for question in questions for metric in METRICS
        }
        assert all((score.value is None) == (score.error is not None) for score in result.evaluation.scores)
        assert sum(score.value is not None for score in result.evaluation.scores) >= 15


def test_storage_gives_back_what_was_returned(ray_lab: Lab, experiment_on_ray: Ran):
    assert load_experiment("small", ray_lab.settings) == experiment_on_ray.outcome


def test_progress_is_shown_trial_by_trial(experiment_on_ray: Ran):
    lines = experiment_on_ray.lines
    assert lines[0].startswith("engine: ray (RAY_ADDRESS=ray://")
    assert lines[1] == "small: 2 trials x 3 questions"
    (end,) = [line for line in lines if line.startswith("running trials: 6 of 6 questions in ")]
    assert re.search(r", trials 2 of 2,\s+\w+ [01]\.\d{3} \(\d scored\),\s+USD unknown$", end)
    assert [line.split(":")[0] for line in lines if "trial " in line] == ["  trial 1 of 2", "  trial 2 of 2"]
    assert not any("MLflow" in line for line in lines if "waiting for MLflow" not in line)  # it waits on a busy machine


def test_the_gateways_meter_is_in_each_result(experiment_on_ray: Ran):
    for result in experiment_on_ray.outcome.results:
        stages = {(row.model, row.stage): row for row in result.usage}
        assert {row.trial for row in result.usage} == {result.trial.id}
        assert stages["llm-small", "answer"].calls >= 3
        assert stages["judge", "judge"].prompt_tokens > 0
        assert all(row.failed == 0 for row in result.usage)


def test_keys_are_neither_in_storage_nor_in_mlflow_nor_in_rays_session(
    ray_lab: Lab, experiment_on_ray: Ran, ray_cluster: RayCluster
):
    assert files_with("hierarchical_automerging", ray_lab.mlflow.folder)
    assert files_with("dream-services", ray_cluster.folder)
    for folder in (
        ray_lab.home / "experiments",
        ray_lab.home / "golden-datasets",
        ray_lab.mlflow.folder,
        ray_cluster.folder,
    ):
        for secret in (LAB_KEY, NODE_S3_KEY, ray_cluster.token):
            assert files_with(secret, folder) == []


def test_keys_are_not_in_what_ray_knows_of_its_actors(experiment_on_ray: Ran):
    """Tune would send the S3 key in the environment of the process that it runs in along with each trial."""

    def of_actors() -> list[bytes]:
        from ray._private.state import state

        return list(state._connect_and_get_accessor().get_actor_table(None, None))

    import ray

    actors = ray.get(ray.remote(of_actors).remote())
    assert sum(b"ImplicitFunc" in actor for actor in actors) >= 1
    for secret in (LAB_KEY, NODE_S3_KEY):
        assert not any(secret.encode() in actor for actor in actors)


def small_questions(ran: Ran):
    return ran.outcome.manifest.questions


def test_one_trial_fails_and_mlflow_is_down_yet_the_other_is_whole_and_can_be_tracked_later(
    ray_lab: Lab, experiment_on_ray: Ran, tmp_path: Path
):
    """The key of one embedding endpoint is revoked after the check, as happens when a quota ends."""
    golden = GoldenDataset(small_questions(experiment_on_ray)[:2])
    lines: list[str] = []
    revoked = OfflineServer.start(api_key="the-old-key")
    port = urlsplit(revoked.base_url).port
    successors: list[OfflineServer] = []

    def show(line: str) -> None:
        lines.append(line)
        if "2 trials x 2 questions" in line:
            revoked.stop()
            successors.append(OfflineServer.start(port=port, api_key="a-new-key"))

    settings = ray_lab.changed(
        DREAM_ENDPOINT_Y_BASE_URL=revoked.base_url,
        DREAM_ENDPOINT_Y_API_KEY="the-old-key",
        MLFLOW_TRACKING_URI=f"http://dream:a-password@127.0.0.1:{free_port()}",
    )
    space = SearchSpace(["chunks_with_overlap"], ["llm-small@x"], ["embed-small@y", "embed-small@x"])
    try:
        outcome = run_experiment(
            space, name="half", golden_dataset=golden, settings=settings, metrics=["answer_similarity"], show=show
        )
    finally:
        for server in (revoked, *successors):
            server.stop()
    failed, whole = outcome.results
    assert failed.error and "401" in failed.error and "API key" in failed.error
    assert failed.failure.kind == FailureKind.ENDPOINT and not failed.failure.kind.by_system
    assert "Traceback (most recent call last)" in failed.failure.traceback
    assert whole.error is None
    assert [summary.n_scored for summary in whole.evaluation.summaries()] == [2]
    assert load_experiment("half", settings) == outcome
    table = open_storage(settings.experiments_uri, settings).read_csv("half/results.csv")
    assert [bool(error) for error in table["error"]] == [True, False]
    assert any("not finished" in line for line in lines)
    assert sum("refuses the API key" in line for line in lines) == 1
    assert any("did not accept the results" in line for line in lines)
    # the index that cannot be built is shown as unfinished when the experiment has ended
    told = [line for line in lines if not line.startswith("embedding documents")]
    assert told[-2].endswith("dream track half")
    assert told[-1].endswith("dream run --resume half")
    assert not any("a-password" in line for line in lines)
    assert_tracked(replace(settings, mlflow_tracking_uri=f"sqlite:///{tmp_path}/later.db"), outcome)


def assert_tracked(settings, outcome):
    from mlflow import MlflowClient

    first = track(outcome, settings)
    assert track(outcome, settings) == first
    client = MlflowClient(settings.mlflow_tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("dream").experiment_id])
    parents = [run for run in runs if run.info.run_id == first]
    children = {run.data.tags["dream.trial_id"]: run for run in runs if run.info.run_id != first}
    assert len(runs) == 3
    was_stopped = any(result.was_stopped for result in outcome.results)
    assert parents[0].info.status == ("KILLED" if was_stopped else "FINISHED")
    assert parents[0].data.metrics["trials_failed"] == 1
    for result in outcome.results:
        run = children[result.trial.id]
        ended = "KILLED" if result.was_stopped else "FAILED"
        assert run.info.status == (ended if result.error else "FINISHED")
        assert run.data.tags.get("dream.error") == result.error


def test_a_killed_worker_is_replaced_and_trials_run_on_both_nodes(
    ray_lab: Lab, experiment_on_ray: Ran, ray_cluster: RayCluster
):
    golden = GoldenDataset(small_questions(experiment_on_ray)[:2])
    methods = ["chunks_with_overlap", "sentence_window", "hierarchical_automerging"]
    space = SearchSpace(methods, ["llm-large@x"], ["embed-small@x"])
    killed: list[int] = []
    ray_lab.models.reset()
    with ray_cluster.second_node() as second:
        killer = threading.Thread(target=kill_a_trial, args=(second, ray_lab.models, killed))
        killer.start()
        try:
            outcome = run_experiment(
                space,
                name="killed",
                golden_dataset=golden,
                settings=ray_lab.settings,
                metrics=["faithfulness"],
                show=None,
            )
        finally:
            ray_lab.models.faults(chat_latency_ms=0)
            killer.join(30)
    assert killed
    assert outcome.manifest.cluster.nodes == 2
    assert [result.error for result in outcome.results] == [None, None, None]
    assert all(len(result.evaluation.answers) == 2 for result in outcome.results)
    assert load_experiment("killed", ray_lab.settings) == outcome


def kill_a_trial(node: RayNode, models: ModelServer, killed: list[int]) -> None:
    """Wait until a trial on the node asks its questions, whose answers are slow, and kill its worker."""
    wait_for(lambda: models.chat_calls() >= 2, 120)  # the check of the LLM and of the judge
    models.faults(chat_latency_ms=4000)
    wait_for(lambda: node.pids("ray::ImplicitFunc") and models.chat_calls() >= 2 + 3 * 2, 120)
    for pid in node.pids("ray::ImplicitFunc"):
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    models.faults(chat_latency_ms=0)


def test_trials_are_stopped_by_hand_from_elsewhere_and_the_others_go_on(ray_lab: Lab, experiment_on_ray: Ran):
    """One trial runs at a time: the first, whose answers are slow, and the second, which waits, are stopped."""
    golden = GoldenDataset(small_questions(experiment_on_ray)[:2])
    methods = ["sentence_window", "hierarchical_automerging", "chunks_with_overlap"]
    prompts = {method: {"system_prompt": ["Answer in one sentence."]} for method in methods}
    space = SearchSpace(methods, ["llm-small@x"], ["embed-small@x"], prompts)
    lines: list[str] = []

    def stop_two() -> None:
        wait_for(lambda: any(line.startswith("by-hand: 3 trials") for line in lines), 120)
        ray_lab.models.faults(chat_latency_ms=20_000)
        before = ray_lab.models.chat_calls()
        wait_for(lambda: ray_lab.models.chat_calls() > before, 120)
        waiting = space.trials()[1]
        stop_trial(
            "by-hand", "sentence_window + llm-small@x + embed-small@x", waiting.id[:8], settings=ray_lab.settings
        )
        ray_lab.models.faults(chat_latency_ms=0)

    elsewhere = threading.Thread(target=stop_two, daemon=True)
    elsewhere.start()
    outcome = run_experiment(
        space, name="by-hand", golden_dataset=golden, settings=ray_lab.settings, metrics=["token_f1"],
        max_concurrent_trials=1, show=lines.append,
    )  # fmt: skip
    elsewhere.join(60)
    running, waiting, whole = outcome.results
    assert [result.error for result in (running, waiting)] == ["stopped by hand after 0 of 2 questions"] * 2
    assert running.failure.kind == waiting.failure.kind == FailureKind.STOPPED
    assert whole.error is None and len(whole.evaluation.answers) == 2
    assert load_experiment("by-hand", ray_lab.settings) == outcome


def test_two_people_run_experiments_at_once_each_with_a_gateway_and_a_budget_of_their_own(
    ray_lab: Lab, golden_on_ray: GoldenDataset, experiment_on_ray: Ran, tmp_path: Path
):
    import ray

    save_golden_dataset(golden_on_ray, "theirs", ray_lab.settings)
    theirs = subprocess.Popen(
        [sys.executable, "-m", "dream.cli.main", "run", "--name", "theirs", "--golden", "theirs",
         "--query-engine", "chunks_with_overlap", "--llm", "llm-large@x", "--embed-model", "embed-small@x"],
        env={**os.environ, **ray_lab.environment, "DREAM_BUDGET_CALLS": "3"}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    own = ray.get_runtime_context().namespace
    wait_for(lambda: theirs.poll() is not None or namespaces_of_services() - {own}, 240)
    assert theirs.poll() is None, theirs.communicate()[0]
    golden = GoldenDataset(small_questions(experiment_on_ray))
    ours = run_experiment(one_trial(), name="ours", golden_dataset=golden, settings=ray_lab.settings, show=None)
    said, _ = theirs.communicate(timeout=240)
    (mine,), (other,) = ours.results, load_experiment("theirs", ray_lab.settings).results
    assert mine.failure is None and all(answer.text for answer in mine.answers)
    assert {row.trial for row in mine.usage} == {mine.trial.id}
    assert other.failure is not None and other.failure.kind is FailureKind.BUDGET, said
    assert (mine.trial.llm_identifier, other.trial.llm_identifier) == ("llm-small@x", "llm-large@x")
    assert load_experiment("ours", ray_lab.settings) == ours


def namespaces_of_services() -> set[str]:
    """Where processes of services are on the cluster: one namespace for each driver."""
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    return {each["namespace"] for each in actors if each["name"] == ACTOR_NAME}


def test_offline_models_are_gone_after_the_run(ray_lab: Lab):
    """The gateway's actor starts them, on the head."""
    settings = ray_lab.changed(DREAM_OFFLINE="1", DREAM_ENDPOINT_X_BASE_URL="", DREAM_ENDPOINT_X_API_KEY="")
    with gateway_client.opened(settings) as gateway:
        place = urlsplit(gateway.base_url("offline"))
        socket.create_connection((place.hostname, place.port), 2).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port), 2)


@pytest.fixture(autouse=True, scope="module")
def no_traces_in_the_checkout():
    """Everything is written below the home of the settings."""
    before = sorted(os.listdir(Path(__file__).parents[2]))
    yield
    assert sorted(os.listdir(Path(__file__).parents[2])) == before
