"""The recommendation: the cheapest of the trials within the margin, with its reason, its doubt and the remedy."""

import math

import numpy
import pytest
from simulated import experiment as simulated_experiment, grid, mixed, true_means

from dream import compare
from dream.comparison.comparison import Comparison
from dream.comparison.intervals import Interval
from dream.comparison.ranking import Standing
from dream.comparison.recommendation import recommend
from dream.comparison.running_cost import Cost
from dream.errors import ConfigurationError
from dream.records import Trial

RANDOM = numpy.random.default_rng(0)
GOOD = RANDOM.uniform(0.7, 0.9, 60)
NEAR = GOOD + RANDOM.normal(0, 0.05, 60)  # equal but for luck
ABOVE = NEAR + (GOOD.mean() - NEAR.mean()) + 0.004  # a little higher mean, which shows nothing
BAD = GOOD - 0.3 + RANDOM.normal(0, 0.05, 60)


def compared(*columns: numpy.ndarray, usd: list[float | None] | None = None, **options: object) -> Comparison:
    outcome = simulated_experiment({"answer_correctness": numpy.column_stack(columns)}, usd=usd)
    return compare(outcome, **options)  # pyright: ignore[reportArgumentType]


def test_the_cheapest_of_those_that_cannot_be_told_apart_is_recommended():
    found = compared(GOOD, NEAR, BAD, usd=[0.0061, 0.001, 0.0001])
    cheap = next(one for one in found.tie_set if one.cost.usd == 0.001)
    assert len(found.tie_set) == 2
    assert found.recommended is cheap
    if found.best is not cheap:
        assert cheap.difference
        within = math.ceil(-100 * cheap.difference.low) / 100
        assert f"within {within:.2f} of the best on answer_correctness (95 % interval), 6.1 times cheaper" in (
            found.recommendation.reason
        )
    assert found.recommendation.reason.startswith("`method_1` + `llm-0` + `embed-0`: ")


def test_a_dearer_trial_is_recommended_only_where_it_is_shown_to_be_better():
    alone = compared(GOOD, BAD, usd=[1.0, 0.001])
    assert alone.recommended is alone.best
    assert "significantly better than each of the other 1" in alone.recommendation.reason


FEW_GOOD = numpy.array([0.9] * 12)
FEW_BAD = numpy.array([0.9, 0.9, 0.8, 0.9, 0.0, 0.9, 0.0, 0.9, 0.8, 0.9, 0.0, 0.9])  # 0.242 lower, which is not shown


def test_a_measured_loss_above_the_margin_is_not_taken_for_a_lower_price():
    found = compared(FEW_GOOD, FEW_BAD, usd=[0.2, 0.1])
    assert len(found.tie_set) == 2
    assert found.recommended is found.best
    assert "means more than 0.05 lower" in found.recommendation.reason
    anything = compared(FEW_GOOD, FEW_BAD, usd=[0.2, 0.1], margin=1)
    assert anything.recommended is anything.standings[1]
    with pytest.raises(ConfigurationError, match="margin=2"):
        compared(FEW_GOOD, FEW_BAD, margin=2)


@pytest.mark.whole
def test_the_margin_limits_what_the_recommended_trial_truly_loses():
    # a small version of the last table of tests/benchmarks/choosing.md: each trial is better and dearer than the last
    random, quality, trials = numpy.random.default_rng(8), numpy.linspace(0, 1.2, 6), grid(6)
    truth = true_means(mixed, quality, 100_000)
    lost: dict[float, list[float]] = {1.0: [], 0.05: []}
    wrong = 0
    for _ in range(15):
        outcome = simulated_experiment(
            {"m": mixed(random, 20, quality)}, trials, usd=[2.0**place for place in range(6)]
        )
        for margin, losses in lost.items():
            found = compare(outcome, "m", margin=margin).recommendation
            losses.append(truth.max() - truth[trials.index(found.trial)])
            wrong += losses[-1] > margin and not found.doubt
    assert wrong <= 3  # 5 % of 15 is less than 1; more than 3 by chance: 0.5 %
    assert numpy.mean(lost[0.05]) < 0.6 * numpy.mean(lost[1.0])


def test_where_the_questions_cannot_tell_the_recommendation_says_so_and_how_many_could():
    found = compared(FEW_GOOD, FEW_BAD, usd=[0.2, 0.1])
    assert found.recommendation.doubt == ""  # the other is at most a hair better
    cheap = compared(FEW_GOOD, FEW_BAD, usd=[0.2, 0.1], margin=0.25).recommendation
    assert cheap.doubt.startswith(
        "12 questions cannot tell which trial is best: the recommended trial has a mean 0.242"
    )
    low = found.standings[1].difference
    assert low and f"may be up to {math.ceil(-low.low * 100) / 100:.2f} worse; the margin is 0.25" in cheap.doubt
    assert cheap.reason.endswith("statistically indistinguishable from it, 2.0 times cheaper")
    noise = numpy.random.default_rng(1).normal(0, 0.3, 12)
    luck = compared(GOOD[:12], numpy.clip(GOOD[:12] + noise, 0, 1), usd=[0.1, 0.1])
    assert luck.power and luck.recommended is luck.best
    assert "the recommended trial has the highest mean, but another may be up to" in luck.recommendation.doubt
    assert (
        f"About {luck.power.needed[0.05]:,} questions would detect a difference of 0.05." in luck.recommendation.doubt
    )


