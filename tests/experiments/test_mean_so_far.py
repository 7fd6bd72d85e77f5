"""The mean so far, and its interval: right at all looks together, also near a bound, and with documents that differ."""

import numpy
import pytest

from dream.experiments.mean_so_far import MeanSoFar, mean_so_far

LOOKS = (10, 12, 15, 20, 30, 50, 100)
EXPERIMENTS = 300


def looked_at(scores: dict[str, float], documents: dict[str, str], truth: float) -> bool:
    """True if the interval holds the truth at each look."""
    for n in LOOKS:
        found = mean_so_far(dict(list(scores.items())[:n]), documents)
        if found and found.low is not None and found.high is not None and not found.low <= truth <= found.high:
            return False
    return True


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.9, 0.95, 0.98])
def test_all_intervals_of_a_trial_hold_together(truth: float):
    random = numpy.random.default_rng(0)
    held = 0
    for _ in range(EXPERIMENTS):
        scores = {f"q{n}": float(random.random() < truth) for n in range(LOOKS[-1])}
        held += looked_at(scores, {}, truth)
    assert held / EXPERIMENTS >= 0.95


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (0.8, 1.0), (0.0, 1.0)])
def test_so_do_they_where_the_questions_of_a_document_are_alike(low: float, high: float):
    random = numpy.random.default_rng(1)
    documents = {f"q{n}": f"document {n // 5}" for n in range(LOOKS[-1])}
    held = 0
    for _ in range(EXPERIMENTS):
        qualities = random.choice([low, high], LOOKS[-1] // 5).repeat(5)
        scores = {f"q{n}": float(random.random() < quality) for n, quality in enumerate(qualities)}
        held += looked_at(scores, documents, (low + high) / 2)
    assert held / EXPERIMENTS >= 0.95


def test_it_is_narrow_enough_to_say_something():
    scores = {f"q{n}": 0.6 + 0.3 * (n % 2) for n in range(100)}
    found = mean_so_far(scores, {})
    assert found and found.low and found.high
    assert found.mean == pytest.approx(0.75) and found.n == 100
    assert 0.05 < found.high - found.low < 0.15


def test_without_much_to_go_by_there_is_a_mean_and_no_interval():
    assert mean_so_far({}, {}) is None
    few = {f"q{n}": 0.5 for n in range(9)}
    assert mean_so_far(few, {}) == MeanSoFar(0.5, 9)
    of_one_document = dict.fromkeys(map(str, range(40)), "a.pdf") | {f"b{n}": f"{n}.pdf" for n in range(9)}
    assert mean_so_far({str(n): 0.5 for n in range(40)}, of_one_document) == MeanSoFar(0.5, 40)
    assert mean_so_far({str(n): 5.0 for n in range(40)}, {}, (0.0, float("inf"))) == MeanSoFar(5.0, 40)
    undecided = {str(n): float(n % 2) for n in range(12)}
    assert mean_so_far(undecided, {}) == MeanSoFar(0.5, 12)


def test_limits_are_possible_scores():
    found = mean_so_far({str(n): 4.97 for n in range(200)}, {}, (1.0, 5.0))
    assert found and found.low and found.high == 5.0
    assert 1.0 < found.low < 4.97
