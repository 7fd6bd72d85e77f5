"""Prediction-powered estimates: the papers' formulas by hand."""

import numpy
import pytest
import simulated
from scipy import stats

from dream.comparison.prediction_powered import has_enough, tuned

RANDOM = numpy.random.default_rng(0)
PEOPLE = RANDOM.uniform(0.2, 0.9, 120)
JUDGE = numpy.clip(PEOPLE + 0.1 + 0.05 * RANDOM.normal(size=120), 0, 1)


def labels_of_first(people: simulated.Floats, number: int) -> simulated.Floats:
    return numpy.where(numpy.arange(len(people)) < number, people, numpy.nan)


def ppi_mean(labels: simulated.Floats, scores: simulated.Floats, unlabelled: simulated.Floats, weight: float):
    """The estimate and standard error of the papers, for labelled answers and others."""
    mean = weight * unlabelled.mean() + (labels - weight * scores).mean()
    variance = weight**2 * unlabelled.var() / len(unlabelled) + (labels - weight * scores).var() / len(labels)
    return mean, variance**0.5


def test_the_mean_is_that_of_the_paper():
    table = simulated.table(JUDGE[:, None])
    found = tuned(labels_of_first(PEOPLE, 40), JUDGE, table, (0.0, 1.0))
    label, score = PEOPLE[:40], JUDGE[:40]
    slope = min(numpy.cov(label, score)[0, 1] / score.var(ddof=1), 1)
    assert found.weight == pytest.approx(slope)
    # the papers compare the labelled with the other answers: all answers are 40 / 120 labelled ones
    mean, error = ppi_mean(label, score, JUDGE[40:], slope * 80 / 120)
    assert found.mean == pytest.approx(mean)
    assert found.error == pytest.approx(error, rel=0.1)
    interval = found.interval((0.0, 1.0), 40)
    assert interval.high - interval.mean == pytest.approx(stats.t.isf(0.025, 39) * found.error)


def test_a_useless_judge_leaves_the_mean_of_the_labels():
    scores = numpy.random.default_rng(1).uniform(size=120)
    given = labels_of_first(1 - scores, 30)  # the better, the lower the score
    found = tuned(given, scores, simulated.table(scores[:, None]), (0.0, 1.0))
    assert found.weight == 0
    assert found.mean == pytest.approx((1 - scores)[:30].mean())


def test_a_missing_score_may_be_the_worst_or_the_best():
    scores = JUDGE.copy()
    scores[-12:] = numpy.nan
    found = tuned(labels_of_first(PEOPLE, 40), scores, simulated.table(scores[:, None]), (0.0, 1.0))
    seen = JUDGE[:-12].mean()
    assert found.open_low == pytest.approx(0.1 * seen) and found.open_high == pytest.approx(0.1 * (1 - seen))


def test_a_difference_has_the_errors_of_both_and_its_negative_the_same():
    table = simulated.table(JUDGE[:, None])
    first, second = (tuned(labels_of_first(people, 40), JUDGE, table, (0.0, 1.0)) for people in (PEOPLE, 1 - PEOPLE))
    apart = second.minus(first)
    assert apart.mean == pytest.approx(second.mean - first.mean)
    assert apart.error**2 * 39 / 40 == pytest.approx(((second.parts - first.parts) ** 2).sum())
    assert (first.negative.mean, first.negative.error) == (-first.mean, first.error)


def test_enough_are_twenty_labels_of_four_documents():
    of_four, of_three = numpy.arange(120) % 4, numpy.arange(120) % 3
    assert has_enough(labels_of_first(PEOPLE, 20), of_four)
    assert not has_enough(labels_of_first(PEOPLE, 19), of_four)
    assert not has_enough(labels_of_first(PEOPLE, 120), of_three)
