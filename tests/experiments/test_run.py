"""Experiments on a real cluster through Ray Client: results, failures, lost workers, secrets."""

import os
import re
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import ray
from lab import LAB_KEY, Lab, Ran
from model_servers import ModelServer, free_port, offline_models
from ray_cluster import NODE_S3_KEY, RayCluster, RayNode, wait_for

from dream.comparison.comparison import compare, leaderboard
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.metrics import METRICS
from dream.offline.process import OfflineServer
from dream.rag.search_space import SearchSpace
from dream.records import FailureKind, GoldenDataset
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


def test_all_trials_answer_the_same_questions_and_every_metric_is_scored(small_experiment: Ran):
    outcome = small_experiment.outcome
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


def test_storage_gives_back_what_was_returned(lab: Lab, small_experiment: Ran):
    assert load_experiment("small", lab.settings) == small_experiment.outcome


def test_progress_is_shown_trial_by_trial(small_experiment: Ran):
    lines = small_experiment.lines
    assert lines[0].startswith("engine: ray (RAY_ADDRESS=ray://")
    assert lines[1] == "small: 2 trials x 3 questions"
    (end,) = [line for line in lines if line.startswith("running trials: 6 of 6 questions in ")]
    assert re.search(r", trials 2 of 2,\s+\w+ [01]\.\d{3} \(\d scored\),\s+USD unknown$", end)
    assert [line.split(":")[0] for line in lines if "trial " in line] == ["  trial 1 of 2", "  trial 2 of 2"]
    assert not any("MLflow" in line for line in lines if "waiting for MLflow" not in line)  # it waits on a busy machine


def test_the_gateways_meter_is_in_each_result(small_experiment: Ran):
    for result in small_experiment.outcome.results:
        stages = {(row.model, row.stage): row for row in result.usage}
        assert {row.trial for row in result.usage} == {result.trial.id}
        assert stages["llm-small", "answer"].calls >= 3
        assert stages["judge", "judge"].prompt_tokens > 0
        assert all(row.failed == 0 for row in result.usage)


def test_keys_are_neither_in_storage_nor_in_mlflow_nor_in_rays_session(
    lab: Lab, small_experiment: Ran, ray_cluster: RayCluster
):
    assert files_with("hierarchical_automerging", lab.mlflow.folder)
    assert files_with("dream-services", ray_cluster.folder)
    for folder in (lab.home / "experiments", lab.home / "golden-datasets", lab.mlflow.folder, ray_cluster.folder):
        for secret in (LAB_KEY, NODE_S3_KEY, ray_cluster.token):
            assert files_with(secret, folder) == []


def test_keys_are_not_in_what_ray_knows_of_its_actors(small_experiment: Ran):
    """Tune would send the S3 key in the environment of the process that it runs in along with each trial."""

    def of_actors() -> list[bytes]:
        from ray._private.state import state

        return list(state._connect_and_get_accessor().get_actor_table(None, None))

    actors = ray.get(ray.remote(of_actors).remote())
    assert sum(b"ImplicitFunc" in actor for actor in actors) >= 1
    for secret in (LAB_KEY, NODE_S3_KEY):
        assert not any(secret.encode() in actor for actor in actors)


def test_the_meter_starts_anew_for_each_experiment_of_a_session(
    lab: Lab, small_experiment: Ran, capfd: pytest.CaptureFixture[str]
):
    """The same trial again, in the same connection to Ray; with `show=None` nothing at all is printed."""
    first = load_experiment("small", lab.settings).manifest.questions[:1]
    settings = lab.changed(MLFLOW_TRACKING_URI=f"sqlite:///{lab.home}/again.db")
    outcome = run_experiment(
        one_trial(), name="again", golden_dataset=GoldenDataset(first), settings=settings,
        metrics=["answer_similarity"], engine="in_process", show=None,
    )  # fmt: skip
    (result,) = outcome.results
    assert result.trial.id == small_experiment.outcome.results[0].trial.id
    assert {row.stage: row.calls for row in result.usage if row.model == "llm-small"} == {"answer": 1}
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def small_questions(ran: Ran):
    return ran.outcome.manifest.questions


