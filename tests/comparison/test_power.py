"""Power: the closed form of normal theory, published numbers, and simulation."""

import numpy
import pytest
from scipy import stats

from dream.comparison.intervals import columns
from dream.comparison.power import (
    between_share,
    plan_power,
    power,
    questions_needed,
    smallest_difference,
    spread_of,
)
from dream.comparison.sign_flips import best_set, spread_of_scores
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


def test_the_degrees_of_freedom_are_those_of_the_documents():
    # the effect size that the paired t-test of 8 values detects in 80 % at 5 %: d = 1.1553 (G*Power: n = 8)
    expected = 1.1553 * 0.3 * 8**0.5 / 50**0.5
    assert smallest_difference(0.3, 50, n_documents=8) == pytest.approx(expected, rel=1e-3)
    assert power(expected, 0.3, 50, n_documents=8) == pytest.approx(0.8, abs=1e-3)
    assert smallest_difference(0.3, 50, n_documents=50) == smallest_difference(0.3, 50)


def test_questions_and_documents_needed_go_together():
    plan = plan_power(0.3, 60, n_documents=12, n_trials=12, between=0.5)
    assert {difference: -(-n // 5) for difference, n in plan.needed.items()} == plan.documents
    assert plan.smallest and plan.more_questions and plan.more_documents
    assert plan.more_questions == pytest.approx(plan.smallest * 0.75**0.5)
    assert plan.smallest / plan.more_documents > 2**0.5  # more degrees of freedom, too
    assert "60 questions from 12 documents can detect" in plan.text
    assert f"{plan.needed[0.05]:,} from {plan.documents[0.05]:,} documents for 0.05" in plan.text
    assert "Twice the questions on the same documents could detect" in plan.text
    again = plan.planned(120)
    assert (again.n_documents, again.smallest) == (24, plan.more_documents)


def test_the_share_between_documents_by_hand():
    # documents {0.1, 0.3} and {0.5, 0.7}: within (4 x 0.01) / 2 = 0.02, / 4 = 0.005; the error is 0.2: 1 - 0.005 / 0.04
    values, documents = numpy.array([[0.1], [0.3], [0.5], [0.7]]), numpy.array([0, 0, 1, 1])
    block = columns(values, documents)
    expected = 1 - 0.005 / float(block.error[0]) ** 2
    assert between_share(values, documents) == pytest.approx(expected)
    assert between_share(values, numpy.arange(4)) is None


@pytest.mark.whole
@pytest.mark.parametrize(("n_questions", "n_documents"), [(20, 8), (50, 8), (60, 12), (200, 50), (50, 50)])
@pytest.mark.parametrize("n_trials", [2, 12])
def test_what_is_promised_in_80_percent_shows_about_as_often(n_questions: int, n_documents: int, n_trials: int):
    random, document = numpy.random.default_rng(1), numpy.arange(n_questions) % n_documents
    questions = numpy.bincount(document)
    variance = 0.09 * (0.1 * (questions**2).sum() / n_questions**2 + 0.9 / n_questions)
    smallest = plan_power(
        (variance * n_questions) ** 0.5, n_questions, n_documents=n_documents, n_trials=n_trials
    ).smallest
    assert smallest
    shown, n_weak = [], n_trials // 2
    for _ in range(150):
        of_documents = random.normal(0, 0.1**0.5, (n_documents, n_trials))[document]
        values = 0.3 / 2**0.5 * (of_documents + random.normal(0, 0.9**0.5, (n_questions, n_trials)))
        values[:, -n_weak:] -= smallest
        order = numpy.argsort(-values.mean(0))
        found = best_set(spread_of_scores(values[:, order], document, (-5.0, 5.0)))
        shown.append(numpy.mean([not found.in_set[list(order).index(weak)] for weak in range(n_trials)[-n_weak:]]))
    assert 0.7 <= numpy.mean(shown) <= 0.9  # 75 to 85 %, give or take the chance of 150 experiments
