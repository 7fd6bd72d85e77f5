"""Shrunken means, against values computed by hand and against experiments whose truth is known."""

import numpy
import pytest
from simulated import mixed, table, true_means

from dream.comparison.comparison import compare
from dream.comparison.shrinkage import shrink, shrunken_means


def test_differences_are_shrunk_by_the_share_of_noise():
    # the sum of squares is 0.20, that of the noise 0.04: between = 0.16 / 4 = 0.04, lost = 2 / 4 * 0.008 / 0.048
    found = shrink(numpy.array([0.3, 0.1, -0.1, -0.3, 0.0]), numpy.full(5, 0.008))
    assert found == pytest.approx(numpy.array([0.3, 0.1, -0.1, -0.3, 0.0]) * (1 - 0.5 * 0.008 / 0.048))


def test_the_noisier_trial_is_shrunk_more_and_pure_noise_altogether():
    found = shrink(numpy.array([0.2, 0.2, -0.2, -0.2]), numpy.array([0.001, 0.02, 0.001, 0.02]))
    assert 0 < found[1] < found[0] < 0.2
    assert shrink(numpy.array([0.1, 0.0, 0.0, -0.1]), numpy.full(4, 0.02)).tolist() == [0, 0, 0, 0]
    assert shrink(numpy.zeros(4), numpy.zeros(4)).tolist() == [0, 0, 0, 0]


def test_the_difficulty_of_questions_is_no_noise():
    hard = numpy.tile([[0.0], [1.0]], (20, 1))
    scores = numpy.clip(hard + numpy.array([0.0, 0.1, 0.2, 0.3]) * (1 - 2 * hard), 0, 1)
    assert numpy.ptp(table(scores).means) == pytest.approx(0)
    steady = 0.5 * hard + numpy.array([0.1, 0.2, 0.3, 0.4])
    assert shrunken_means(table(steady)) == pytest.approx(steady.mean(0))  # all differ by the same on every question


def test_documents_are_kept_together():
    random = numpy.random.default_rng(3)
    by_document = numpy.repeat(random.normal(0.5, 0.1, (12, 6)), 8, axis=0)
    apart, together = (shrunken_means(table(by_document, c)) for c in (None, numpy.repeat(numpy.arange(12), 8)))
    assert numpy.ptp(together) < numpy.ptp(apart) < numpy.ptp(by_document.mean(0))


def test_few_trials_or_one_document_have_none():
    scores = numpy.random.default_rng(0).random((20, 4))
    assert shrunken_means(table(scores[:, :3])) is None
    assert shrunken_means(table(scores, numpy.zeros(20, int))) is None
    scores[:, 2] = numpy.nan
    assert shrunken_means(table(scores)) is None


def test_missing_scores_are_left_out():
    scores = numpy.random.default_rng(0).random((40, 5))
    scores[0], scores[1, 2] = numpy.nan, numpy.nan
    found = shrunken_means(table(scores))
    assert numpy.isfinite(found).all() and 0 < numpy.ptp(found) < numpy.ptp(table(scores).means)


@pytest.mark.whole
@pytest.mark.parametrize("quality", [numpy.zeros(12), numpy.linspace(0, 0.3, 12)], ids=["equal", "different"])
def test_the_winner_is_flattered_by_its_mean_and_hardly_by_the_shrunken_one(quality):
    truth, random = true_means(mixed, quality), numpy.random.default_rng(0)
    raw, shrunken = [], []
    for _ in range(200):
        scores = table(mixed(random, 50, quality))
        winner = int(scores.means.argmax())
        raw.append(scores.means[winner] - truth[winner])
        shrunken.append(shrunken_means(scores)[winner] - truth[winner])
    assert numpy.mean(raw) > 0.03
    assert abs(numpy.mean(shrunken)) < numpy.mean(raw) / 3


def test_the_leaderboard_has_both_means_from_four_trials_on():
    from simulated import experiment

    from dream.comparison.leaderboard_table import comparison_text, leaderboard_of

    random = numpy.random.default_rng(1)
    many, few = (experiment({"recall": random.random((30, k))}) for k in (6, 3))
    compared = compare(many)
    board = leaderboard_of(compared, many)
    assert (board["shrunken"].max() < board["recall"].max()) and " shrunken " in comparison_text(compared, board)
    compared = compare(few)
    assert "shrunken" not in comparison_text(compared, leaderboard_of(compared, few))