def test_one_trial_fails_and_mlflow_is_down_yet_the_other_is_whole_and_can_be_tracked_later(
    lab: Lab, small_experiment: Ran, tmp_path: Path
):
    """The key of one embedding endpoint is revoked after the check, as happens when a quota ends."""
    golden = GoldenDataset(small_questions(small_experiment)[:2])
    lines: list[str] = []
    revoked = OfflineServer.start(api_key="the-old-key")
    port = urlsplit(revoked.base_url).port
    successors: list[OfflineServer] = []

    def show(line: str) -> None:
        lines.append(line)
        if "2 trials x 2 questions" in line:
            revoked.stop()
            successors.append(OfflineServer.start(port=port, api_key="a-new-key"))

    settings = lab.changed(
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


@pytest.fixture(scope="module")
def sliced(lab: Lab, small_experiment: Ran) -> Ran:
    """The small experiment again, with two questions judged twice and with baselines; one question of three is as a
    user's own would be, without reference contexts."""
    first, second, third = small_questions(small_experiment)
    golden = GoldenDataset((first, second, replace(third, reference_contexts=())))
    lines: list[str] = []
    outcome = run_experiment(
        SMALL_SPACE, name="sliced", golden_dataset=golden, judge_repeats=2, judge_repeat_questions=2, baselines=True,
        engine="in_process", settings=lab.settings, show=lines.append,
    )  # fmt: skip
    return Ran(outcome, lines)


def test_a_slice_is_judged_again_in_every_trial(lab: Lab, sliced: Ran):
    assert load_experiment("sliced", lab.settings) == sliced.outcome
    questions = sliced.outcome.manifest.repeats.question_ids
    assert len(questions) == 2
    for result in sliced.outcome.results:
        assert result.error is None
        assert {(score.question_id, score.metric, score.repeat) for score in result.evaluation.repeats} == {
            (question, metric, 1) for question in questions for metric in METRICS if metric != "answer_similarity"
        }
        assert len(result.evaluation.answers) == 3
    (noise,) = compare(sliced.outcome).noise
    assert (noise.n_questions, noise.n_trials, noise.judge) == (2, 2, 0)  # the offline judge always says the same


def test_baselines_run_beside_the_trials_and_are_in_no_table(lab: Lab, sliced: Ran):
    closed_book, oracle = sliced.outcome.baselines
    assert [closed_book.trial.name, oracle.trial.name] == ["closed_book + llm-small@x", "oracle + llm-small@x"]
    assert [len(one.evaluation.answers) for one in sliced.outcome.baselines] == [3, 2]
    assert "  1 of 3 questions have no reference contexts: the oracle is not asked them" in sliced.lines
    n = 2 * 3 + 3 + 2
    assert any(line.startswith(f"running trials: {n} of {n} questions in ") for line in sliced.lines)
    for one in sliced.outcome.baselines:
        assert one.error is None
        assert {(row.trial, row.stage) for row in one.usage} == {(one.trial.id, s) for s in ("answer", "judge")}
        assert one.evaluation.repeats == ()
    found = compare(sliced.outcome)
    assert set(found.losses) == {result.trial.id for result in sliced.outcome.results}
    assert all(len(split.questions) == 2 for split in found.losses.values())
    assert {row["trial_id"] for row in leaderboard(sliced.outcome).to_dict("records")} == set(found.losses)


def test_what_was_planned_is_what_was_called(sliced: Ran):
    """Calls of each model and stage within 10 %, or within the two that few questions leave open."""
    planned: dict[tuple[str, str], int] = {}
    for row in sliced.outcome.manifest.plan.calls:
        planned[row.model, row.stage] = row.calls
    actual = dict.fromkeys(planned, 0)
    for row in sliced.outcome.usage:
        if row.stage != "check":
            actual[f"{row.model}@x", row.stage] += row.calls
    assert planned["judge@x", "judge"] > 80
    assert {key: planned[key] for key in planned if abs(planned[key] - actual[key]) > max(0.1 * actual[key], 2)} == {}


def test_repeats_and_baselines_are_added_to_a_finished_experiment_and_only_they_are_paid(lab: Lab, sliced: Ran):
    one = sliced.outcome
    lab.models.reset()
    added = run_experiment(
        resume="sliced",
        judge_repeats=3,
        judge_repeat_questions=2,
        engine="in_process",
        settings=lab.settings,
        show=None,
    )
    sent = {model: row["calls"] for model, row in lab.models.counters()["by_model"].items()}
    judged = sum(row.calls for row in added.usage if row.model == "judge" and row.stage == "judge")
    before = sum(row.calls for row in one.usage if row.model == "judge" and row.stage == "judge")
    assert judged > before
    assert sent["judge"] <= judged - before + 1  # the check of the model
    assert sent.get("llm-small", 0) <= 1  # no answer is asked for again
    for old, new in zip((*one.results, *one.baselines), (*added.results, *added.baselines), strict=True):
        assert (new.evaluation.answers, new.evaluation.scores) == (old.evaluation.answers, old.evaluation.scores)
        assert set(new.evaluation.repeats) >= set(old.evaluation.repeats)
    assert {score.repeat for result in added.results for score in result.evaluation.repeats} == {1, 2}
    assert load_experiment("sliced", lab.settings) == added


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
    lab: Lab, small_experiment: Ran, ray_cluster: RayCluster
):
    golden = GoldenDataset(small_questions(small_experiment)[:2])
    methods = ["chunks_with_overlap", "sentence_window", "hierarchical_automerging"]
    space = SearchSpace(methods, ["llm-large@x"], ["embed-small@x"])
    killed: list[int] = []
    lab.models.reset()
    with ray_cluster.second_node() as second:
        killer = threading.Thread(target=kill_a_trial, args=(second, lab.models, killed))
        killer.start()
        try:
            outcome = run_experiment(
                space, name="killed", golden_dataset=golden, settings=lab.settings, metrics=["faithfulness"], show=None
            )
        finally:
            lab.models.faults(chat_latency_ms=0)
            killer.join(30)
    assert killed
    assert outcome.manifest.cluster.nodes == 2
    assert [result.error for result in outcome.results] == [None, None, None]
    assert all(len(result.evaluation.answers) == 2 for result in outcome.results)
    assert load_experiment("killed", lab.settings) == outcome


