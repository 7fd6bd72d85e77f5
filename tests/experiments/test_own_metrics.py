"""Metrics of one's own in whole experiments: counted, scored, kept with their definitions, also on a cluster."""

import threading
from concurrent.futures import Future

import pytest
from lab import Lab, environment_of
from model_servers import ModelServer

from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import leaderboard
from dream.errors import ConfigurationError
from dream.experiments.planning import plan
from dream.experiments.run import run_experiment
from dream.experiments.spec import ExperimentSpec
from dream.experiments.store import load_experiment
from dream.metrics import Metric, metric, own_metrics, registry, rubric
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, GoldenQuestion, Source
from dream.reporting.report import report_html
from dream.runtime.by_value import check_arrival
from dream.settings import Settings
from dream.storage import open_storage

TEXT = "Ida Brandt tunes the harbour organ."
QUESTIONS = GoldenDataset(
    tuple(
        GoldenQuestion(f"q{n}", f"Who tunes the harbour organ on day {n}?", truth, (), (Source("town.txt"),))
        for n, truth in enumerate(["Ida Brandt tunes it.", "Ida Brandt tunes it in 1931.", "Ida Brandt."])
    )
)
LIMIT = 100


def brevity(answer):
    return float(len(answer) <= LIMIT), f"{len(answer)} characters"


@pytest.fixture
def settings(documents: Settings, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow is down, and need not be waited for
    monkeypatch.setattr(registry, "_OWN", {})
    home = str(open_storage(documents.documents_uri, documents).uri("")).removesuffix("documents")
    variables = environment_of(home, model_server, "http://127.0.0.1:9")
    made = Settings.from_environment({**variables, "DREAM_DOCUMENTS_URI": documents.documents_uri})
    metric("Is the answer short?", meaning="1 up to 100 characters, else 0")(brevity)
    rubric("tone", ["It is rude.", "It is neutral.", "It is friendly."], question="Is it friendly?")
    return made


def run(settings: Settings, **options):
    space = SearchSpace(["chunks_with_overlap"], settings.llms, settings.embed_models)
    chosen = {"metrics": [brevity, "tone", "recall@1", "numbers_agree"], "name": "own", **options}
    if "resume" in chosen:
        return run_experiment(resume=chosen["resume"], engine="in_process", settings=settings, show=None)
    return run_experiment(space, golden_dataset=QUESTIONS, engine="in_process", settings=settings, show=None, **chosen)


@pytest.mark.whole
def test_an_experiment_with_metrics_of_ones_own(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    outcome = run(settings)
    (result,) = outcome.results
    scores = {(score.question_id, score.metric): score for score in result.evaluation.scores}
    assert [(s.metric, s.n_scored, s.n_failed, s.n_not_applicable) for s in result.evaluation.summaries()] == [
        ("brevity", 3, 0, 0), ("tone", 3, 0, 0), ("recall@1", 3, 0, 0), ("numbers_agree", 1, 0, 2),
    ]  # fmt: skip
    assert scores["q0", "brevity"].reason.endswith(" characters")
    assert scores["q0", "recall@1"].value == 1
    assert scores["q0", "numbers_agree"].not_applicable == "the ground truth has no number"
    assert {row.calls for row in result.usage if row.stage == "judge"} == {3}  # the rubric alone asks
    planned = {row.stage: row.calls for row in outcome.manifest.plan.calls if row.model.startswith("judge")}
    assert planned == {"judge": 3}

    monkeypatch.setattr(registry, "_OWN", {})  # as in another process
    loaded = load_experiment("own", settings)
    assert loaded == outcome
    assert [metric.name for metric in loaded.manifest.own_metrics] == ["brevity", "tone"]
    assert compare(loaded, "brevity").best.mean == 1
    assert compare(loaded, "numbers_agree").n_questions == 1
    assert leaderboard(loaded, "tone")["brevity"].tolist() == [1]
    page = report_html(loaded)
    assert "Is the answer short?" in page and "Is it friendly?" in page and "not applicable" in page

    with pytest.raises(ConfigurationError, match=r"not registered here: brevity\. Register them first"):
        run(settings, resume="own")
    metric("Is the answer short?", meaning="1 up to 100 characters, else 0", name="brevity")(lambda answer: 0)
    rubric("tone", ["It is rude.", "It is neutral.", "It is friendly."], question="Is it friendly?")
    with pytest.raises(ConfigurationError, match="the sources of the metric 'brevity' differ"):
        run(settings, resume="own")
    metric("Is the answer short?", meaning="1 up to 100 characters, else 0")(brevity)
    assert run(settings, resume="own").results[0].evaluation == result.evaluation
    again = run(settings, name="again")
    assert again.results[0].taken_from == ""  # what the function calls may have changed


def test_names_are_checked_before_anything_is_asked(settings: Settings):
    space = SearchSpace(["chunks_with_overlap"], settings.llms, settings.embed_models)
    with pytest.raises(ConfigurationError, match=r"'brevty' is unknown(.|\n)*'recall@0' is unknown") as caught:
        plan(ExperimentSpec(space, QUESTIONS, metrics=["brevty", "recall@0"]), settings=settings)
    assert "brevity" in str(caught.value)


def by_name(*names: str) -> dict[str, Metric]:
    return {metric.name: metric for metric in own_metrics(names)}


def here(task, *arguments) -> "Future[list[str]]":
    future: Future[list[str]] = Future()
    future.set_result(task(*arguments))
    return future


@pytest.mark.whole
def test_what_cannot_go_to_a_worker_is_refused_with_the_remedy(settings: Settings):
    check_arrival("metric(s)", by_name("brevity", "tone"), here)
    lock = threading.Lock()

    @metric("?", name="locked")
    def locked(answer):
        return float(lock.locked())

    with pytest.raises(ConfigurationError, match=r"locked cannot be pickled(.|\n)*open them inside the function"):
        check_arrival("metric(s)", by_name("brevity", "locked"), here)


@pytest.mark.usefixtures("on_ray")
def test_metrics_of_ones_own_reach_the_workers_of_a_cluster(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    """This module is not on the workers: functions travel by value, with what they refer to."""
    monkeypatch.setattr(registry, "_OWN", {})
    metric("Is the answer short?")(brevity)
    rubric("tone", ["It is rude.", "It is friendly."])
    questions = GoldenDataset(
        tuple(GoldenQuestion(f"q{n}", f"What is a hive {n}?", "A hive.", ("A hive.",)) for n in range(2))
    )
    outcome = run_experiment(
        SearchSpace(["chunks_with_overlap"], ["llm-small@x"], ["embed-small@x"]), name="own-metrics",
        golden_dataset=questions, metrics=[brevity, "tone"], settings=lab.settings, show=None,
    )  # fmt: skip
    (result,) = outcome.results
    assert result.error is None
    assert [(score.metric, score.error) for score in result.evaluation.scores] == [
        ("brevity", None),
        ("tone", None),
    ] * 2
    assert all(score.reason for score in result.evaluation.scores)
