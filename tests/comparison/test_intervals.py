"""The kernel: standard errors, critical values and intervals against hand-computed numbers and independent formulas."""

import math

import numpy
import pytest
from scipy import stats

from dream.comparison.intervals import columns, critical, critical_each, interval, intervals, resamples


def one_column(values: list[float], clusters: list[int] | None = None):
    numbers = numpy.arange(len(values)) if clusters is None else numpy.array(clusters)
    return columns(numpy.array(values)[:, None], numbers)


def test_the_standard_error_of_single_questions_is_the_ordinary_one():
    # 0.1, 0.3, 0.2, 0.4: mean 0.25, squares 0.0225 + 0.0025 + 0.0025 + 0.0225 = 0.05, / 3 / 4
    block = one_column([0.1, 0.3, 0.2, 0.4])
    assert block.mean[0] == pytest.approx(0.25)
    assert block.error[0] == pytest.approx(math.sqrt(0.05 / 12))


def test_the_standard_error_of_documents_adds_up_each_document_first():
    # documents {0.1, 0.3}, {0.2}, {0.6}: mean 0.3; residual sums -0.2, -0.1, 0.3; squares 0.14; x 3/2; root; / 4
    block = one_column([0.1, 0.3, 0.2, 0.6], [0, 0, 1, 2])
    assert block.error[0] == pytest.approx(math.sqrt(0.14 * 3 / 2) / 4)
    assert block.n_clusters[0] == 3


def test_missing_values_count_nowhere():
    assert one_column([0.1, math.nan, 0.3, 0.2, 0.4]).error == pytest.approx(one_column([0.1, 0.3, 0.2, 0.4]).error)


def test_few_questions_get_the_interval_of_students_t():
    values = [0.1, 0.3, 0.2, 0.5, 0.0, 0.4]
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(numpy.array(values))
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_many_questions_get_almost_the_interval_of_students_t():
    values = numpy.random.default_rng(0).normal(0.1, 0.2, 300)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert found.low == pytest.approx(reference.low, abs=0.003)
    assert found.high == pytest.approx(reference.high, abs=0.003)


def test_the_bootstrap_is_that_of_the_studentised_mean():
    """The same replicates, computed one by one."""
    values = numpy.random.default_rng(1).exponential(0.2, 30)
    weights = resamples(30, seed=5, replicates=400)
    largest = []
    for row in weights:
        drawn = numpy.repeat(values, row.astype(int))
        error = max(
            drawn.std(ddof=1) * math.sqrt(29 / 30) * math.sqrt(30 / 29) / math.sqrt(30),
            values.std(ddof=1) / math.sqrt(30) / 2,
        )
        largest.append(abs(drawn.mean() - values.mean()) / error)
    level = 0.95 + 1.645 * math.sqrt(0.95 * 0.05 / 400)
    expected = numpy.quantile(largest, level, method="higher")
    assert critical([one_column(list(values))], weights).resampled == pytest.approx(expected, rel=1e-9)


def test_documents_are_drawn_whole():
    values, clusters = numpy.random.default_rng(2).normal(size=24), numpy.repeat(numpy.arange(12), 2)
    weights = resamples(12, replicates=200)
    sums = numpy.array([values[clusters == one].sum() for one in range(12)])
    largest = []
    for row in weights:
        mean = (row * sums).sum() / 24
        error = math.sqrt((row * (sums - 2 * mean) ** 2).sum() * 12 / 11) / 24
        largest.append(abs(mean - values.mean()) / max(error, one_column(list(values), list(clusters)).error[0] / 2))
    level = 0.95 + 1.645 * math.sqrt(0.95 * 0.05 / 200)
    found = critical([columns(values[:, None], clusters)], weights)
    assert found.resampled == pytest.approx(numpy.quantile(largest, level, method="higher"))


def test_independent_columns_need_about_the_critical_value_of_the_largest_of_them():
    """Of 20 independent columns, the largest |t| stays below the quantile at 0.95 ** (1 / 20)."""
    values = numpy.random.default_rng(3).normal(size=(400, 20))
    block = columns(values, numpy.arange(400))
    expected = stats.t.isf((1 - 0.95 ** (1 / 20)) / 2, 399)
    found = critical([block], resamples(400))
    assert found.factor(block.n_clusters)[0] == pytest.approx(expected, rel=0.05)


def test_a_family_reaches_further_than_a_single_column():
    block = columns(numpy.random.default_rng(4).normal(size=(100, 10)), numpy.arange(100))
    weights = resamples(100)
    together, alone = critical([block], weights), critical_each(block, weights)
    assert (together.factor(block.n_clusters) > alone.factor(block.n_clusters)).all()
    assert numpy.allclose(alone.factor(block.n_clusters), 1.98, atol=0.25)


def test_blocks_are_one_family():
    values = numpy.random.default_rng(5).normal(size=(50, 6))
    numbers, weights = numpy.arange(50), resamples(50)
    parts = [columns(values[:, :2], numbers), columns(values[:, 2:], numbers)]
    assert critical(parts, weights) == critical([columns(values, numbers)], weights)


def test_with_few_clusters_bonferroni_takes_over():
    block = columns(numpy.random.default_rng(6).normal(size=(6, 15)), numpy.arange(6))
    factor = critical([block], resamples(6)).factor(block.n_clusters)
    assert factor[0] == pytest.approx(stats.t.isf(0.025 / 15, 5))


def test_equal_scores_on_all_questions_do_not_prove_equal_trials():
    """The rule of three: what none of 100 questions shows may still be in 3 of them."""
    found = interval(numpy.zeros(100))
    assert found.mean == 0
    assert 0.03 <= found.high == -found.low <= 0.04


def test_one_same_difference_counts_only_with_enough_questions():
    assert interval(numpy.full(4, 0.2)).low == -1
    assert interval(numpy.full(20, 0.2)).low == pytest.approx(0.2)


@pytest.mark.parametrize("values", [[], [0.5], [math.nan, math.nan], [0.5, math.nan]])
def test_without_information_the_interval_is_everything(values: list[float]):
    found = interval(numpy.array(values, float))
    assert (found.low, found.high, found.error) == (-1, 1, None)
    assert not math.isnan(found.mean)


def test_the_same_seed_gives_the_same_interval():
    values = numpy.random.default_rng(7).normal(size=40)
    assert interval(values, seed=1) == interval(values, seed=1)
    assert interval(values, seed=1) != interval(values, seed=2)
    assert all(
        one.low >= -1 and one.high <= 1 for one in intervals(one_column([5.0, -5.0, 3.0]), critical([], resamples(3)))
    )