def kill_a_trial(node: RayNode, models: ModelServer, killed: list[int]) -> None:
    """Wait until a trial on the node asks its questions, whose answers are slow, and kill its worker."""
    wait_for(lambda: models.chat_calls() >= 2, 120)  # the check of the LLM and of the judge
    models.faults(chat_latency_ms=4000)
    wait_for(lambda: node.pids("ray::ImplicitFunc") and models.chat_calls() >= 2 + 3 * 2, 120)
    for pid in node.pids("ray::ImplicitFunc"):
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    models.faults(chat_latency_ms=0)


def test_offline_models_are_gone_after_the_run(lab: Lab, small_experiment: Ran):
    golden = GoldenDataset(small_questions(small_experiment)[:1])
    settings = lab.changed(DREAM_OFFLINE="1", DREAM_ENDPOINT_X_BASE_URL="", DREAM_ENDPOINT_X_API_KEY="",
                           DREAM_JUDGE_LLM="", DREAM_JUDGE_EMBED_MODEL="")  # fmt: skip
    space = SearchSpace(["chunks_with_overlap"], ["offline/llm-small"], ["offline/embed-small"])
    outcome = run_experiment(
        space, name="offline", golden_dataset=golden, settings=settings, metrics=["answer_similarity"], show=None
    )
    assert outcome.manifest.offline
    assert outcome.results[0].error is None
    (url,) = set(outcome.manifest.endpoints.values())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 2)


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"name": "small"}, "'small' exists"),
        ({"name": "a/b"}, "'a/b'"),
        ({"metrics": ["faithfulnes"]}, "faithfulnes"),
        ({"golden_dataset": "nobody-made-it"}, "nobody-made-it"),
        ({"search_space": one_trial("chunk")}, "unknown query engine 'chunk'"),
        ({"search_space": one_trial(embed_model="embed@nowhere")}, "no endpoint 'nowhere'"),
    ],
)
def test_mistakes_are_told_before_any_model_is_called(lab: Lab, small_experiment: Ran, arguments: dict, mistake: str):
    lab.models.reset()
    with pytest.raises((ConfigurationError, DataError), match=mistake):
        run_experiment(**{"search_space": one_trial(), "settings": lab.settings, "show": None, **arguments})
    assert lab.models.counters()["by_path"] == {}


def test_no_documents_is_told_before_any_model_is_called(lab: Lab, small_experiment: Ran, tmp_path: Path):
    lab.models.reset()
    with pytest.raises(DataError, match="there is no document"):
        run_experiment(one_trial(), documents_uri=str(tmp_path), settings=lab.settings, show=None)
    assert lab.models.counters()["by_path"] == {}


def test_a_wrong_key_and_an_unknown_model_are_found_before_any_trial(lab: Lab, small_experiment: Ran):
    with offline_models("another-key") as other:
        settings = lab.changed(DREAM_ENDPOINT_Z_BASE_URL=other.base_url, DREAM_ENDPOINT_Z_API_KEY="not-the-key")
        space = SearchSpace(["chunks_with_overlap"], ["llm-small@z", "gpt-9@x"], ["embed-small@x"])
        with pytest.raises(ServiceError) as caught:
            run_experiment(space, name="refused", settings=settings, show=None)
    message = str(caught.value)
    assert message.startswith("2 model(s) cannot be used:")
    assert "DREAM_ENDPOINT_Z_API_KEY" in message
    assert "no model 'gpt-9'; it offers: " in message
    assert "not-the-key" not in message
    with pytest.raises(DataError, match="no experiment 'refused'"):
        load_experiment("refused", settings)


def test_a_folder_without_write_permission_is_told_at_once(lab: Lab, small_experiment: Ran, tmp_path: Path):
    place = tmp_path / "a-file"
    place.write_text("in the way")
    with pytest.raises(OSError, match="a-file"):
        run_experiment(one_trial(), settings=lab.changed(DREAM_EXPERIMENTS_URI=str(place)), show=None)


@pytest.fixture(autouse=True, scope="module")
def no_traces_in_the_checkout():
    """Everything is written below the home of the settings."""
    before = sorted(os.listdir(Path(__file__).parents[2]))
    yield
    assert sorted(os.listdir(Path(__file__).parents[2])) == before
