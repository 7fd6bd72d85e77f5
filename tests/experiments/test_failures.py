"""A mistake in one's own RAG method is found by its file and line: in the stored result, in the log and in MLflow."""

import logging
from pathlib import Path

import pytest
from llama_index.core.query_engine import CustomQueryEngine
from model_servers import KEY, pages
from town import FACTS, GOLDEN

from dream.engines.inbox import BlockFinished, TrialFinished
from dream.experiments.recorder import Recorder
from dream.experiments.spec import PreparedExperiment
from dream.experiments.store import load_experiment, save_manifest
from dream.experiments.trial import TrialContext, experiment_or_failure
from dream.rag.methods import RAG_METHODS, rag_method
from dream.records import (
    Answer,
    DocumentSet,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    Manifest,
    Trial,
    TrialResult,
)
from dream.settings import Settings
from dream.storage import open_storage
from dream.tables import tracebacks

pytestmark = pytest.mark.whole
THIS_FILE = str(Path(__file__))
QUESTIONS = tuple(GOLDEN[:3])


def line_of(text: str) -> int:
    """The line of this file that ends with a text."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


@pytest.fixture
def methods():
    """Two RAG methods with a mistake: one in what answers, the other in what makes it."""

    class Buggy(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return query_str.nope  # in the answer

        async def acustom_query(self, query_str: str) -> str:
            return self.custom_query(query_str)

    @rag_method("sentences")
    def fails_at_each_question(index, llm):
        return Buggy()

    @rag_method("sentences")
    def fails_as_a_whole(index, llm):
        return index["nope"]  # in the method

    yield
    for name in ("fails_at_each_question", "fails_as_a_whole"):
        del RAG_METHODS[name]


def run(method: str) -> TrialResult:
    """One trial in this process, as a worker runs it."""
    context = TrialContext(
        pages("town.txt", *FACTS.values()), GoldenDataset(QUESTIONS), "judge", "embed-large", ["context_recall"]
    )
    config = {"query_engine_identifier": method, "llm_identifier": "llm-large", "embed_model_identifier": "embed-large"}
    return experiment_or_failure(config, context)


@pytest.fixture
def recorded(
    gateway, methods, home_with_mlflow: Settings, caplog: pytest.LogCaptureFixture
) -> tuple[ExperimentResult, Settings, str]:
    """Both trials, recorded as a driver does it: stored, tracked and logged; and the log."""
    results = [run("fails_at_each_question"), run("fails_as_a_whole")]
    settings = home_with_mlflow
    with caplog.at_level(logging.WARNING, "dream"):
        record(results, settings)
    return load_experiment("buggy", settings), settings, caplog.text


def record(results: list[TrialResult], settings: Settings) -> list[str]:
    """Send results to a recorder; returns the lines that it shows."""
    trials = tuple(result.trial for result in results)
    context = TrialContext((), GoldenDataset(QUESTIONS), "judge", "embed-large", ["context_recall"])
    manifest = Manifest("buggy", context.golden_dataset, ("context_recall",), trials)
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    save_manifest(storage, "buggy", manifest)
    lines: list[str] = []
    recorder = Recorder(
        manifest, PreparedExperiment(trials, (), context, DocumentSet()), storage, settings, lines.append
    )
    recorder.take([BlockFinished(one.trial.id, one.evaluation) for one in results if one.evaluation])
    recorder.take([TrialFinished(result) for result in results])
    recorder.finish()
    return lines


def test_a_bug_is_found_by_file_and_line(recorded):
    experiment, settings, log = recorded
    places = {
        "fails_at_each_question": f'File "{THIS_FILE}", line {line_of("# in the answer")}, in custom_query',
        "fails_as_a_whole": f'File "{THIS_FILE}", line {line_of("# in the method")}, in fails_as_a_whole',
    }
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow_tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("dream").experiment_id])
    for result in experiment.results:
        name = result.trial.query_engine_identifier
        (child,) = [run for run in runs if run.data.tags.get("dream.trial_id") == result.trial.id]
        artifact = Path(client.download_artifacts(child.info.run_id, "tracebacks.txt")).read_text(encoding="utf-8")
        for text in (tracebacks(result), artifact, log):
            assert places[name] in text


def test_each_question_has_its_failure_and_the_traceback_is_shown_once(recorded):
    experiment, _, _ = recorded
    answers = experiment.results[0].answers
    assert [answer.error for answer in answers] == ["AttributeError: 'str' object has no attribute 'nope'"] * 3
    assert all(answer.failure.kind == FailureKind.EXCEPTION and answer.failure.kind.by_system for answer in answers)
    assert all("nope" in answer.failure.traceback for answer in answers)
    scores = experiment.results[0].evaluation.scores
    assert {(score.value, score.failure.kind, score.failure.traceback) for score in scores} == {
        (None, FailureKind.EXCEPTION, "")
    }
    text = tracebacks(experiment.results[0])
    assert text.count("Traceback (most recent call last)") == 1
    assert text.startswith(", ".join(f"answer {question.id}" for question in QUESTIONS) + ": AttributeError")
    whole = experiment.results[1]
    assert whole.evaluation is None and whole.failure.kind == FailureKind.EXCEPTION
    assert "'VectorStoreIndex' object is not subscriptable" in whole.error


def test_no_secret_is_stored_or_logged_or_tracked(
    gateway, home_with_mlflow: Settings, caplog: pytest.LogCaptureFixture
):
    """A server may quote the key in its message; the driver, which knows it, takes it out."""
    quoting = Failure(FailureKind.SERVICE, f"AuthenticationError: {KEY}", f"Traceback\n  raise Error({KEY!r})")
    trials = [Trial("chunks_with_overlap", "llm@x", f"embed-{size}@x") for size in ("small", "large")]
    partly = Evaluation((Answer(QUESTIONS[0].id, None, failure=quoting),), ())
    settings = Settings.from_environment(
        {
            "DREAM_HOME": home_with_mlflow.home,
            "DREAM_ENDPOINT_X_BASE_URL": "http://models.example/v1",
            "DREAM_ENDPOINT_X_API_KEY": KEY,
        }
    )
    with caplog.at_level(logging.WARNING, "dream"):
        lines = record([TrialResult(trials[0], partly), TrialResult(trials[1], failure=quoting)], settings)
    with_answer, failed = load_experiment("buggy", settings).results
    for failure in (with_answer.answers[0].failure, failed.failure):
        assert failure.reason == "AuthenticationError: ***"
        assert "raise Error('***')" in failure.traceback
    assert "raise Error('***')" in caplog.text
    for text in (
        caplog.text,
        "\n".join(lines),
        *(read(path) for path in Path(home_with_mlflow.home).rglob("*") if path.is_file()),
    ):
        assert KEY not in text


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
