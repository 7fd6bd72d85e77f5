"""Regression against a baseline: shown, ruled out or undecided, by the sentence and by the exit code."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from simulated import experiment, mixed

from dream.cli.main import main
from dream.comparison.regression import against_baseline
from dream.errors import ConfigurationError, DataError
from dream.experiments.store import save_manifest, save_result
from dream.records import ExperimentResult, GoldenDataset, Source
from dream.settings import Settings
from dream.storage import open_storage

RANDOM = numpy.random.default_rng(0)
BEFORE = numpy.clip(RANDOM.uniform(0.5, 0.9, (80, 1)) + RANDOM.normal(0, 0.02, (80, 3)), 0, 1)
SCRIPT = {"worse": -0.1, "slightly": -0.035, "equal": 0.0, "better": 0.05}


def after(name: str, noise: float = 0.03) -> ExperimentResult:
    values = BEFORE + SCRIPT[name] + numpy.random.default_rng(1).normal(0, noise, BEFORE.shape)
    return experiment({"answer_correctness": values, "faithfulness": values}, name=name)


def baseline() -> ExperimentResult:
    return experiment({"answer_correctness": BEFORE, "faithfulness": BEFORE}, name="baseline")


def changed(outcome: ExperimentResult, **changes: object) -> ExperimentResult:
    return replace(outcome, manifest=replace(outcome.manifest, **changes))


def test_worse_by_more_than_the_margin_is_shown():
    found = against_baseline(after("worse"), baseline(), "answer_correctness", 0.03)
    assert found.shown and not found.ruled_out
    assert found.difference.high < -0.03
    assert found.difference.mean == pytest.approx(-0.1, abs=0.03)
    assert "REGRESSION shown" in found.text


def test_equal_is_ruled_out_and_in_between_cannot_be_told():
    equal = against_baseline(after("equal"), baseline(), "answer_correctness", 0.03)
    assert equal.ruled_out and "no regression" in equal.text
    between = against_baseline(after("slightly"), baseline(), "answer_correctness", 0.03)
    assert not between.shown and not between.ruled_out and "inconclusive" in between.text


@pytest.mark.whole
def test_luck_of_the_picked_best_is_no_regression():
    """One trial run again, equal to all 12 of a baseline whose best is the luckiest."""
    random, shown = numpy.random.default_rng(2), 0
    for _ in range(25):
        values = mixed(random, 40, numpy.zeros(13))
        one = experiment({"m": values[:, :1]}, name="one")
        shown += against_baseline(one, experiment({"m": values[:, 1:]}, name="twelve"), "m").shown
    assert shown <= 3


def test_questions_are_paired_by_id_whatever_their_order():
    outcome = baseline()
    turned = changed(outcome, golden_dataset=GoldenDataset(outcome.manifest.questions[::-1]))
    found = against_baseline(after("worse"), turned, "answer_correctness")
    straight = against_baseline(after("worse"), outcome, "answer_correctness")
    assert found.difference.mean == pytest.approx(straight.difference.mean)
    assert found.difference.low == pytest.approx(straight.difference.low)


def test_what_was_judged_otherwise_is_refused_with_every_reason_and_remedy():
    questions = baseline().manifest.questions
    fewer = changed(
        baseline(), judge_llm="another", golden_dataset=GoldenDataset(questions[:70]), versions={"ragas": "9"}
    )
    with pytest.raises(ConfigurationError) as caught:
        against_baseline(after("equal"), fewer, "answer_correctness")
    text = str(caught.value)
    assert "70 questions are in both, 10 in only one" in text and "dream run --golden NAME" in text
    assert "the judge is 'judge' in one and 'another' in the other" in text
    assert "ragas is None in one and 9 in the other" in text
    elsewhere = GoldenDataset((replace(questions[0], sources=(Source("other.pdf"),)), *questions[1:]))
    with pytest.raises(ConfigurationError, match="same questions but differ otherwise"):
        against_baseline(after("equal"), changed(baseline(), golden_dataset=elsewhere), "faithfulness")


def test_margins_and_failed_experiments_are_refused():
    with pytest.raises(ConfigurationError, match="margin=3"):
        against_baseline(after("equal"), baseline(), "answer_correctness", 3)
    nothing = experiment({"answer_correctness": BEFORE * numpy.nan}, name="nothing")
    with pytest.raises(DataError, match="no trial of 'nothing' can be ranked"):
        against_baseline(nothing, baseline(), "answer_correctness")


@pytest.fixture(scope="module")
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All experiments in a home of their own."""
    folder = tmp_path_factory.mktemp("home")
    settings = Settings.from_environment({"DREAM_HOME": str(folder)})
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    for outcome in (baseline(), *map(after, SCRIPT)):
        save_manifest(storage, outcome.name, outcome.manifest)
        for result in outcome.results:
            save_result(storage, outcome.name, result)
    return folder


