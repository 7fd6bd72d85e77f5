"""Experiments in storage: what was kept comes back, what is not there is told, and blocks join to one trial."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy
import pytest
import simulated

from dream.errors import DataError
from dream.experiments import store
from dream.experiments.store import NOT_FINISHED, latest_experiment, load_experiment, new_name
from dream.records import Answer, Evaluation, ExperimentResult, Score, Trial, TrialResult, UsageRow
from dream.records.manifest import FORMAT
from dream.settings import Settings
from dream.storage.base import Storage
from dream.storage.opening import open_storage

TRIAL = Trial("chunks_with_overlap", "llm", "embed")


@pytest.fixture
def storage(home: Settings) -> Storage:
    opened = open_storage(home.experiments_uri, home)
    opened.ensure()
    return opened


def experiment(name: str, started: datetime | None = None) -> ExperimentResult:
    """Two trials and a baseline."""
    outcome = simulated.experiment({"m": numpy.array([[0.25, 0.5], [0.75, numpy.nan]])}, name=name)
    baseline = TrialResult(Trial("closed_book", "llm-0", ""), Evaluation((Answer("q0", "text"),), ()))
    manifest = replace(outcome.manifest, baselines=(baseline.trial,), started=started)
    usage = (UsageRow("x", "embed", "embed", calls=3, usd=None),)
    return replace(outcome, manifest=manifest, baselines=(baseline,), usage=usage)


def keep(storage: Storage, outcome: ExperimentResult) -> None:
    store.save_manifest(storage, outcome.name, outcome.manifest)
    store.save_usage(storage, outcome.name, outcome.usage)
    for result in (*outcome.results, *outcome.baselines):
        store.save_result(storage, outcome.name, result)


def test_an_experiment_comes_back_as_it_was(storage: Storage, home: Settings):
    outcome = experiment("whole")
    keep(storage, outcome)
    assert load_experiment("whole", home) == outcome
    store.save_table(storage, outcome)
    table = storage.read_csv("whole/results.csv")
    assert list(table["trial_id"]) == [result.trial.id for result in outcome.results]


def test_a_trial_without_a_result_is_recorded_as_not_finished(storage: Storage, home: Settings):
    outcome = experiment("stopped")
    store.save_manifest(storage, "stopped", outcome.manifest)
    store.save_result(storage, "stopped", outcome.results[1])
    loaded = load_experiment("stopped", home)
    assert loaded.results == (TrialResult(outcome.results[0].trial, failure=NOT_FINISHED), outcome.results[1])
    assert [result.failure for result in loaded.baselines] == [NOT_FINISHED]
    assert loaded.usage == ()


def test_a_name_that_is_not_there_is_told_with_those_that_are(storage: Storage, home: Settings):
    with pytest.raises(DataError, match=r"'nobody' .*there are: none"):
        load_experiment("nobody", home)
    for name in ("b", "a"):
        keep(storage, experiment(name))
    with pytest.raises(DataError, match=r"'nobody' .*there are: a, b"):
        load_experiment("nobody", home)


def test_the_latest_was_started_last_and_one_of_a_later_version_does_not_count(storage: Storage, home: Settings):
    with pytest.raises(DataError, match="dream run"):
        latest_experiment(home)
    keep(storage, experiment("undated"))
    assert latest_experiment(home) == "undated"
    for name, year in (("a", 2026), ("z", 2025)):
        keep(storage, experiment(name, datetime(year, 1, 1, tzinfo=UTC)))
    later = experiment("later", datetime(2099, 1, 1, tzinfo=UTC)).manifest.to_json()
    storage.write_json("later/manifest.json", {**later, "format": FORMAT + 1})
    assert latest_experiment(home) == "a"
    assert list(store.load_manifests(storage)) == ["a", "undated", "z"]


def block(value: float, *question_ids: str) -> Evaluation:
    scores = tuple(Score(question_id, "m", value) for question_id in question_ids)
    again = tuple(replace(score, repeat=1) for score in scores)
    return Evaluation(tuple(Answer(question_id, "text") for question_id in question_ids), scores, again)


def test_blocks_of_a_trial_are_joined_and_removed_with_it(storage: Storage):
    assert store.load_blocks(storage, "e", TRIAL.id) == Evaluation((), ())
    store.save_block(storage, "e", TRIAL.id, block(0.5, "q1", "q2"))
    store.save_block(storage, "e", TRIAL.id, block(0.75, "q3"))
    store.save_block(storage, "e", "another", block(1.0, "q1"))
    loaded = store.load_blocks(storage, "e", TRIAL.id)
    assert [answer.question_id for answer in loaded.answers] == ["q1", "q2", "q3"]
    assert [score.value for score in loaded.scores] == [score.value for score in loaded.repeats] == [0.5, 0.5, 0.75]
    store.delete_blocks(storage, "e", TRIAL.id)
    assert store.load_blocks(storage, "e", TRIAL.id) == Evaluation((), ())
    assert store.load_blocks(storage, "e", "another") == block(1.0, "q1")


def test_a_question_that_is_in_two_blocks_counts_once(storage: Storage):
    store.save_block(storage, "e", TRIAL.id, block(0.5, "q1", "q2"))
    store.save_block(storage, "e", TRIAL.id, block(0.75, "q2", "q3"))
    loaded = store.load_blocks(storage, "e", TRIAL.id)
    assert [answer.question_id for answer in loaded.answers] == ["q1", "q2", "q3"]
    assert {(score.question_id, score.value) for score in loaded.scores} == {("q1", 0.5), ("q2", 0.75), ("q3", 0.75)}
    assert len(loaded.scores) == len(loaded.repeats) == 3


def test_experiments_that_start_in_the_same_second_have_different_names():
    names = {new_name() for _ in range(8)}
    assert len(names) > 6
    assert all(re.fullmatch(r"experiment-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)
