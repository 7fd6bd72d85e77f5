"""Plans: what repeats and baselines add, what is paid already, and what an earlier experiment says about power."""

from dataclasses import replace
from datetime import datetime

import numpy
import pytest
import simulated

from dream.cli.main import main
from dream.comparison.power import plan_power
from dream.errors import DataError
from dream.experiments import store as experiment_store
from dream.experiments.pilot import planned_power
from dream.experiments.planning import Plan, plan
from dream.experiments.spec import ExperimentSpec
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, GoldenQuestion, Source
from dream.settings import Settings
from dream.storage import open_storage

SPACE = SearchSpace(["chunks_with_overlap"], ["offline/llm-small", "offline/llm-large"], ["offline/embed-small"])
QUESTIONS = tuple(
    GoldenQuestion(
        f"q{place}", f"Question {place}?", "Truth.", ("A context.",) if place < 7 else (), (Source(f"{place % 3}.txt"),)
    )
    for place in range(8)
)
GOLDEN = GoldenDataset(QUESTIONS)


@pytest.fixture
def documents(home: Settings) -> Settings:
    """A home with a small document."""
    storage = open_storage(home.documents_uri, home)
    storage.ensure()
    storage.write_bytes("town.txt", b"Ida Brandt tunes the harbour organ. " * 30)
    return home


def calls(planned: Plan) -> dict[tuple[str, str], int]:
    return {(row.model.removeprefix("offline/"), row.stage): row.calls for row in planned.calls}


def test_repeats_and_baselines_are_counted(documents: Settings):
    metrics = ["answer_correctness", "context_recall", "answer_similarity"]
    plain = calls(plan(SPACE, golden_dataset=GOLDEN, metrics=metrics, settings=documents))
    assert plain["judge", "judge"] == 2 * 8 * (3 + 1)
    repeated = plan(
        SPACE, golden_dataset=GOLDEN, metrics=metrics, judge_repeats=3, judge_repeat_questions=4, settings=documents
    )
    assert calls(repeated)["judge", "judge"] - plain["judge", "judge"] == 2 * 4 * 2 * (3 + 1)
    assert calls(repeated)["llm-small", "answer"] == plain["llm-small", "answer"] == 8
    assert "answers to 4 of 8 questions are judged 3 times" in str(repeated)
    with_baselines = plan(SPACE, golden_dataset=GOLDEN, metrics=metrics, baselines=True, settings=documents)
    assert calls(with_baselines)["llm-small", "answer"] == 8 + 8 + 7  # the oracle lacks one question's contexts
    assert calls(with_baselines)["judge", "judge"] - plain["judge", "judge"] == 2 * (8 + 7) * 3
    assert calls(with_baselines)["embed-small", "query"] == plain["embed-small", "query"]
    assert "1 of 8 questions have no reference contexts: the oracle is not asked them" in str(with_baselines)
    assert with_baselines.n_trials == 2


def test_each_question_that_answer_relevancy_derives_is_a_call(documents: Settings):
    """`strictness` is the number of questions that the judge derives from an answer."""
    once, thrice = (
        plan(ExperimentSpec(SPACE, GOLDEN, metrics=["answer_relevancy"], strictness=strictness), settings=documents)
        for strictness in (1, 3)
    )
    assert calls(once)["judge", "judge"] == 2 * 8
    assert calls(thrice)["judge", "judge"] == 3 * 2 * 8
    assert calls(thrice)["embed-small", "query"] == calls(once)["embed-small", "query"]


def test_a_spec_and_keyword_arguments_make_the_same_plan(documents: Settings):
    spec = ExperimentSpec(SPACE, GOLDEN, metrics=["context_recall"], baselines=False)
    by_keywords = plan(SPACE, golden_dataset=GOLDEN, metrics=["context_recall"], settings=documents)
    assert plan(spec, settings=documents) == by_keywords
    with pytest.raises(TypeError, match="metrics beside an ExperimentSpec"):
        plan(spec, metrics=["faithfulness"], settings=documents)
    with pytest.raises(TypeError, match="no argument metric; an experiment has: search_space, golden_dataset"):
        plan(SPACE, metric="faithfulness", settings=documents)  # pyright: ignore[reportCallIssue]


