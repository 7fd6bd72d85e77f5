"""Main effects and interactions: marginal means by hand, a design matrix of its own, known effects found again."""

import itertools
import math

import numpy
import pytest
from simulated import table as simulated_table

from dream.comparison.factor_effects import AVERAGE, effects, factor_values
from dream.comparison.score_table import ScoreTable
from dream.records import Trial, TrialResult

GRID = list(itertools.product("AB", "xyz"))


def score_table(values: numpy.ndarray, grid: list[tuple[str, ...]] = GRID) -> ScoreTable:
    results = tuple(TrialResult(Trial(method, llm, "embed")) for method, llm, *_ in grid)
    n = len(values)
    return ScoreTable("score", tuple(f"q{i}" for i in range(n)), results, values, numpy.arange(n))


def simulated(lift: float = 0.2, extra: float = 0.0, n: int = 60) -> numpy.ndarray:
    """Method B lifts by `lift`, and together with z by `extra` more."""
    random = numpy.random.default_rng(0)
    base = 0.4 + 0.1 * random.normal(size=(n, 1)) + 0.05 * random.normal(size=(n, 6))
    return base + [lift * (method == "B") + extra * (method == "B" and llm == "z") for method, llm in GRID]


def test_in_a_full_grid_an_effect_is_the_marginal_mean_minus_the_mean():
    values = simulated()
    found = effects(score_table(values))
    means = values.mean(0)
    of = {(one.factor, one.level): one.effect for one in found.levels}
    assert of["RAG method", "A"].mean == pytest.approx(means[:3].mean() - means.mean())
    assert of["LLM", "y"].mean == pytest.approx(means[[1, 4]].mean() - means.mean())
    per_question = values[:, :3].mean(1) - values.mean(1)
    assert of["RAG method", "A"].error == pytest.approx(per_question.std(ddof=1) / math.sqrt(60))
    assert of["RAG method", "A"].n == 60


