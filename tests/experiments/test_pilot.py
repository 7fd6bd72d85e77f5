"""Pilots: what an earlier experiment on the same questions says about the power of the next."""

from dataclasses import replace
from datetime import datetime

import numpy
import pytest
import simulated

from dream.cli.main import main
from dream.errors import DataError
from dream.experiments import store as experiment_store
from dream.experiments.pilot import planned_power
from dream.golden.dataset import load_golden_dataset, save_golden_dataset
from dream.golden.hold_out import hold_out_of, split
from dream.records import GoldenDataset, GoldenQuestion, Source
from dream.settings import Settings
from dream.storage.opening import open_storage

QUESTIONS = tuple(
    GoldenQuestion(
        f"q{place}", f"Question {place}?", "Truth.", ("A context.",) if place < 7 else (), (Source(f"{place % 3}.txt"),)
    )
    for place in range(8)
)


GOLDEN = GoldenDataset(QUESTIONS)


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
    assert (found.power.n_questions, found.power.n_documents) == (8, 3)
    assert found.power == found.power.planned(8)
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
    monkeypatch.setenv("DREAM_HOME", str(documents.home))
    golden = save_golden_dataset(GOLDEN, "golden", documents)
    store(documents, pilot("before"), "2026-01-01", golden)
    options = ["--llm", "offline/llm-small", "--embed-model", "offline/embed-small", "--judge-repeats", "2"]
    assert main(["plan", *options, "--judge-repeat-questions", "3", "--baselines", "--pilot", "before"]) == 0
    printed = capsys.readouterr().out
    assert "answers to 3 of 8 questions are judged 2 times" in printed
    assert "baselines: 2, for 1 LLM(s)" in printed
    assert "of the pilot 'before', on answer_correctness: 8 questions from 3 documents can detect" in printed


def test_the_power_is_that_of_the_questions_that_are_not_held_out(
    documents: Settings, no_environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DREAM_HOME", str(documents.home))
    rows = [GoldenQuestion("", f"Question {i}?", "Truth.", sources=(Source(f"{i % 8}.txt"),)) for i in range(16)]
    save_golden_dataset(GoldenDataset(tuple(rows)), "golden", documents)
    searched, hold_out = split(load_golden_dataset("golden", documents), hold_out_of(0.4))
    scores = numpy.random.default_rng(3).uniform(0.2, 0.9, (len(searched.questions), 2))
    experiment = simulated.experiment({"answer_correctness": scores}, name="before")
    simulated_ids = [question.id for question in experiment.manifest.questions]
    asked = [replace(one, id=name) for one, name in zip(searched.questions, simulated_ids, strict=True)]
    golden = replace(searched, questions=tuple(asked))
    manifest = replace(experiment.manifest, hold_out=hold_out)
    store(documents, replace(experiment, manifest=manifest), "2026-01-01", golden)
    options = ["--llm", "offline/llm-small", "--embed-model", "offline/embed-small", "--hold-out", "0.4"]
    assert main(["plan", *options]) == 0
    printed = capsys.readouterr().out
    assert "held out: 6 questions" in printed
    assert "of the pilot 'before', on answer_correctness: 10 questions from 5 documents" in printed