def test_repeats_cost_usd_where_the_judge_does(documents: Settings):
    settings = replace(documents, judge_llm="gpt-4o-mini", endpoints=openai_endpoint())
    once, thrice = (
        plan(SPACE, golden_dataset=GOLDEN, metrics=["context_recall"], judge_repeats=times, settings=settings)
        for times in (1, 3)
    )
    assert once.usd and thrice.usd
    assert thrice.usd == pytest.approx(3 * once.usd, rel=0.01)  # all 8 questions are in the slice


def openai_endpoint():
    return Settings.from_environment({"OPENAI_API_KEY": "a-key"}).endpoints


def store(settings: Settings, experiment, started: str, golden: GoldenDataset = GOLDEN) -> None:
    """An experiment as `run_experiment` leaves it, on these questions."""
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    manifest = replace(
        experiment.manifest, started=datetime.fromisoformat(f"{started}T12:00:00+00:00"), golden_dataset=golden
    )
    experiment_store.save_manifest(storage, experiment.name, manifest)
    for result in experiment.results:
        experiment_store.save_result(storage, experiment.name, result)


def pilot(name: str, seed: int = 0):
    scores = numpy.random.default_rng(seed).uniform(0.2, 0.9, (8, 3))
    return simulated.experiment({"answer_correctness": scores}, name=name)


def test_the_latest_experiment_on_the_same_questions_is_the_pilot(home: Settings):
    store(home, pilot("old"), "2026-01-01")
    store(home, pilot("new", 1), "2026-02-01")
    store(home, pilot("elsewhere", 2), "2026-03-01", GoldenDataset(QUESTIONS[:8][::-1]))
    found = planned_power(GOLDEN, settings=home)
    assert (found.pilot, found.metric) == ("new", "answer_correctness")
    assert found.power == plan_power(found.power.spread, 8, found.power.level)
    assert found.power.level < 0.05  # three pairs share it
    assert "from the 3 trials and 8 questions of the pilot 'new'" in found.text
    assert "Questions needed:" in found.text
    assert planned_power(GOLDEN, "old", home).pilot == "old"


def test_more_questions_show_smaller_differences(home: Settings):
    store(home, pilot("small"), "2026-01-01")
    many = GoldenDataset(tuple(GoldenQuestion(f"m{place}", "?", "!") for place in range(400)))
    few, lots = planned_power(GOLDEN, "small", home).power, planned_power(many, "small", home).power
    assert (few.n_questions, lots.n_questions) == (8, 400)
    assert lots.smallest < (few.smallest or 1) / 5
    assert lots.needed == few.needed


def test_without_a_pilot_it_says_how_to_get_one(home: Settings):
    assert "Run a pilot" in planned_power(GOLDEN, settings=home).text
    with pytest.raises(DataError, match="no experiment 'nobody'"):
        planned_power(GOLDEN, "nobody", home)


def test_the_command_shows_all_of_it(
    documents: Settings, no_environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from dream.golden.dataset import save_golden_dataset

    monkeypatch.setenv("DREAM_HOME", str(documents.home))
    golden = save_golden_dataset(GOLDEN, "golden", documents)
    store(documents, pilot("before"), "2026-01-01", golden)
    options = ["--llm", "offline/llm-small", "--embed-model", "offline/embed-small", "--judge-repeats", "2"]
    assert main(["plan", *options, "--judge-repeat-questions", "3", "--baselines", "--pilot", "before"]) == 0
    printed = capsys.readouterr().out
    assert "answers to 3 of 8 questions are judged 2 times" in printed
    assert "baselines: 2, for 1 LLM(s)" in printed
    assert "of the pilot 'before', on answer_correctness: 8 questions show" in printed
