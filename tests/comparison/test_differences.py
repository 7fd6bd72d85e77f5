"""The differences to the best: they agree with the set, hold what is missing, and say how they were found."""

import numpy
import pytest
from simulated import SHAPES, table

from dream.comparison.differences import differences_to_the_first
from dream.comparison.ranking import standings


def stand(values: numpy.ndarray):
    return standings(table(values), 0.1)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [4, 8, 30])
def test_the_table_never_contradicts_the_set(shape: str, n: int):
    for seed in range(3):
        random = numpy.random.default_rng(seed)
        values = SHAPES[shape](random, n, numpy.linspace(0, 1.5, 6))
        values[random.random(values.shape) < 0.02] = numpy.nan
        for one in standings(table(values), 0.5, seed)[0][1:]:
            assert one.difference
            assert one.in_set == (one.difference.high >= 0)
            assert one.difference.low <= one.difference.mean <= one.difference.high + 1e-12


def test_the_doubt_counts_what_the_others_may_have_lost():
    values = numpy.tile([0.9, 0.899, 0.898], (40, 1)) + numpy.random.default_rng(7).normal(0, 0.01, (40, 3))
    values[:3, 2] = numpy.nan
    best, second, third = stand(values)
    assert best.may_lose == pytest.approx(third.difference and third.difference.high)
    assert second.may_lose is not None and second.difference and second.may_lose >= -second.difference.low


def test_trials_of_the_same_perfect_scores_say_so():
    found = stand(numpy.ones((20, 3)))
    assert [one.interval_by for one in found] == ["", "the same scores", "the same scores"]
    # what none of 20 documents shows may still be in 1 - 0.025 ** (1 / 20) of them
    assert found[1].difference and found[1].difference.high == pytest.approx(1 - 0.025**0.05)
    assert found[1].difference.low == -found[1].difference.high


def test_a_question_that_no_trial_has_a_score_on_changes_nothing():
    values = numpy.random.default_rng(3).uniform(0.4, 1.0, (20, 1)) - numpy.array([[0.0, 0.05]])
    gap = numpy.vstack([values, [[numpy.nan, numpy.nan]]])
    assert differences_to_the_first(table(gap)) == differences_to_the_first(table(values))
