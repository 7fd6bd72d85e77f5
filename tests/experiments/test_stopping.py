"""Trials that are stopped by hand while the others go on: in this process, with a RAG system that waits."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from town import GOLDEN

from dream import stop_trial
from dream.comparison import compare, comparison_text, leaderboard_of
from dream.errors import ConfigurationError, DataError
from dream.experiments import stopping, store
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.rag.methods import own_system
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, FailureKind, GoldenDataset
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage
from dream.tracking.mlflow_runs import experiment_status, status_of

QUESTIONS = GoldenDataset(tuple(GOLDEN[:6]))
ANSWERED = 2
asked: dict[str, list[str]] = {}
released = threading.Event()


@pytest.fixture
def settings(documents: Settings) -> Settings:
    return replace(documents, mlflow_tracking_uri=f"sqlite:///{documents.home}/mlflow.db")


@pytest.fixture(autouse=True)
def systems(registered_methods: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system that answers at once, and one that waits after two questions until it is released."""
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.05)
    asked.clear()
    released.clear()

    @own_system
    async def quick(question):
        return question, ["a context"]

    async def wait_after_two(question: str):
        questions = asked.setdefault("slow", [])
        questions.append(question)
        while len(questions) > ANSWERED and not released.is_set():
            await asyncio.sleep(0.01)
        return question, ["a context"]

    own_system(concurrency=ANSWERED + 1)(named(wait_after_two, "slow"))
    yield


def named(function: Callable, name: str) -> Callable:
    function.__name__ = name
    return function


def run(settings: Settings, lines: list[str] | None = None, **more) -> ExperimentResult:
    show = None if lines is None else lines.append
    return run_experiment(
        SearchSpace(["slow", "quick"], ["-"], ["-"]), golden_dataset=QUESTIONS, metrics=["token_f1"], settings=settings,
        engine="in_process", show=show, **more,
    )  # fmt: skip


@pytest.fixture
def stopped(settings: Settings) -> tuple[ExperimentResult, list[str]]:
    """An experiment whose slow trial is stopped after two answers, and what it showed."""

    def stop_when_asked() -> None:
        while len(asked.get("slow", [])) <= ANSWERED:
            threading.Event().wait(0.02)
        assert list(stop_trial("exp", "slow", settings=settings).values()) == ["slow"]

    other_terminal = threading.Thread(target=stop_when_asked)
    other_terminal.start()
    lines: list[str] = []
    outcome = run(settings, lines, name="exp")
    other_terminal.join()
    return outcome, lines


def test_a_stopped_trial_is_recorded_as_such_and_the_others_are_whole(stopped, settings: Settings):
    outcome, lines = stopped
    slow, quick = outcome.results
    assert slow.failure and slow.failure.kind == FailureKind.STOPPED
    assert slow.error == "stopped by hand after 2 of 6 questions"
    assert slow.evaluation is None and slow.stopped_by_hand and not slow.has_failed and not slow.was_stopped
    assert quick.evaluation and len(quick.answers) == 6
    assert load_experiment("exp", settings) == outcome
    assert outcome.stopped is None
    assert "  trial 2 of 2: slow: stopped by hand after 2 of 6 questions" in lines
    blocks = store.load_blocks(open_storage(settings.experiments_uri, settings), "exp", slow.trial.id)
    assert len(blocks.answers) == len(blocks.scores) == 2


def test_it_is_neither_ranked_nor_a_failure(stopped):
    outcome, _ = stopped
    comparison = compare(outcome)
    best, slow = comparison.standings
    assert comparison.recommended is best and best.trial.query_engine_identifier == "quick"
    assert (slow.rank, slow.mean, slow.why_not_ranked) == (None, None, "stopped by hand after 2 of 6 questions")
    text = comparison_text(comparison, leaderboard_of(comparison, outcome))
    assert "stopped by hand after 2 of 6 questions" in text and "no score" not in text
    page = report_html(outcome, comparison)
    assert "2, of which 0 failed, 1 stopped by hand" in page
    assert "Not ranked, and no failures: slow: stopped by hand after 2 of 6 questions." in page
    assert [status_of(result) for result in outcome.results] == ["KILLED", "FINISHED"]
    assert experiment_status(outcome) == "FINISHED"


