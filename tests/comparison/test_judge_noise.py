"""Judge noise: mean squares by hand, and variances that were put in found again."""

from dataclasses import replace

import numpy
import pytest
import simulated

from dream.comparison.comparison import compare
from dream.comparison.judge_noise import Judgement, judge_noise
from dream.comparison.leaderboard_table import verdict_of
from dream.errors import DataError


def rows(values: numpy.ndarray, metric: str = "m") -> list[Judgement]:
    """Judgements from an array of questions x trials x repeats."""
    return [Judgement(f"q{q}", f"t{t}", metric, r, float(values[q, t, r])) for q, t, r in numpy.ndindex(values.shape)]


def test_the_components_of_a_small_table_by_hand():
    # means of two repeats: q0: 0.2, 0.4; q1: 0.6, 1.0. Within: 4 cells x 0.02 / 4 = 0.02
    values = numpy.array([[[0.1, 0.3], [0.3, 0.5]], [[0.5, 0.7], [0.9, 1.1]]])
    found = judge_noise(rows(values), "m")
    assert found.judge == pytest.approx(0.02)
    # interaction: each residual 0.05, squares 0.01 over (2-1)(2-1); minus judge / 2 = 0: not below 0
    assert found.answer == pytest.approx(0.0, abs=1e-12)
    # questions: means 0.3 and 0.8, 2 x (0.25² + 0.25²) = 0.25; minus 0.01; over two trials
    assert found.question == pytest.approx((0.25 - 0.01) / 2)
    assert (found.n_questions, found.n_trials, found.repeats) == (2, 2, 2)


def test_variances_that_were_put_in_are_found_again():
    random = numpy.random.default_rng(0)
    values = (
        0.5
        + 0.20 * random.normal(size=(2000, 1, 1))
        + numpy.array([0.0, 0.1, 0.2, 0.3])[None, :, None]
        + 0.10 * random.normal(size=(2000, 4, 1))
        + 0.05 * random.normal(size=(2000, 4, 3))
    )
    found = judge_noise(rows(values), "m")
    assert (found.question, found.answer, found.judge) == pytest.approx((0.04, 0.01, 0.0025), rel=0.1)
    assert found.judge_share == pytest.approx(0.2, abs=0.02)
    # the standard error of a difference, once against the scatter of the differences themselves
    once = values[:, 1, 0] - values[:, 0, 0]
    assert found.error(100) == pytest.approx(once.std() / 10, rel=0.05)
    thrice = values[:, 1].mean(1) - values[:, 0].mean(1)
    assert found.error(100, repeats=3) == pytest.approx(thrice.std() / 10, rel=0.05)
    assert found.judge_error(100) == pytest.approx((2 * 0.0025 / 100) ** 0.5, rel=0.05)


def test_failed_judgements_and_other_metrics_are_left_out():
    values = numpy.array([[[0.1, 0.3], [0.3, 0.5]], [[0.5, 0.7], [0.9, 1.1]]])
    some = [*rows(values), *rows(values * 0, "other"), replace(rows(values)[0], repeat=2, value=None)]
    assert judge_noise(some, "m") == judge_noise(rows(values), "m")


def test_a_judge_that_never_wavers_makes_no_noise():
    found = judge_noise(rows(numpy.repeat(numpy.random.default_rng(1).random((5, 3, 1)), 2, axis=2)), "m")
    assert (found.judge, found.judge_share) == (0, 0)
    assert "0% of the variance" in found.text


@pytest.mark.parametrize("shape", [(0, 0, 0), (1, 2, 2), (2, 1, 2), (3, 3, 1)])
def test_too_little_is_refused_with_what_it_needs(shape: tuple[int, int, int]):
    with pytest.raises(DataError, match="two questions, two trials and an answer judged twice"):
        judge_noise(rows(numpy.zeros(shape)), "m")


def test_repeats_are_told_beside_the_differences():
    random = numpy.random.default_rng(1)
    experiment = simulated.experiment({"answer_correctness": random.uniform(0.3, 0.7, (12, 2))})
    results = []
    for result in experiment.results:
        again = tuple(replace(score, repeat=1, value=score.value + 0.1) for score in result.evaluation.scores[:6])
        results.append(replace(result, evaluation=replace(result.evaluation, repeats=again)))
    found = compare(replace(experiment, results=tuple(results)))
    (noise,) = found.noise
    assert noise.judge == pytest.approx(0.005)
    assert (noise.n_questions, noise.n_trials, noise.repeats) == (6, 2, 2)
    assert f"the judge accounts for {noise.judge_share:.0%} of the variance of a paired difference" in verdict_of(found)


def test_equal_answers_of_several_trials_count_once():
    random = numpy.random.default_rng(3)
    alone = 0.5 + 0.1 * random.normal(size=(200, 2, 1)) + 0.1 * random.normal(size=(200, 2, 3))
    doubled = numpy.concatenate([alone, alone[:, :1]], axis=1)  # the third trial answers as the first does
    plain = judge_noise(rows(alone), "m")
    marked = judge_noise(
        [replace(each, answer="same" if each.trial_id in ("t0", "t2") else "") for each in rows(doubled)], "m"
    )
    assert (marked.judge, marked.judge_share) == pytest.approx((plain.judge, plain.judge_share))
    assert judge_noise(rows(doubled), "m").judge_share > marked.judge_share + 0.05  # what it would be otherwise


def test_the_interval_of_the_share_holds_the_truth():
    random, held = numpy.random.default_rng(4), 0
    for _ in range(200):
        values = 0.5 + 0.1 * random.normal(size=(10, 6, 1)) + 0.1 * random.normal(size=(10, 6, 3))
        found = judge_noise(rows(values), "m")
        held += found.between[0] <= 0.5 <= found.between[1]
        assert found.between[0] <= found.judge_share <= found.between[1]
    assert held >= 180  # 95 % of 200 is 190; fewer than 180 by chance: 0.2 %
