"""Trials that are stopped by hand while the others go on: in this process, with a RAG system that waits."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from town import GOLDEN

from dream import stop_trial
from dream.comparison import compare, comparison_text, leaderboard_of
from dream.errors import ConfigurationError, DataError
from dream.experiments import stopping, store
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.rag.methods import RAG_METHODS, own_system
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, FailureKind, GoldenDataset
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage
from dream.tracking.mlflow_runs import experiment_status, status_of

pytestmark = pytest.mark.whole

QUESTIONS = GoldenDataset(tuple(GOLDEN[:6]))
ANSWERED = 2
asked: list[str] = []
released = threading.Event()


@dataclass(frozen=True)
class Stopped:
    """An experiment whose slow trial was stopped after two answers, and what it showed."""

    outcome: ExperimentResult
    lines: list[str]
    settings: Settings


def settings_of(home: Path) -> Settings:
    variables = {"DREAM_HOME": str(home), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    return Settings.from_environment(variables)


def home_with_a_document(home: Path) -> Settings:
    (home / "documents").mkdir(parents=True)
    (home / "documents" / "town.txt").write_text("Ida Brandt tunes the harbour organ. " * 30)
    return settings_of(home)


@pytest.fixture(scope="module", autouse=True)
def systems() -> Iterator[None]:
    """A system that answers at once, and one that waits after two questions until it is released."""

    async def quick(question):
        return question, ["a context"]

    async def slow(question: str):
        asked.append(question)
        while len(asked) > ANSWERED and not released.is_set():
            await asyncio.sleep(0.01)
        return question, ["a context"]

    before = dict(RAG_METHODS)
    own_system(quick)
    own_system(slow, concurrency=ANSWERED + 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stopping, "LOOK_SECONDS", 0.05)
        yield
    RAG_METHODS.clear()
    RAG_METHODS.update(before)


def run(settings: Settings, show: Callable[[str], None] | None = None, **more) -> ExperimentResult:
    space = SearchSpace(["slow", "quick"], ["offline/llm-small"], ["offline/embed-small"])
    return run_experiment(
        space, golden_dataset=QUESTIONS, metrics=["token_f1"], settings=settings, engine="in_process", show=show, **more
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    settings = home_with_a_document(tmp_path_factory.mktemp("stopped"))
    told: list[dict[str, str]] = []

    def stop_when_asked() -> None:
        until = time.monotonic() + 60
        while len(asked) <= ANSWERED and time.monotonic() < until:
            time.sleep(0.02)
        told.append(stop_trial("exp", "slow", settings=settings))

    other_terminal = threading.Thread(target=stop_when_asked, daemon=True)
    other_terminal.start()
    lines: list[str] = []
    outcome = run(settings, lines.append, name="exp")
    other_terminal.join()
    assert told == [{outcome.results[0].trial.id: "slow"}]
    return Stopped(outcome, lines, settings)


@pytest.fixture
def copy_of_stopped(stopped: Stopped, tmp_path: Path) -> Stopped:
    """The same, for a test that changes it."""
    shutil.copytree(stopped.settings.home, tmp_path / "copy")
    return replace(stopped, settings=settings_of(tmp_path / "copy"))


def test_a_stopped_trial_is_recorded_as_such_and_the_others_are_whole(stopped: Stopped):
    outcome = stopped.outcome
    slow, quick = outcome.results
    assert slow.failure and slow.failure.kind == FailureKind.STOPPED
    assert slow.error == "stopped by hand after 2 of 6 questions"
    assert slow.evaluation is None and slow.stopped_by_hand and not slow.has_failed and not slow.was_stopped
    assert quick.evaluation and len(quick.answers) == 6
    assert load_experiment("exp", stopped.settings) == outcome
    assert outcome.stopped is None
    assert "  trial 2 of 2: slow: stopped by hand after 2 of 6 questions" in stopped.lines
    (total,) = [line for line in stopped.lines if line.startswith("running trials")]
    assert total.startswith("running trials: 8 of 8 questions in ")
    blocks = store.load_blocks(open_storage(stopped.settings.experiments_uri, stopped.settings), "exp", slow.trial.id)
    assert len(blocks.answers) == len(blocks.scores) == 2


def test_it_is_neither_ranked_nor_a_failure(stopped: Stopped):
    outcome = stopped.outcome
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


def test_resuming_leaves_it_stopped_unless_it_is_told_to_restart(copy_of_stopped: Stopped):
    settings, before = copy_of_stopped.settings, len(asked)
    assert run(settings, resume="exp").results == copy_of_stopped.outcome.results
    assert len(asked) == before
    released.set()
    slow, _ = run(settings, resume="exp", restart=["slow"]).results
    assert slow.evaluation and len(slow.answers) == 6
    assert len(asked) - before == 4  # those that were finished are not asked again
    with pytest.raises(ConfigurationError, match="slow was not stopped by hand: leave it out") as error:
        run(settings, resume="exp", restart=["nobody", "slow"])
    assert "'nobody' is not a trial" in str(error.value)
    with pytest.raises(ConfigurationError, match=r"restart=\['slow'\]: give the experiment that is resumed"):
        run(settings, name="another", restart=["slow"])


def test_a_trial_of_an_experiment_that_does_not_run_is_stopped_when_it_is_resumed(copy_of_stopped: Stopped):
    settings = copy_of_stopped.settings

    def interrupt(line: str) -> None:
        if "2 trials x 6 questions" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, interrupt, name="interrupted")
    released.clear()
    stop_trial("interrupted", "slow", settings=settings)
    slow, quick = run(settings, resume="interrupted").results
    assert slow.error and slow.error.startswith("stopped by hand after ")
    assert quick.error is None


def test_mistakes_are_told_all_at_once_and_nothing_is_stopped(copy_of_stopped: Stopped):
    settings = copy_of_stopped.settings
    slow, quick = (result.trial.id for result in copy_of_stopped.outcome.results)
    with pytest.raises(DataError, match=r"no experiment 'nobody' at .*; there are: exp"):
        stop_trial("nobody", slow, settings=settings)
    with pytest.raises(ConfigurationError, match="the experiment is finished, so there is nothing to stop"):
        stop_trial("exp", slow, settings=settings)
    storage = open_storage(settings.experiments_uri, settings)
    storage.delete(f"exp/trials/{quick}.json")
    with pytest.raises(ConfigurationError) as error:
        stop_trial("exp", slow, "nobody", "nothing", settings=settings)
    assert str(error.value).splitlines() == [
        "nothing of 'exp' was stopped:",
        f"  - {slow} slow: stopped by hand after 2 of 6 questions",
        "  - 'nobody' is not a trial",
        "  - 'nothing' is not a trial",
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
        "'mmr + llm' is ambiguous:",
        "      abc1 mmr + llm (top_k=3)",
        "      abd2 mmr + llm (top_k=5)",
    ]
    assert len(find(["", "a"], names)[1]) == 3