def test_resuming_leaves_it_stopped_unless_it_is_told_to_restart(stopped, settings: Settings):
    outcome, _ = stopped
    before = len(asked["slow"])
    assert run(settings, resume="exp").results == outcome.results
    assert len(asked["slow"]) == before
    released.set()
    lines: list[str] = []
    slow, _ = run(settings, lines, resume="exp", restart=["slow"]).results
    assert slow.evaluation and len(slow.answers) == 6
    assert len(asked["slow"]) - before == 4  # those that were finished are not asked again
    with pytest.raises(ConfigurationError, match="slow was not stopped by hand: leave it out") as error:
        run(settings, resume="exp", restart=["nobody", "slow"])
    assert "'nobody' is no trial" in str(error.value)
    with pytest.raises(ConfigurationError, match=r"restart=\['slow'\]: give the experiment that is resumed"):
        run(settings, name="another", restart=["slow"])


def test_a_trial_of_an_experiment_that_does_not_run_is_stopped_when_it_is_resumed(settings: Settings):
    def interrupt(line: str) -> None:
        if "2 trials x 6 questions" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            SearchSpace(["slow", "quick"], ["-"], ["-"]), golden_dataset=QUESTIONS, metrics=["token_f1"], name="exp",
            settings=settings, engine="in_process", show=interrupt,
        )  # fmt: skip
    stop_trial("exp", "slow", settings=settings)
    slow, quick = run(settings, resume="exp").results
    assert slow.error and slow.error.startswith("stopped by hand after ")
    assert quick.error is None


def test_mistakes_are_told_all_at_once_and_nothing_is_stopped(stopped, settings: Settings):
    outcome, _ = stopped
    slow, quick = (result.trial.id for result in outcome.results)
    with pytest.raises(DataError, match=r"no experiment 'nobody' at .*; there are: exp"):
        stop_trial("nobody", slow, settings=settings)
    with pytest.raises(ConfigurationError, match="the experiment is finished, so that there is nothing to stop"):
        stop_trial("exp", slow, settings=settings)
    storage = open_storage(settings.experiments_uri, settings)
    storage.delete(f"exp/trials/{quick}.json")
    with pytest.raises(ConfigurationError) as error:
        stop_trial("exp", slow, "nobody", "nothing", settings=settings)
    assert str(error.value).splitlines() == [
        "nothing of 'exp' was stopped:",
        f"  - {slow} slow: stopped by hand after 2 of 6 questions",
        "  - 'nobody' is no trial",
        "  - 'nothing' is no trial",
        "  - the trials are:",
        f"      {slow} slow",
        f"      {quick} quick",
    ]
    with pytest.raises(ConfigurationError, match="no trial is named"):
        stop_trial("exp", settings=settings)
    assert store.stop_requests(storage, "exp") == {slow}


def test_trials_are_found_by_id_the_beginning_of_it_or_name():
    names = {"abc1": "mmr + llm (top_k=3)", "abd2": "mmr + llm (top_k=5)", "ef03": "closed_book + llm"}
    find = stopping.find_trials
    assert find(["abc1", "abd", "mmr + llm (top_k=5)"], names) == (["abc1", "abd2"], [])
    assert find(["baseline: closed_book + llm", "closed_book + llm"], names) == (["ef03"], [])
    found, (problem,) = find(["mmr + llm", "e"], names)
    assert found == ["ef03"]
    assert problem.split("\n") == [
        "'mmr + llm' may be each of:",
        "      abc1 mmr + llm (top_k=3)",
        "      abd2 mmr + llm (top_k=5)",
    ]
    assert len(find(["", "a"], names)[1]) == 3