@pytest.fixture
def stored(home_of_all: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings lead to all experiments."""
    monkeypatch.setenv("DREAM_HOME", str(home_of_all))
    monkeypatch.setenv("DREAM_EXPERIMENTS_URI", "")
    monkeypatch.setenv("S3_ENDPOINT_URL", "")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("worse", 1, "REGRESSION"), ("slightly", 0, "inconclusive"), ("equal", 0, "no regression")],
)
def test_the_exit_code_is_1_only_for_a_regression_that_is_shown(stored, capsys, name: str, code: int, words: str):
    options = ["--baseline", "baseline", "--fail-on-regression", "answer_correctness:0.03"]
    assert main(["compare", name, *options]) == code
    assert words in capsys.readouterr().out


def test_without_a_demand_a_regression_is_told_and_the_exit_code_is_0(stored, capsys):
    assert main(["compare", "worse", "--baseline", "baseline"]) == 0
    assert "REGRESSION shown" in capsys.readouterr().out


def test_weights_labels_and_failure_share_on_the_command_line(stored, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    trial = baseline().results[0].trial.id
    labels.write_text(f"question_id,trial_id,label\nq0,{trial},1\nq1,{trial},0.2\nq2,{trial},0.9\n", encoding="utf-8")
    weights = "answer_correctness=0.7,faithfulness=0.3"
    assert main(["compare", "baseline", "--weights", weights, "--labels", str(labels), "--failure-share", "0.2"]) == 0
    text = capsys.readouterr().out
    assert "ranked by 0.7 answer_correctness + 0.3 faithfulness" in text
    assert "answer_correctness: 3 labels, Spearman" in text
    assert "means are not corrected by the labels: 3 labelled answer(s)" in text
    assert "Recommended:" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fail-on-regression", "a:0.1"], "needs --baseline NAME"),
        (["--fail-on-regression", "a", "--baseline", "baseline"], "'a' is not a metric and a number"),
        (["--weights", "a:1,b"], "--weights cannot be read"),
        (["--failure-share", "2"], "failure_share=2.0"),
        (["--labels", "nowhere.csv"], "cannot be read"),
    ],
)
def test_a_wrong_option_is_told_in_a_sentence(stored, capsys, options: list[str], words: str):
    assert main(["compare", "equal", *options]) == 1
    assert words in capsys.readouterr().err


def test_several_metrics_are_checked_at_one_error_level():
    alone = against_baseline(after("slightly"), baseline(), "answer_correctness", 0.03)
    of_three = against_baseline(after("slightly"), baseline(), "answer_correctness", 0.03, n_checks=3)
    assert (alone.confidence, of_three.confidence) == (0.95, pytest.approx(1 - 0.05 / 3))
    assert of_three.difference.low < alone.difference.low < alone.difference.high < of_three.difference.high
    with pytest.raises(ConfigurationError, match="n_checks=0"):
        against_baseline(after("equal"), baseline(), "answer_correctness", n_checks=0)
