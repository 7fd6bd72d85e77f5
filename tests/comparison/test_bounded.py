"""Bounded intervals: their assumptions, their limits by hand, and their errors where sign flips claim too much."""

import numpy
import pytest
from simulated import table

from dream.comparison.bounded import CONSTANT, SKEWED, betting_interval, why_not_symmetric
from dream.comparison.ranking import standings


def small_gains_large_losses(random: numpy.random.Generator, n: int) -> numpy.ndarray:
    """Differences of +0.05 on 95 % of the questions and -0.95 on 5 %: their true mean is 0."""
    return numpy.where(random.random(n) < 0.05, -0.95, 0.05)


def test_the_capital_of_one_kind_of_document_by_hand():
    # 10 differences of 0.5: a stake of s on a mean of 0 becomes (1 + s / 2) ** 10; the mean over the stakes is 19.6
    shares = numpy.linspace(0.02, 0.98, 25)
    capital = ((1 + shares / 2) ** 10).mean()
    values, confidence = numpy.full(10, 0.5), 1 - 2 / capital  # refuted exactly where the capital reaches 2 / level
    low, high = betting_interval(values, values, numpy.arange(10), confidence=float(confidence))
    assert low == pytest.approx(0.0, abs=1e-3) and high > 0.5


def test_the_interval_turns_with_the_sign_and_scales_with_the_span():
    values = numpy.random.default_rng(0).uniform(-0.2, 0.6, 60)
    low, high = betting_interval(values, values, numpy.arange(60))
    assert betting_interval(-values, -values, numpy.arange(60)) == pytest.approx((-high, -low))
    assert betting_interval(5 * values, 5 * values, numpy.arange(60), 5.0) == pytest.approx((5 * low, 5 * high))
    assert -1 < low < values.mean() < high < 1


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        (numpy.full(20, 0.05), CONSTANT),
        (numpy.full(20, 0.6), ""),  # no loss of a share that may be unseen outweighs it
        (numpy.array([0.05] * 57 + [-0.9] * 3), SKEWED),
        (-numpy.array([0.05] * 57 + [-0.9] * 3), SKEWED),
        (numpy.tile([0.2, -0.1], 30), ""),
        (numpy.array([-0.05] * 20 + [0.9] * 3), ""),  # the tail is on the side of the difference
        (numpy.zeros(20), ""),
        (numpy.array([numpy.nan, 0.1]), ""),
    ],
)
def test_only_hardly_symmetric_differences_are_doubted(differences: numpy.ndarray, reason: str):
    assert why_not_symmetric(differences, numpy.arange(len(differences))) == reason


def test_rare_large_losses_make_no_winner():
    random, n, claimed = numpy.random.default_rng(1), 20, 0
    for _ in range(100):
        better = numpy.full(n, 0.95)
        scores = numpy.column_stack([better, better + small_gains_large_losses(random, n)])
        found = standings(table(scores), 0.1)[0]
        claimed += any(not one.in_set for one in found)
    assert claimed <= 5


def test_the_standing_says_which_interval_was_used_and_why():
    scores = numpy.column_stack([numpy.full(20, 0.9), numpy.full(20, 0.85)])
    assert standings(table(scores), 0.1)[0][1].interval_by == f"betting: {CONSTANT}"
    scores[:, 1] -= numpy.random.default_rng(2).uniform(-0.3, 0.3, 20)
    assert standings(table(numpy.clip(scores, 0, 1)), 0.1)[0][1].interval_by == "sign flips"
    assert standings(table(scores[:4]), 0.1)[0][1].interval_by == "Student's t"


@pytest.mark.whole
def test_the_interval_holds_the_true_mean():
    random, held = numpy.random.default_rng(4), 0
    for _ in range(200):
        values = small_gains_large_losses(random, 60)
        low, high = betting_interval(values, values, numpy.arange(60))
        held += low <= 0 <= high
    assert held >= 188