def test_the_factor_that_matters_is_first_and_says_which_choice_is_better():
    found = effects(score_table(simulated()))
    first, second = found.factors
    assert (first.factor, first.better, first.worse, first.matters) == ("RAG method", "B", "A", True)
    assert first.difference.mean == pytest.approx(0.2, abs=0.03)
    assert first.share > 0.95
    assert not second.matters
    assert sum(one.share for one in found.factors) + found.interactions[0].share == pytest.approx(1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_level_that_differs_from_the_average_alone_makes_its_factor_matter(sign):
    """On each question another of the two other levels is as far from the average, which hides them from each other."""
    up, apart = 0.05 + 0.02 * numpy.sin(numpy.arange(40)), numpy.where(numpy.arange(40) // 2 % 2, 0.3, -0.3)
    scores = 0.5 + sign * numpy.column_stack([up, apart - up / 2, -apart - up / 2])
    results = tuple(TrialResult(Trial(method, "llm", "embed")) for method in "ABC")
    (factor,) = effects(ScoreTable("score", tuple(map(str, range(40))), results, scores, numpy.arange(40))).factors
    assert factor.matters
    assert (factor.better, factor.worse) == (("A", AVERAGE) if sign > 0 else (AVERAGE, "A"))
    assert factor.difference.mean == pytest.approx(up.mean())
    assert factor.difference.low > 0


def test_an_interaction_is_what_two_choices_add_beyond_both():
    values = simulated(extra=0.3)
    (found,) = effects(score_table(values)).interactions
    means = values.mean(0).reshape(2, 3)
    expected = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
    cell = expected["AB".index(found.levels[0]), "xyz".index(found.levels[1])]
    assert found.effect.mean == pytest.approx(cell)
    assert found.levels[1] == "z" and abs(cell) == pytest.approx(0.1, abs=0.02)
    assert found.effect.excludes_zero
    assert found.share == pytest.approx((expected**2).sum() / ((means - means.mean()) ** 2).sum())


def test_a_grid_with_a_gap_is_solved_by_least_squares():
    values = simulated()[:, :5]
    found = effects(score_table(values, GRID[:5]))
    b = numpy.array([0.0, 0, 0, 1, 1])
    y, z = numpy.array([0.0, 1, 0, 0, 1]), numpy.array([0.0, 0, 1, 0, 0])
    reference = numpy.linalg.lstsq(numpy.column_stack([numpy.ones(5), b, y, z]), values.mean(0), rcond=None)[0]
    method = next(one for one in found.factors if one.factor == "RAG method")
    assert method.difference.mean == pytest.approx(reference[1])
    assert found.notes == (
        "Not every combination of RAG method and LLM was run, so their interaction cannot be estimated.",
    )


def test_missing_scores_leave_the_effect_of_the_trial_means():
    values = simulated()
    values[::7, 2] = math.nan
    found = effects(score_table(values))
    means = numpy.nanmean(values, axis=0)
    lifted = next(one for one in found.levels if one.level == "A").effect
    assert lifted.mean == pytest.approx(means[:3].mean() - means.mean())


def test_factors_that_always_change_together_cannot_be_separated():
    found = effects(score_table(simulated()[:, :2], [("A", "x"), ("B", "y")]))
    assert found.factors == ()
    assert "do not separate RAG method, LLM" in found.notes[0]


def test_identical_trials_have_no_effects_and_one_trial_has_no_factors():
    same = effects(score_table(numpy.repeat(numpy.random.default_rng(0).random((30, 1)), 6, axis=1)))
    assert not any(one.matters for one in same.factors)
    assert all(one.share == 0 for one in same.factors)
    assert "No factor" in effects(score_table(numpy.ones((5, 1)), GRID[:1])).notes[0]


def test_a_parameter_is_a_factor_where_every_trial_has_it():
    trials = [Trial("A", "x", "e", {"top_k": k, "window": 1}) for k in (2, 4)] + [Trial("B", "x", "e", {"top_k": 2})]
    assert factor_values(trials) == {"RAG method": ["A", "A", "B"], "top_k": ["2", "4", "2"]}


def test_a_shared_factor_has_its_default_where_a_trial_does_not_name_it():
    trials = [Trial("A", "x", "e"), Trial("A", "x", "e", {"reranker": "llm"}), Trial("B", "x", "e", {"max_tokens": 9})]
    assert factor_values(trials) == {
        "RAG method": ["A", "A", "B"],
        "reranker": ["none", "llm", "none"],
        "max_tokens": ["None", "None", "9"],
    }


def test_models_are_no_factor_where_a_trial_has_none():
    trials = [Trial("A", "x", "e"), Trial("B", "x", ""), Trial("A", "y", "e"), Trial("B", "y", "")]
    assert factor_values(trials) == {"LLM": ["x", "x", "y", "y"], "RAG method": ["A", "B", "A", "B"]}


def test_a_parameter_that_changes_only_with_the_method_is_no_factor_of_its_own():
    values = simulated()
    table = score_table(values)
    results = tuple(
        TrialResult(Trial(method, llm, "embed", {"top_k": 2 if method == "A" else 6})) for method, llm in GRID
    )
    found = effects(ScoreTable("score", table.question_ids, results, values, table.clusters))
    assert [one.factor for one in found.factors] == [one.factor for one in effects(table).factors]
    assert found.notes == ("Confounded with other factors, so part of their effects: top_k.",)


@pytest.mark.whole
def test_among_equal_trials_any_statement_is_seldom_false():
    random, false = numpy.random.default_rng(1), 0
    for _ in range(100):
        found = effects(simulated_table(numpy.clip(random.normal(0.6, 0.2, (40, 12)), 0, 1)))
        false += any(
            [
                *(factor.matters for factor in found.factors),
                *(level.effect.excludes_zero for level in found.levels),
                *(crossed.effect.excludes_zero for crossed in found.interactions),
            ]
        )
    assert false <= 12  # 5 % of 100 is 5; more than 12 by chance: 0.2 %
