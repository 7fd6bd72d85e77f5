"""Contrasts of trial means: flips by hand, statements and intervals that agree, missing scores, few documents."""

import itertools
import math

import numpy
import pytest
import simulated

from dream.comparison.contrasts import Contrasts
from dream.comparison.factor_effects import effects
from dream.comparison.intervals import Floats

PAIR = numpy.array([[1.0, -1.0]])


def contrasts(values: Floats, rows: Floats, clusters: list[int] | None = None) -> Contrasts:
    return Contrasts(simulated.table(values, clusters), [rows])


def all_flips(parts: Floats) -> Floats:
    """The statistic of each contrast (a column) in every flip of the documents, one after another."""
    signs = numpy.array(list(itertools.product([1, -1], repeat=len(parts))))
    return numpy.abs(signs @ parts) / numpy.sqrt((parts**2).sum(0))


def test_the_step_down_critical_value_by_enumeration():
    random = numpy.random.default_rng(2)
    values = numpy.clip(0.5 + 0.1 * random.normal(size=(8, 3)) + [0.3, 0.0, 0.02], 0, 1)
    rows = numpy.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    found = contrasts(values, rows)
    parts = values @ rows.T
    flips, observed = all_flips(parts), all_flips(parts)[0]
    first = numpy.sort(flips.max(1))[::-1][math.floor(0.05 * 256)]
    assert observed[0] > first and observed[1] <= first  # the first contrast leaves, and the second is tested alone
    assert found.critical == pytest.approx(numpy.sort(flips[:, 1])[::-1][math.floor(0.05 * 256)])
    assert [each.excludes_zero for each in found.intervals(rows)] == [True, bool(observed[1] > found.critical)]


def test_six_documents_that_agree_can_be_shown_and_five_of_six_cannot():
    values = numpy.column_stack([[0.9, 0.5, 0.7, 1.0, 0.6, 0.4], [0.1, 0.3, 0.2, 0.2, 0.1, 0.3]])
    (shown,) = contrasts(values, PAIR).intervals(PAIR)
    assert shown.low > 0 and shown.mean == pytest.approx(numpy.mean(values[:, 0] - values[:, 1]))
    values[5] = values[5, ::-1]
    (other,) = contrasts(values, PAIR).intervals(PAIR)
    assert other.low <= 0 < other.mean  # 2 x 7 of 64 flips are as extreme


def test_a_contrast_and_its_opposite_are_one_statement():
    values = numpy.random.default_rng(3).uniform(0.2, 0.9, (20, 2))
    both = numpy.vstack([PAIR, -PAIR, PAIR / 2, 0 * PAIR])
    one, many = contrasts(values, PAIR), contrasts(values, both)
    assert (one.critical, one.wide) == (many.critical, many.wide)
    ahead, behind, half, nothing = many.intervals(both)
    assert (ahead.low, ahead.high) == pytest.approx((-behind.high, -behind.low))
    assert half.low == pytest.approx(ahead.low / 2)
    assert (nothing.mean, nothing.excludes_zero) == (0, False)


def test_missing_scores_widen_the_interval_by_what_they_may_have_been():
    random = numpy.random.default_rng(4)
    values = numpy.column_stack([random.uniform(0.5, 0.7, 40), random.uniform(0.4, 0.6, 40)])
    (full,) = contrasts(values, PAIR).intervals(PAIR)
    assert full.low > 0
    values[numpy.argsort(values[:, 0])[:8], 0] = numpy.nan  # its worst fifth
    (gaps,) = contrasts(values, PAIR).intervals(PAIR)
    assert gaps.mean > full.mean and gaps.low <= 0  # with 8 zeros, the mean of the first would be 0.12 lower


def test_a_few_large_losses_against_many_small_gains_are_not_taken_for_an_effect():
    values = numpy.column_stack([numpy.full(20, 0.95), numpy.full(20, 0.9)])
    assert not contrasts(values, PAIR).intervals(PAIR)[0].excludes_zero  # a loss too rare to be seen


def test_few_documents_use_students_t_and_one_says_nothing():
    clusters = [0, 1, 2, 3] * 10
    values = numpy.clip(numpy.random.default_rng(5).normal([0.8, 0.5], 0.02, (40, 2)), 0, 1)
    (four,) = contrasts(values, PAIR, clusters).intervals(PAIR)
    assert four.excludes_zero
    (one,) = contrasts(values, PAIR, [0] * 40).intervals(PAIR)
    assert (one.low, one.high, one.error) == (-1, 1, None)
    same = numpy.column_stack([numpy.full(4, 0.9), numpy.full(4, 0.4)])
    assert not contrasts(same, PAIR).intervals(PAIR)[0].excludes_zero


def weak_llm(random: numpy.random.Generator, loss: float, n: int = 20, n_documents: int = 8) -> simulated.ScoreTable:
    """12 trials, of which the six of one LLM are worse; a tenth of the variance is between documents."""
    document = numpy.arange(n) % n_documents
    worse = numpy.array([trial.llm_identifier == "llm-1" for trial in simulated.grid(12)])
    noise = random.normal(size=(n_documents, 12))[document] * 0.1**0.5 + random.normal(size=(n, 12)) * 0.9**0.5
    return simulated.table(0.5 + 0.3 / 2**0.5 * noise - loss * worse, document.tolist())


def test_a_weak_llm_in_half_of_the_trials_is_shown_with_few_documents_and_no_other_factor_is():
    random, shown, false = numpy.random.default_rng(6), 0, 0
    for _ in range(40):
        found = effects(weak_llm(random, 0.25))
        shown += any(factor.matters for factor in found.factors if factor.factor == "LLM")
        false += any(factor.matters for factor in found.factors if factor.factor != "LLM")
    assert shown >= 36 and false <= 4
