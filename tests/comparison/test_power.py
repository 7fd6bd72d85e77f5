"""Power: the closed form of normal theory, published numbers, and simulation."""

import numpy
import pytest
from scipy import stats

from dream.comparison.power import plan_power, power, questions_needed, smallest_difference, spread_of
from dream.errors import ConfigurationError


def test_with_many_questions_it_is_the_closed_form_of_normal_theory():
    # smallest difference = (z(0.975) + z(0.8)) x spread / sqrt(n) = 2.8016 x 0.3 / 100
    assert smallest_difference(0.3, 10_000) == pytest.approx((1.959964 + 0.841621) * 0.3 / 100, rel=1e-3)
    assert questions_needed(0.01, 0.3) == pytest.approx(((1.959964 + 0.841621) * 0.3 / 0.01) ** 2, rel=1e-3)


def test_the_textbook_sample_sizes_of_a_paired_test():
    # Cohen's effects 0.2, 0.5, 0.8 at 80 % power: 199, 34 and 15 pairs
    assert [questions_needed(effect, 1.0) for effect in (0.2, 0.5, 0.8)] == [199, 34, 15]


def test_it_agrees_with_simulated_paired_tests():
    random = numpy.random.default_rng(0)
    differences = random.normal(0.1, 0.25, size=(4000, 40))
    result = stats.ttest_1samp(differences, 0, axis=1)
    shown = ((result.pvalue < 0.05) & (result.statistic > 0)).mean()
    assert power(0.1, 0.25, 40) == pytest.approx(shown, abs=0.02)


def test_both_questions_are_inverse_to_each_other():
    size = smallest_difference(0.25, 80, level=0.01)
    assert size is not None
    assert questions_needed(size, 0.25, level=0.01) in (80, 81)


def test_a_plan_says_both_in_words():
    plan = plan_power(0.25, 100)
    assert list(plan.needed) == [0.02, 0.05, 0.10]
    assert plan.text.startswith("100 questions can detect a difference of 0.071 or more (80 % power)")


def test_a_stricter_level_needs_more_questions():
    assert questions_needed(0.05, 0.25, level=0.001) > questions_needed(0.05, 0.25)


def test_the_edges_are_clear():
    assert plan_power(0.3, 1).smallest is None
    assert "can detect no difference" in plan_power(0.3, 1).text
    assert smallest_difference(0.0, 10) == 0
    assert power(1.0, 1e-9, 1000) == 1.0
    assert spread_of(numpy.array([0.1, numpy.nan, 0.3])) == pytest.approx(0.1414, abs=1e-4)
    with pytest.raises(ConfigurationError, match="pilot of at least two"):
        spread_of(numpy.array([0.1]))
    with pytest.raises(ConfigurationError, match="spread=-1"):
        power(0.1, -1, 10)
    with pytest.raises(ConfigurationError, match="above 0"):
        questions_needed(0.0, 0.3)
