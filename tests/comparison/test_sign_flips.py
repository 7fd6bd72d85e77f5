"""The set of the best against enumeration by hand, scipy's permutation test, another implementation, simulation."""

import itertools

import numpy
import pytest
from scipy import stats

from dream.comparison.sign_flips import best_set, critical_range, replicates, spread_of_scores

RANDOM = numpy.random.default_rng(0)


def spread(values: numpy.ndarray, clusters: list[int] | None = None):
    numbers = numpy.arange(len(values)) if clusters is None else numpy.array(clusters)
    return spread_of_scores(values, numbers, (0.0, 1.0))


def brute_force(values: numpy.ndarray, clusters: list[int], level: float = 0.05) -> tuple[set[int], dict[int, float]]:
    """The same set by loops over all flips, one elimination of the lowest mean at a time, with its p-values."""
    documents, n = sorted(set(clusters)), len(values)
    inside, p_values = list(range(values.shape[1])), {}
    while len(inside) > 1:
        means = {trial: sum(values[:, trial]) / n for trial in inside}
        observed = max(means.values()) - min(means.values())
        as_large = 0
        for signs in itertools.product([1, -1], repeat=len(documents)):
            sign = dict(zip(documents, signs, strict=True))
            flipped = [sum(sign[c] * v for c, v in zip(clusters, values[:, t], strict=True)) / n for t in inside]
            as_large += max(flipped) - min(flipped) >= observed - 1e-9
        p_value = as_large / 2 ** len(documents)
        if p_value > level:
            break
        worst = min(inside, key=lambda trial: means[trial])
        p_values[worst] = p_value
        inside.remove(worst)
    return set(inside), p_values


def test_six_documents_by_hand():
    # all six differences are 0.3: of the 64 flips, 2 are as far apart, which is 3.1 %; of 32 flips it would be 6.2 %
    six, five = numpy.tile([0.8, 0.5], (6, 1)), numpy.tile([0.8, 0.5], (5, 1))
    assert best_set(spread(six)).in_set.tolist() == [True, False]
    # the sums of six signs: 2 flips give 0.3, 12 give 0.2, so the largest range that more than 5 % exceed is 0.2
    assert critical_range(spread(six)) == pytest.approx(0.2)
    assert brute_force(five, list(range(5)))[0] == {0, 1}


def test_two_trials_are_scipys_permutation_test():
    values = numpy.clip(RANDOM.normal([0.6, 0.5], 0.2, size=(10, 2)), 0, 1)
    for shift in numpy.linspace(0, 0.3, 7):
        first, second = values[:, 0] + shift, values[:, 1]
        test = stats.permutation_test(
            (first, second), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", n_resamples=2000
        )
        ordered = numpy.column_stack([first, second] if first.mean() >= second.mean() else [second, first])
        assert (not best_set(spread(ordered)).in_set[1]) == (test.pvalue <= 0.05)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_set_of_an_independent_implementation(seed: int):
    random = numpy.random.default_rng(seed)
    clusters = random.permutation([*range(8), *random.integers(0, 8, 12)]).tolist()
    values = numpy.clip(random.normal(0.6, 0.2, (20, 5)) - numpy.array([0, 0, 0.15, 0.3, 0.4]), 0, 1)
    values = values[:, numpy.argsort(-values.mean(0))]
    expected, _ = brute_force(values, clusters)
    assert set(numpy.flatnonzero(best_set(spread(values, clusters)).in_set).tolist()) == expected


def test_up_to_twelve_documents_every_flip_is_looked_at_and_above_a_sample():
    assert len({tuple(row) for row in replicates(12).tolist()}) == 4096
    assert replicates(13).shape == (2000, 13)
    assert (replicates(13)[0] == 1).all()
    assert not (replicates(13, 0) == replicates(13, 1)).all()


def test_with_few_documents_a_single_pair_has_students_t():
    values = numpy.array([[0.9, 0.5], [0.8, 0.6], [0.9, 0.6], [0.7, 0.4]])
    differences = values[:, 0] - values[:, 1]
    expected = stats.t.isf(0.025, 3) * differences.std(ddof=1) / 2
    assert best_set(spread(values)).below[1] == pytest.approx(expected, rel=0.03)  # of 20,000 samples


def test_nothing_jumps_where_students_t_gives_way_to_flips():
    random, widths = numpy.random.default_rng(5), {}
    for n in (4, 5, 6, 7, 8):
        found = [best_set(spread(random.normal(0.5, 0.1, (n, 2)))).below[1] for _ in range(60)]
        widths[n] = float(numpy.mean(found))
    assert widths[4] > widths[5] > widths[6]
    assert max(widths[6], widths[7], widths[8]) < 1.4 * min(widths[6], widths[7], widths[8])
    assert widths[5] < 1.6 * widths[6]


def test_missing_scores_count_against_whoever_could_gain_by_them():
    values = numpy.tile([0.9, 0.5], (20, 1))
    clear = best_set(spread(values))
    values[:3, 1] = numpy.nan
    # at best the three are 1.0, so that the mean is (17 * 0.5 + 3) / 20; at worst 0.0
    bounded = spread(values)
    assert (bounded.low.sum(0), bounded.high.sum(0)) == (pytest.approx([0.9, 0.425]), pytest.approx([0.9, 0.575]))
    assert not clear.in_set[1] and not best_set(bounded).in_set[1]
    values[:11, 1] = numpy.nan
    assert best_set(spread(values)).in_set[1]


@pytest.mark.whole
@pytest.mark.parametrize("n_documents", [4, 8, 25])
def test_equal_trials_are_seldom_left_out(n_documents: int):
    random, left_out = numpy.random.default_rng(3), 0
    for number in range(200):
        document = numpy.repeat(numpy.arange(n_documents), 3)
        values = random.normal(0, 0.25, (len(document), 8)) + random.normal(0, 0.1, (n_documents, 8))[document]
        values = values[:, numpy.argsort(-values.mean(0))]
        left_out += not best_set(spread_of_scores(values, document, (-2.0, 2.0)), number % 5).in_set.all()
    assert left_out <= 20  # 5 % of 200 is 10; more than 20 by chance: 0.1 %
