"""The set of the best under simulation, a small version of tests/benchmarks/choosing.py, and at its edges."""

import numpy
import pytest
from simulated import SHAPES, experiment, quality_for, table, true_means

from dream.comparison.intervals import columns, critical_each, intervals, resamples
from dream.comparison.ranking import cost_unit, standings
from dream.errors import ConfigurationError

EXPERIMENTS = 20


def stand(values: numpy.ndarray, seed: int = 0):
    return standings(table(values), 0.1, seed)[0]


@pytest.mark.whole
@pytest.mark.parametrize("shape", SHAPES)
def test_identical_systems_seldom_lose_one_and_never_name_a_winner(shape: str):
    random = numpy.random.default_rng(11)
    found = [stand(SHAPES[shape](random, 50, numpy.zeros(12))) for _ in range(EXPERIMENTS)]
    left_out = sum(any(not one.in_set for one in standing) for standing in found)
    assert left_out <= 4  # 5 % of 20 is 1; more than 4 by chance: 0.3 %
    assert not any(sum(one.in_set for one in standing) == 1 for standing in found)


def test_intervals_hold_the_true_difference():
    random, quality = numpy.random.default_rng(12), numpy.array([0.0, 0.3])
    truth = float(numpy.diff(true_means(SHAPES["mixed"], quality, 100_000))[0])
    held = 0
    for _ in range(200):
        values = SHAPES["mixed"](random, 50, quality)
        block = columns(values[:, 1:] - values[:, :1], numpy.arange(50))
        one = intervals(block, critical_each(block, resamples(50)))[0]
        held += one.low <= truth <= one.high
    assert 0.9 <= held / 200 <= 0.99  # 93 to 97 %, give or take the chance of 200 experiments


@pytest.mark.whole
def test_a_trial_better_by_five_hundredths_is_kept_at_200_questions():
    random, quality = numpy.random.default_rng(13), numpy.zeros(12)
    quality[7] = quality_for(SHAPES["mixed"], 0.05, 50_000)
    better = table(numpy.zeros((2, 12))).results[7].trial.id
    found = [stand(SHAPES["mixed"](random, 200, quality)) for _ in range(10)]
    assert all(better in {one.trial.id for one in standing if one.in_set} for standing in found)
    assert sum(sum(one.in_set for one in standing) < 12 for standing in found) >= 2


def test_identical_trials_are_all_in_the_set_and_marked():
    values = numpy.repeat(numpy.random.default_rng(0).random((30, 1)), 4, axis=1)
    found = stand(values)
    assert all(one.in_set for one in found)
    assert [one.same_scores for one in found] == [False, True, True, True]
    assert [one.rank for one in found] == [1, 2, 3, 4]


def test_a_clearly_worse_trial_is_told_apart_and_its_corrected_interval_is_the_wider_one():
    random = numpy.random.default_rng(1)
    good = random.uniform(0.7, 1.0, 40)
    found = stand(
        numpy.column_stack([good, good - 0.3 + random.normal(0, 0.05, 40), good - random.normal(0, 0.05, 40) ** 2])
    )
    worst = found[-1]
    assert not worst.in_set and worst.difference and worst.alone
    assert worst.difference.mean == pytest.approx(-0.3, abs=0.05)
    assert worst.difference.low < worst.alone.low < worst.alone.high < worst.difference.high < 0


def test_missing_scores_pair_on_the_intersection_and_have_bounds():
    values = numpy.array([[1.0, 0.5]] * 18 + [[1.0, numpy.nan], [0.0, 0.5]])
    best, other = stand(values)
    assert (best.n_scored, other.n_scored, other.n_questions) == (20, 19, 20)
    assert other.difference and other.difference.n == 19
    assert other.difference.mean == pytest.approx((18 * -0.5 + 0.5) / 19)
    assert (other.lowest, other.highest) == pytest.approx((19 * 0.5 / 20, (19 * 0.5 + 1) / 20))


def test_too_many_failures_keep_a_trial_from_being_ranked_and_say_so():
    values = numpy.full((20, 3), 0.5)
    values[:3, 1], values[:, 2] = numpy.nan, numpy.nan
    found = stand(values)
    assert [one.rank for one in found] == [1, None, None]
    assert "3 of 20 scores are missing (15%), more than the 10% allowed" in found[1].why_not_ranked
    assert "no score" in found[2].why_not_ranked
    assert standings(table(values), 0.15, 0)[0][1].rank == 2


def test_the_pareto_front_is_what_nothing_beats_in_all_three():
    # means 0.9, 0.8, 0.7; USD 3, 1, 2; latency grows with the trial: the third is beaten by the second
    values = numpy.tile([0.9, 0.8, 0.7], (12, 1))
    found = standings(_with_prices(values, [3.0, 1.0, 2.0]), 0.1, 0)[0]
    assert [one.on_front for one in found] == [True, True, False]


def test_the_front_counts_tokens_where_a_price_is_not_known():
    found = standings(_with_prices(numpy.tile([0.9, 0.8], (12, 1)), [3.0, None]), 0.1, 0)[0]
    assert [one.on_front for one in found] == [True, False]  # the second needs more tokens and time


def test_where_all_is_free_the_front_counts_tokens():
    found = standings(_with_prices(numpy.tile([0.9, 0.9], (12, 1)), [0.0, 0.0]), 0.1, 0)[0]
    assert [one.on_front for one in found] == [True, False]
    assert cost_unit(found) == "tokens"
    assert cost_unit(standings(_with_prices(numpy.tile([0.9, 0.9], (12, 1)), [0.0, 0.1]), 0.1, 0)[0]) == "USD"


def _with_prices(values: numpy.ndarray, usd: list[float | None]):
    from dream.comparison.score_table import score_table

    return score_table(experiment({"score": values}, usd=usd), "score")


def test_a_trial_that_lost_its_worst_scores_does_not_rank_first_by_that():
    random, first = numpy.random.default_rng(6), 0
    for _ in range(50):
        values = numpy.clip(random.normal(0.6, 0.2, (100, 1)) + random.normal(0, 0.15, (100, 2)), 0, 1)
        values[numpy.argsort(values[:, 1])[:9], 1] = numpy.nan
        best, other = stand(values)
        first += best.trial.query_engine_identifier == "method_1"
        assert other.in_set  # it is not shown to be worse either
    assert first <= 25


def test_a_scale_of_0_to_5_is_not_cut_to_1():
    values = numpy.random.default_rng(8).uniform(3, 4, (30, 1)) - numpy.array([[0.0, 2.5]])
    of_five, of_one = stand(values)[1].difference, stand(values / 5)[1].difference
    assert of_five and of_one
    assert of_five.mean == pytest.approx(-2.5)
    assert (of_five.low, of_five.high) == pytest.approx((5 * of_one.low, 5 * of_one.high))


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigurationError, match="seed=-1: give a whole number of at least 0"):
        stand(numpy.full((20, 2), 0.5), seed=-1)


@pytest.mark.whole
def test_two_hundred_trials_are_compared_at_once():
    values = SHAPES["mixed"](numpy.random.default_rng(9), 100, numpy.linspace(0, 0.5, 200))
    found = stand(values)
    assert len(found) == 200 and 1 < sum(one.in_set for one in found) < 200
