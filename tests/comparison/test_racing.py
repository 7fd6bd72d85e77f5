"""The decisions of a race against numbers computed by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy
import pytest

from dream.comparison.intervals import Floats
from dream.comparison.racing import decide, planned_looks, shuffled, spent_by, unseen
from dream.comparison.score_table import ScoreTable
from dream.records import Trial, TrialResult


def table(*columns: Sequence[float] | Floats) -> ScoreTable:
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


def test_a_loss_must_be_more_than_unseen_questions_could_make_up_for():
    # Of 40 questions, none is of a kind that is a share p of all with a chance of (1 - p) ** 40: 2.5 % at p = 0.0881.
    small, clear = (table([0.6] * 40, [0.6 - loss] * 40) for loss in (0.08, 0.1))
    found = decide(small, [40], [], error=0.02)
    assert (found.boundary, found.left) == (pytest.approx(1 - 0.025 ** (1 / 40)), ())
    (left,) = decide(clear, [40], [], error=0.02).left
    assert left.high == pytest.approx(-0.1 + 0.0881, abs=1e-4)
    # For any of 40 other trials: 2.5 % / 40 at p = 0.168.
    many = decide(clear, [40], [], error=0.02, entered=41)
    assert (many.boundary, many.left) == (pytest.approx(0.1684, abs=1e-4), ())


def test_a_loss_must_be_more_than_an_unseen_document_could_make_up_for():
    # One of 12 documents has a twelfth of the questions.
    loss = numpy.repeat(numpy.linspace(0.06, 0.1, 12), 10)
    documents = numpy.repeat(numpy.arange(12), 10)
    close, clear = (replace(table([0.8] * 120, 0.8 - more - loss), clusters=documents) for more in (0.0, 0.05))
    found = decide(close, [120], [], error=0.02)
    assert (found.boundary, found.left) == (pytest.approx(1 / 12), ())
    assert [each.column for each in decide(clear, [120], [], error=0.02).left] == [1]
    one_large = numpy.concatenate([numpy.zeros(60, int), numpy.repeat(numpy.arange(1, 11), 6)])
    assert unseen(numpy.bincount(one_large) / 120, 120, 0.025) == pytest.approx(0.5**2 + 10 * 0.05**2)


def test_a_score_range_of_5_has_a_boundary_5_times_as_large():
    scores = table([0.6] * 40, [0.5] * 40)
    larger = replace(scores, values=5 * scores.values, limits=(0.0, 5.0))
    assert decide(larger, [40], [], 0.02).boundary == pytest.approx(5 * decide(scores, [40], [], 0.02).boundary)


def test_rare_losses_that_are_not_seen_yet_send_no_equal_trial_out():
    random = numpy.random.default_rng(5)
    for _ in range(20):  # 0.02 more on each question, as a trial has that loses 0.38 on 5 %
        gain = 0.02 + 0.02 * random.normal(size=45)
        assert decide(table(numpy.full(45, 0.6), 0.6 + gain), [45], [], error=0.02).left == ()


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
