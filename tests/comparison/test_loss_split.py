"""Loss split: retrieval's and generation's part by hand, for each trial, and the reason where there is none."""

from dataclasses import replace

import numpy
import pytest
import simulated
from scipy import stats

from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import verdict_of
from dream.comparison.loss_split import losses_of, split_loss
from dream.errors import DataError
from dream.records import (
    CLOSED_BOOK,
    ORACLE,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Score,
    Trial,
    TrialResult,
)


def with_baselines(closed_book: float, oracle: float, retrieved: list[float]) -> ExperimentResult:
    """Twelve questions, constant scores: a trial for each of `retrieved`, all with the same LLM."""
    trials = [Trial("chunks_with_overlap", "a", f"e{place}") for place in range(len(retrieved))]
    scores = numpy.tile(numpy.array(retrieved), (12, 1))
    scores[0] -= 0.12  # so that trials and questions differ
    experiment = simulated.experiment({"answer_correctness": scores}, trials)
    baselines = []
    for name, value in ((CLOSED_BOOK, closed_book), (ORACLE, oracle)):
        rows = tuple(Score(f"q{i}", "answer_correctness", value) for i in range(12))
        baselines.append(TrialResult(Trial(name, "a", ""), Evaluation((), rows)))
    return replace(experiment, baselines=tuple(baselines))


def test_losses_are_split_for_each_trial_and_told_for_the_recommended():
    experiment = with_baselines(0.2, 0.9, [0.61, 0.41])
    losses, reasons = losses_of(experiment, "answer_correctness")
    assert reasons == ()
    assert [round(losses[result.trial.id].generation.mean, 6) for result in experiment.results] == [0.1, 0.1]
    assert [round(losses[result.trial.id].retrieval.mean, 6) for result in experiment.results] == [0.3, 0.5]
    found = compare(experiment)
    assert {one.trial.id for one in found.standings} == {result.trial.id for result in experiment.results}
    assert found.losses == losses
    text = verdict_of(found)
    assert f"{losses[found.best.trial.id].text}" in text
    assert "Retrieval accounts for 75% of the loss." in text


def test_a_comparison_is_the_same_with_and_without_baselines():
    experiment = with_baselines(0.95, 1.0, [0.61, 0.41])  # the closed-book answers are better than any trial's
    with_them, without = compare(experiment), compare(replace(experiment, baselines=()))
    assert with_them.standings == without.standings
    assert with_them.effects == without.effects
    assert with_them.recommendation == without.recommendation
    assert (without.losses, without.noise) == ({}, ())


def test_where_nothing_can_be_split_the_reason_is_told():
    experiment = with_baselines(0.2, 0.9, [0.61, 0.41])
    assert losses_of(replace(experiment, baselines=()), "answer_correctness")[1] == (
        "no loss split on answer_correctness: 'simulated' has no baselines: dream run --resume simulated --baselines",
    )
    failed = tuple(
        TrialResult(one.trial, failure=Failure(FailureKind.SERVICE, "the key was revoked"))
        for one in experiment.baselines
    )
    found = compare(replace(experiment, baselines=failed))
    assert found.losses == {}
    assert any("the baselines failed: the key was revoked" in note for note in found.notes)
    without_oracle = replace(experiment, baselines=experiment.baselines[:1])
    assert losses_of(without_oracle, "answer_correctness")[0] == {}
    assert "oracle 0" in losses_of(without_oracle, "answer_correctness")[1][0]


def test_the_two_parts_of_the_loss_add_up_by_hand():
    closed_book = {"a": 0.1, "b": 0.2, "c": 0.0, "not asked of the oracle": 0.3}
    oracle = {"a": 0.9, "b": 0.7, "c": 1.0}
    retrieved = {"b": 0.8, "a": 0.5, "c": 1.0, "failed": 0.4}
    split = split_loss(closed_book, oracle, retrieved)
    assert (len(split.questions), split.left_out) == (3, 2)
    assert [loss.question_id for loss in split.questions] == ["a", "b", "c"]  # the largest loss first
    # generation 0.1, 0.3, 0.0; retrieval 0.4, -0.1, 0.0; the retrieved contexts added 0.4, 0.6, 1.0
    assert [loss.generation for loss in split.questions] == pytest.approx([0.1, 0.3, 0.0])
    assert [loss.retrieval for loss in split.questions] == pytest.approx([0.4, -0.1, 0.0])
    means = (split.generation.mean, split.retrieval.mean, split.gain.mean)
    assert means == pytest.approx((0.4 / 3, 0.1, 2 / 3))
    assert split.retrieval_share == pytest.approx(0.1 / (0.1 + 0.4 / 3))


@pytest.mark.parametrize(
    ("oracle", "retrieved", "share"),
    [(1.0, 1.0, None), (0.8, 0.9, 0.0), (1.0, 0.4, 1.0)],
    ids=["nothing was lost", "retrieval served better than the reference contexts", "all of it was lost to retrieval"],
)
def test_retrievals_share_stays_between_0_and_1_and_is_none_without_a_loss(oracle, retrieved, share):
    split = split_loss({"a": 0.0, "b": 0.0}, {"a": oracle, "b": oracle}, {"a": retrieved, "b": retrieved})
    assert split.retrieval_share == share
    assert ("Retrieval accounts for" in split.text) == (share is not None)


def test_without_a_question_with_all_three_scores_nothing_is_split():
    with pytest.raises(DataError, match="no question has all three scores"):
        split_loss({"a": 0.0}, {"b": 1.0}, {"a": 0.5, "b": 0.5})


def test_the_questions_of_a_document_stay_together_in_the_intervals():
    losses = numpy.repeat(numpy.random.default_rng(0).uniform(0.2, 0.8, 10), 6)  # a document is easy, or hard
    names = [f"q{place}" for place in range(60)]
    documents = {name: place // 6 for place, name in enumerate(names)}
    ones, scores = dict.fromkeys(names, 1.0), dict(zip(names, 1 - losses, strict=True))
    apart, together = split_loss(ones, ones, scores), split_loss(ones, ones, scores, documents)
    width = [each.retrieval.high - each.retrieval.low for each in (apart, together)]
    assert width[1] > 2 * width[0]
    # the interval of the ten documents' means alone
    expected = stats.ttest_1samp(losses[::6], 0).confidence_interval(0.95)
    assert together.retrieval.high - together.retrieval.low == pytest.approx(expected.high - expected.low, rel=0.15)
