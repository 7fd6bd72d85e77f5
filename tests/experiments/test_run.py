"""Experiments on a real cluster through Ray Client: results, failures, lost workers, secrets."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Lab, Ran
from model_servers import offline_models

from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import leaderboard
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.metrics import METRICS
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset

SMALL_SPACE = SearchSpace(["chunks_with_overlap", "hierarchical_automerging"], ["llm-small@x"], ["embed-small@x"])


def one_trial(method: str = "chunks_with_overlap", embed_model: str = "embed-small@x") -> SearchSpace:
    return SearchSpace([method], ["llm-small@x"], [embed_model])


def test_the_meter_starts_anew_for_each_experiment_of_a_session(
    lab: Lab, small_experiment: Ran, empty_mlflow: Path, capfd: pytest.CaptureFixture[str]
):
    """The same trial again, in the same connection to Ray; with `show=None` nothing at all is printed."""
    first = load_experiment("small", lab.settings).manifest.questions[:1]
    shutil.copy(empty_mlflow, lab.home / "again.db")
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
    assert "  1 of 3 questions have no reference contexts: the oracle skips them" in sliced.lines
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
