"""The same experiment again: results are reused if everything is the same, and only then."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from model_servers import ModelServer

from dream.errors import DataError
from dream.experiments import due as due_module, reuse
from dream.experiments.planning import plan
from dream.experiments.run import run_experiment
from dream.experiments.spec import ExperimentSpec
from dream.experiments.store import experiment_names, load_experiment
from dream.models import gateway_client
from dream.rag.methods import RAG_METHODS, chunks_with_overlap, rag_method
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion
from dream.settings import Settings
from dream.storage import open_storage

pytestmark = pytest.mark.whole
QUESTIONS = tuple(
    GoldenQuestion(f"q{n}", f"Who tunes the harbour organ on day {n}?", "Ida Brandt tunes it.") for n in range(3)
)
METRICS = ("context_recall", "answer_similarity")


@pytest.fixture(scope="module")
def settings(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("reuse")
    made = Settings.from_environment(
        {
            "DREAM_HOME": str(home),
            "DREAM_ENDPOINT_X_BASE_URL": _models.base_url,
            "DREAM_ENDPOINT_X_API_KEY": _models.key,
            "DREAM_LLMS": "llm-small@x",
            "DREAM_EMBED_MODELS": "embed-small@x",
            "DREAM_JUDGE_LLM": "judge@x",
            "DREAM_JUDGE_EMBED_MODEL": "embed-large@x",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
    )
    documents = open_storage(made.documents_uri, made)
    documents.ensure()
    documents.write_bytes("town.txt", b"Ida Brandt tunes the harbour organ. " * 30)
    return made


def run(settings: Settings, name: str, questions=QUESTIONS, methods=("chunks_with_overlap",), **options):
    lines: list[str] = []
    outcome = run_experiment(
        SearchSpace(methods, settings.llms, settings.embed_models), name=name, golden_dataset=GoldenDataset(questions),
        engine="in_process", settings=settings, show=lines.append, **{"metrics": METRICS, **options},
    )  # fmt: skip
    assert [result.error for result in outcome.results] == [None] * len(outcome.results)
    return outcome, lines


@pytest.fixture(scope="module")
def first(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentResult]:
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("elsewhere"))
    patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow is down, and need not be waited for
    yield run(settings, "first")[0]
    patch.undo()


def test_only_what_nobody_can_have_paid_for_is_planned_while_models_are_checked(settings, first, monkeypatch):
    """Whatever an earlier experiment may have paid for is planned first, so that nothing is started for nothing."""
    threads = []
    planned = due_module.plan_of

    def plan_of(*arguments, **options):
        threads.append(threading.current_thread().name)
        return planned(*arguments, **options)

    monkeypatch.setattr(due_module, "plan_of", plan_of)
    fewer, methods = QUESTIONS[:2], ("sentence_window",)
    expected = plan(
        SearchSpace(methods, settings.llms, settings.embed_models), golden_dataset=GoldenDataset(fewer),
        settings=settings, metrics=METRICS,
    )  # fmt: skip
    outcome, _ = run(settings, "new", fewer, methods)
    assert outcome.manifest.plan == expected
    assert expected.texts_to_embed > 0 and not expected.is_paid
    run(settings, "new-again", fewer, methods)
    assert threads == ["dream-plan_of_new", threading.current_thread().name]


def test_the_same_again_starts_no_ray_where_that_was_asked_for(settings, first, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray is started"))
    space = SearchSpace(("chunks_with_overlap",), settings.llms, settings.embed_models)
    asked = {"golden_dataset": GoldenDataset(QUESTIONS), "metrics": METRICS, "settings": settings, "show": None}
    outcome = run_experiment(space, name="no-ray", engine="ray", **asked)
    assert [result.taken_from for result in outcome.results] == ["first"]


def test_a_failure_to_plan_ends_an_experiment_before_its_trials(settings, first, monkeypatch, model_server):
    def plan_of(*arguments, **options):
        raise DataError("the documents have no text")

    monkeypatch.setattr(due_module, "plan_of", plan_of)
    with pytest.raises(DataError, match="no text"):
        run(settings, "not-planned", QUESTIONS[:1])
    assert "not-planned" not in experiment_names(open_storage(settings.experiments_uri, settings))


def test_the_same_again_asks_nothing_and_starts_nothing(settings, first, model_server):
    outcome, lines = run(settings, "second")
    assert model_server.counters()["calls"] == 0
    assert lines[0] == "engine: in_process (all answers are already there)"
    (taken,), (before,) = outcome.results, first.results
    assert any(line.endswith(": reused from first") for line in lines)
    assert (taken.taken_from, before.taken_from) == ("first", "")
    assert taken.evaluation == before.evaluation
    assert sum(row.calls for row in taken.usage) == sum(row.calls for row in before.usage)
    assert all(row.cached == row.calls and row.sent == row.paid_prompt_tokens == 0 for row in outcome.usage)
    assert load_experiment("second", settings) == outcome
    third, _ = run(settings, "third", metrics=METRICS[:1])
    assert {score.metric for score in third.results[0].evaluation.scores} == {METRICS[0]}
    assert model_server.counters()["calls"] == 0


def test_only_what_is_new_is_run_and_asked(settings, first, model_server):
    outcome, _ = run(settings, "wider", methods=("chunks_with_overlap", "sentence_window"))
    assert [result.taken_from for result in outcome.results] == ["first", ""]
    assert 0 < model_server.chat_calls() <= 4 + 2 * len(QUESTIONS)


def taken_over(settings: Settings, questions=QUESTIONS, method: str = "chunks_with_overlap", **options) -> list[str]:
    """The experiments whose results would be reused."""
    space = SearchSpace((method,), settings.llms, settings.embed_models)
    spec = ExperimentSpec(space, GoldenDataset(questions), **{"metrics": METRICS, **options})
    with gateway_client.opened(settings):
        return [result.taken_from for result in reuse.results_taken_over(spec.prepare(settings), settings).values()]


def test_what_differs_is_not_taken_over(settings, first, tmp_path, monkeypatch):
    assert taken_over(settings) == ["first"]
    assert taken_over(settings, (*QUESTIONS[:2], replace(QUESTIONS[2], ground_truth="Nobody does."))) == []
    assert taken_over(settings, metrics=(*METRICS, "answer_correctness")) == []
    assert taken_over(settings, judge_repeats=2, judge_repeat_questions=1) == []
    (endpoint,) = settings.endpoints
    elsewhere = replace(endpoint, base_url=endpoint.base_url.replace("127.0.0.1", "localhost"))
    assert taken_over(replace(settings, endpoints=(elsewhere,))) == []
    assert taken_over(replace(settings, cache_uri=str(tmp_path / "an-emptied-cache"))) == []
    monkeypatch.setattr(reuse, "versions", lambda: {"source": "another"})
    assert taken_over(settings) == []


def test_a_method_of_ones_own_is_run_again(settings, first):
    """Its source may have changed, which no version tells."""

    @rag_method("overlapping_chunks", **RAG_METHODS["chunks_with_overlap"].defaults)
    def own_chunks(index, llm, *, top_k, context_tokens):
        return chunks_with_overlap(index, llm, top_k=top_k, context_tokens=context_tokens)

    try:
        run(settings, "own", methods=("own_chunks",))
        assert taken_over(settings, method="own_chunks") == []
    finally:
        del RAG_METHODS["own_chunks"]
