"""The decisions of a race against numbers computed by hand."""

import math

import numpy
import pytest

from dream.comparison.bounded import CONSTANT, betting_interval
from dream.comparison.racing import decide, largest_document, planned_looks, shuffled, spent_by
from dream.comparison.score_table import ScoreTable
from dream.records import Trial, TrialResult


def table(*columns: list[float]) -> ScoreTable:
    results = tuple(TrialResult(Trial(str(number), "llm", "embed")) for number in range(len(columns)))
    values, n = numpy.column_stack(columns), len(columns[0])
    return ScoreTable("score", tuple(map(str, range(n))), results, values, numpy.arange(n))


def test_boundary_of_the_first_look():
    # Of 2 ** 9 flips of nine equal differences of 0.5, the mean is 0.5 or -0.5 in two, and 0.5 * 7 / 9 in size in 18.
    scores = table([0.75] * 9, [0.25] * 9)
    found = decide(scores, [9], [], error=2 / 512)
    assert found.boundary == pytest.approx(0.5 * 7 / 9)
    (left,) = found.left
    assert (left.column, left.best, left.difference) == (1, 0, -0.5)
    assert (left.low, left.high) == (pytest.approx(-0.5 - 0.5 * 7 / 9), pytest.approx(-0.5 + 0.5 * 7 / 9))
    too_little = decide(scores, [9], [], error=1.9 / 512)
    assert (too_little.boundary, too_little.left) == (pytest.approx(0.5), ())


def test_what_an_earlier_look_spent_is_not_spent_again():
    scores = table([0.75] * 10, [0.25] * 10)
    # Of 2 ** 10 flips, 4 were above 0.5 * 7 / 9 at nine documents; of the others, the mean of ten is at most 0.4.
    assert decide(scores, [9, 10], [0.5 * 7 / 9], error=4 / 1024).boundary == pytest.approx(0.4)
    # Where nothing was spent, 2 flips reach 0.5, and 20 reach 0.4: the fifth largest is 0.4.
    assert decide(scores, [9, 10], [math.inf], error=4 / 1024).boundary == pytest.approx(0.4)
    # Nine differences never add up to 0: every flip was above 0.
    assert decide(scores, [9, 10], [0.0], error=4 / 1024).boundary == math.inf


def test_a_kept_trial_stays_and_missing_scores_are_no_loss():
    good, bad = [0.75] * 12, [0.25] * 12
    assert [each.column for each in decide(table(good, bad, bad), [12], [], error=0.02).left] == [1, 2]
    assert [each.column for each in decide(table(good, bad, bad), [12], [], error=0.02, kept=[1]).left] == [2]
    assert decide(table(good, [math.nan] * 6 + [0.25] * 6), [12], [], error=0.02).left == ()


def test_small_constant_losses_need_bets():
    n = 40
    small = table([0.55] * n, [0.5] * n)
    assert decide(small, [n], [], error=0.02).left == ()  # one loss of 1 in 40 would outweigh them
    many = table([0.6] * 400, [0.5] * 400)
    (left,) = decide(many, [400], [], error=0.02).left
    assert left.interval_by in ("sign flips", f"betting: {CONSTANT}") and left.high < 0


def test_bets_of_several_looks_stake_for_the_largest_document():
    values, clusters = numpy.tile([0.2, 0.4], 30), numpy.arange(60)
    whole, wider = (betting_interval(values, values, clusters, largest=largest) for largest in (1, 5))
    assert whole == betting_interval(values, values, clusters)
    assert wider[0] < whole[0] < 0.3 < whole[1] < wider[1]
    assert largest_document(["a", "a", "b", ""]) == 2


def test_looks_are_at_the_ends_of_documents():
    documents = [f"{row // 7}" for row in range(100)]  # 14 of 7 questions, and one of 2
    looks = planned_looks(documents, first=20, block=20)
    assert [look.questions for look in looks] == [56, 77]
    assert [look.documents for look in looks] == [8, 11]
    assert looks[0].error == pytest.approx(0.025 * math.log(1 + (math.e - 1) * 8 / 15)) == spent_by(8 / 15)
    assert planned_looks(documents[:56], 20, 20) == []
    alone = planned_looks(["a.pdf"] * 100, 20, 40)  # of one document, each question is its own
    assert [look.questions for look in alone] == [20, 60]


def test_the_order_keeps_documents_together_and_follows_from_the_seed():
    documents = [f"{row % 10}" for row in range(50)]
    order = [documents[row] for row in shuffled(documents, seed=3)]
    assert all(len(set(order[start : start + 5])) == 1 for start in range(0, 50, 5))
    assert shuffled(documents, 3) == shuffled(documents, 3) != shuffled(documents, 4)