def test_enough_questions_leave_no_doubt_and_those_of_few_documents_ask_for_documents():
    sure = compared(GOOD, NEAR, BAD, usd=[0.0061, 0.001, 0.0001])
    assert sure.recommendation.doubt == ""
    values = mixed(numpy.random.default_rng(6), 40, numpy.zeros(3))
    outcome = simulated_experiment({"m": values}, files=[f"{place // 5}.pdf" for place in range(40)])
    found = compare(outcome, "m")
    assert found.power
    needed = found.power.needed[0.05]
    assert f"About {needed:,} questions from about {math.ceil(needed / 5):,} documents" in found.recommendation.doubt


def test_without_prices_tokens_decide_and_the_reason_says_so():
    # the tokens grow with the place in the grid, so the first is cheaper than the second, which is on top
    found = compared(GOOD, ABOVE, usd=[None, 0.1])
    assert found.best.trial.query_engine_identifier == "method_1"
    assert found.recommendation.trial.query_engine_identifier == "method_0"
    assert found.recommendation.decided_by == "tokens"
    assert "fewer tokens per question (prices are unknown)" in found.recommendation.reason
    assert found.cost_unit == "tokens"


def test_equal_prices_leave_it_to_tokens_and_free_is_free():
    equal = compared(GOOD, ABOVE, usd=[0.0, 0.0])
    assert "fewer tokens per question (the price is the same)" in equal.recommendation.reason
    free = compared(GOOD, ABOVE, usd=[0.0, 0.5])
    assert free.recommendation.reason.endswith("free of charge")


def test_one_trial_and_one_question_give_clear_results():
    one = compared(GOOD)
    assert one.recommendation.reason.endswith("the only trial that could be ranked")
    assert one.power is None
    assert any("Only one trial" in note for note in one.notes)
    single = compared(numpy.array([0.9]), numpy.array([0.1]))
    assert len(single.tie_set) == 2
    assert single.standings[1].difference and single.standings[1].difference.low == -1
    assert single.recommended is single.best and "another may be up to 1.00 better" in single.recommendation.doubt
    assert "Use more questions, at least 50." in single.recommendation.doubt


def test_identical_trials_are_recommended_by_cost_with_the_plain_reason():
    found = compared(GOOD, GOOD, usd=[0.2, 0.1])
    assert found.recommendation.reason.endswith(
        "the same answer_correctness as the best on every question, 2.0 times cheaper"
    )


def standing(rank: int, mean: float, low: float, cost: Cost, in_set: bool = True) -> Standing:
    """A trial that measured `mean` against the best (rank 1), where the interval reaches down to `low`."""
    difference = Interval(mean, low, 0.02, None, 30) if rank > 1 else None
    trial = Trial("method", f"llm-{rank}", "embed")
    return Standing(trial, rank, 0.8 + mean, 30, 30, 0.0, 1.0, cost, {}, difference, in_set=in_set, may_lose=-low)


@pytest.mark.parametrize(
    ("best", "other", "chosen", "decided_by", "advantage"),
    [
        (Cost(0.2, 100, 1.0), Cost(0.1, 900, 9.0), 2, "USD", "2.0 times cheaper"),
        (Cost(0.2, 100, 1.0), Cost(0.0, 900, 9.0), 2, "USD", "free of charge"),
        (Cost(0.102, 100, 1.0), Cost(0.1, 100, 1.0), 2, "USD", "2.0% cheaper"),
        (
            Cost(None, 300, 1.0),
            Cost(0.1, 100, 9.0),
            2,
            "tokens",
            "3.0 times fewer tokens per question (prices are unknown)",
        ),
        (Cost(0.1, 100, 3.0), Cost(0.1, 100, 2.0), 2, "latency", "1.5 times faster (the price is the same)"),
        (Cost(None, None, 3.0), Cost(None, None, 2.0), 2, "latency", "1.5 times faster (prices are unknown)"),
        (Cost(0.1, 100, 2.0), Cost(0.1, 100, 2.0), 1, "quality", ""),
        (Cost(0.1, 100, 2.0), Cost(0.09999999, 100, 2.0), 1, "quality", ""),  # equal to five digits
        (Cost(None, None, None), Cost(None, None, None), 1, "quality", ""),
    ],
)
def test_usd_decides_then_tokens_then_latency_then_the_mean(best, other, chosen, decided_by, advantage):
    recommendation = recommend([standing(1, 0, 0, best), standing(2, -0.01, -0.04, other)], "m")
    assert recommendation.trial.llm_identifier == f"llm-{chosen}"
    assert (recommendation.decided_by, recommendation.advantage) == (decided_by, advantage)


def test_a_cheap_trial_outside_the_set_or_the_margin_is_not_a_candidate():
    dear, cheap, free = Cost(0.2, 100, 1.0), Cost(0.1, 100, 1.0), Cost(0.0, 100, 1.0)
    trials = [
        standing(1, 0, 0, dear),
        standing(2, -0.05, -0.05, cheap),  # exactly the margin
        standing(3, -0.06, -0.09, free),
        standing(4, -0.01, -0.02, free, in_set=False),
    ]
    recommendation = recommend(trials, "m", margin=0.05)
    assert recommendation.trial.llm_identifier == "llm-2"
    assert "within 0.05 of the best" in recommendation.quality
    assert recommendation.doubt == ""
    wider = recommend(trials, "m", margin=0.06)
    assert wider.trial.llm_identifier == "llm-3"
    assert "may be up to 0.09 worse" in wider.doubt
