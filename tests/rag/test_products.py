"""Products that are too large to be listed."""

import itertools
from collections import Counter

from dream.rag.products import digits_of, number_of, shown, shuffled, size_of

SMALL = [[1, 2], ["a", "b", "c"], [True, False]]


def test_numbers_are_those_of_the_product():
    listed = list(itertools.product(*SMALL))
    places = [digits_of(number, SMALL) for number in range(size_of(SMALL))]
    assert [tuple(each[d] for each, d in zip(SMALL, digits, strict=True)) for digits in places] == listed
    assert [number_of(digits, SMALL) for digits in places] == list(range(12))


def test_an_order_has_each_number_once_and_any_number_is_as_likely_first():
    assert sorted(shuffled(1000, 3)) == list(range(1000))
    assert list(shuffled(50, 1)) == list(shuffled(50, 1)) != list(shuffled(50, 2))
    firsts = Counter(next(shuffled(5, seed)) for seed in range(2000))
    assert set(firsts) == set(range(5)) and all(320 <= n <= 480 for n in firsts.values())  # 400 expected, deviation 18
    assert len(list(itertools.islice(shuffled(10**18, 0), 100))) == 100


def test_a_large_product_shows_each_choice():
    assert list(shown(SMALL)) == list(itertools.product(*SMALL))
    large = [list(range(100))] * 4
    seen = list(shown(large))
    assert len(seen) < 3000
    assert all({combination[factor] for combination in seen} == set(range(100)) for factor in range(4))
