"""The comparison: order, counts and intervals against hand-computed numbers and scipy's paired test."""

import math
from dataclasses import replace

import numpy
import pytest
from scipy import stats
from simulated import JUDGE_FAILED, experiment as simulated_experiment, grid, mixed

from dream import compare
from dream.comparison.comparison import paired_difference
from dream.comparison.leaderboard_table import leaderboard, leaderboard_text, verdict, verdict_of
from dream.errors import ConfigurationError, DataError
from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)

QUESTIONS = [GoldenQuestion(f"q{i}", f"question {i}", "truth") for i in range(4)]


def trial_result(llm: str, values: list[float | None]) -> TrialResult:
    answers = tuple(Answer(question.id, "text") for question in QUESTIONS)
    scores = tuple(
        Score(question.id, "answer_correctness", value, failure=None if value is not None else JUDGE_FAILED)
        for question, value in zip(QUESTIONS, values, strict=True)
    )
    return TrialResult(Trial("chunks_with_overlap", llm, "embed", {"top_k": 3}), Evaluation(answers, scores), 1.0, 10)


def experiment(*results: TrialResult, offline: bool = False) -> ExperimentResult:
    manifest = Manifest("test", GoldenDataset(tuple(QUESTIONS)), ("answer_correctness",), offline=offline)
    return ExperimentResult("test", manifest, results)


def test_paired_difference_equals_the_hand_computed_interval():
    # differences 0.1, 0.3, 0.2: mean 0.2, standard deviation 0.1, t(2, 97.5 %) = 4.302653
    first = {"a": 0.6, "b": 0.9, "c": 0.7, "only here": 0.0}
    second = {"a": 0.5, "b": 0.6, "c": 0.5}
    mean, low, high = paired_difference(first, second)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert mean == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)


def test_scores_of_another_scale_are_never_clipped_in_silence():
    first, second = {"a": 5.0, "b": 4.0, "c": 4.5, "d": 4.0}, {"a": 2.0, "b": 1.5, "c": 1.0, "d": 1.0}
    with pytest.raises(ConfigurationError, match=r"6 score\(s\) are outside of the scale, e.g. 5, 4, 4.5.*scale="):
        paired_difference(first, second)
    mean, low, high = paired_difference(first, second, scale=(0, 5))
    assert mean == pytest.approx(3.0) and 2 < low < 3 < high < 4
    with pytest.raises(ConfigurationError, match="inf"):
        paired_difference({"a": math.inf}, {"a": 0.5})


def test_paired_difference_equals_scipys_paired_test():
    first = {str(i): value for i, value in enumerate([0.2, 0.9, 0.4, 0.7, 1.0, 0.3])}
    second = {str(i): value for i, value in enumerate([0.1, 0.95, 0.2, 0.8, 0.7, 0.3])}
    reference = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
    assert paired_difference(first, second)[1:] == pytest.approx((reference.low, reference.high))


def test_without_two_common_questions_everything_is_possible():
    assert paired_difference({"a": 1.0}, {"a": 0.25}) == (0.75, -1, 1)
    assert paired_difference({"a": 1.0}, {"b": 1.0}) == (0, -1, 1)


def test_highest_mean_first_failed_scores_counted_and_failed_trials_last():
    failed = TrialResult(
        Trial("sentence_window", "broken", "embed"), failure=Failure(FailureKind.SERVICE, "ServiceError: gone")
    )
    outcome = experiment(failed, trial_result("low", [0.1, 0.2, None, 0.3]), trial_result("high", [0.9, 0.8, 0.7, 1.0]))
    table = leaderboard(outcome, failure_share=0.25)
    assert list(table["LLM"]) == ["high", "low", "broken"]
    assert list(table["scored"]) == ["4 of 4", "3 of 4", "0 of 4"]
    assert table["answer_correctness"].iloc[1] == pytest.approx(0.2)  # over the three scored, not over four
    # pairs on q0, q1, q3: -0.8, -0.6, -0.7
    assert table["difference"].iloc[1] == pytest.approx(-0.7)
    # the missing score of q2 may be as good as the 0.7 there, or 0.3 better, and four questions show little
    assert list(table["distinguishable"]) == [False, False, False]
    assert list(table["in set"]) == [True, True, False]
    assert table["error"].iloc[2] == "ServiceError: gone"
    strict = leaderboard(outcome)
    assert strict["not ranked"].iloc[1] == "1 of 4 scores are missing (25%), more than the 10% allowed"


def test_the_text_names_ties_and_says_that_scores_are_offline():
    same = [0.5, 0.6, 0.7, 0.8]
    outcome = experiment(trial_result("one", same), trial_result("two", same), offline=True)
    table = leaderboard(outcome)
    text = leaderboard_text(table, outcome)
    assert "2 of 2 trials are statistically indistinguishable from the best" in text
    assert "4 question(s) are too few" in text
    assert "say nothing about a real LLM" in text
    assert text.endswith(verdict(table, outcome))


def test_the_text_has_usd_where_prices_are_known_and_tokens_where_they_are_not():
    def titles(*usd: float | None) -> tuple[bool, bool]:
        results = [
            replace(
                trial_result(f"llm-{n}", [0.5, 0.6, 0.7, 0.8]),
                usage=(UsageRow("x", f"llm-{n}", "answer", prompt_tokens=400, usd_full=each),),
            )
            for n, each in enumerate(usd)
        ]
        outcome = experiment(*results)
        text = leaderboard_text(leaderboard(outcome), outcome)
        return "USD per 1,000 questions" in text, "tokens per question" in text

    assert titles(0.01, 0.02) == (True, False)
    assert titles(0.01, None) == (True, True)
    assert titles(None, None) == titles(0.0, 0.0) == (False, True)


def test_unknown_metric_and_nothing_scored_are_errors_that_say_why():
    with pytest.raises(ConfigurationError, match="valid: answer_correctness"):
        leaderboard(experiment(trial_result("one", [0.5] * 4)), "accuracy")
    with pytest.raises(DataError, match="no trial of 'test' has a score"):
        leaderboard(experiment(trial_result("one", [None] * 4)))
    with pytest.raises(DataError, match="allow more with failure_share"):
        compare(experiment(trial_result("one", [None, 0.5, 0.5, 0.5])))
    with pytest.raises(ConfigurationError, match="failure_share=10"):
        compare(experiment(trial_result("one", [0.5] * 4)), failure_share=10)


def test_the_verdict_tells_the_doubt_before_the_recommendation():
    outcome = experiment(trial_result("one", [0.9] * 4), trial_result("two", [0.9, 0.9, 0.1, 0.9]))
    text = verdict(leaderboard(outcome), outcome)
    assert text.index("Not settled: 4 questions cannot tell") < text.index("Recommended so far: ")


def test_the_questions_of_one_document_stay_together():
    random = numpy.random.default_rng(5)
    shift = numpy.repeat(random.normal(0, 0.1, 12), 10)
    scores = {"m": numpy.column_stack([numpy.full(120, 0.5), 0.5 + shift + random.normal(0, 0.01, 120)])}
    files = [f"{place // 10}.pdf" for place in range(120)]
    outcome = simulated_experiment(scores, files=files)
    together, apart = compare(outcome, "m"), compare(outcome, "m", clustered=False)
    widths = [one.standings[1].difference for one in (together, apart)]
    assert widths[0] and widths[1] and widths[0].high - widths[0].low > 2 * (widths[1].high - widths[1].low)
    assert together.n_clusters == 12
    assert "120 questions from 12 documents" in together.notes[0]
    few = compare(simulated_experiment(scores, files=[f"{place // 60}.pdf" for place in range(120)]), "m")
    assert few.n_clusters == 2 and "fewer than 6 documents, little can be generalised" in few.notes[0]
    one = compare(simulated_experiment(scores, files=["only.pdf"] * 120), "m")
    assert one.n_clusters == 120 and "only hold for further questions on this document" in one.notes[0]


def test_a_weighted_mean_of_metrics_counts_questions_that_have_all_of_them():
    first, second = numpy.array([[0.2, 1.0], [0.4, 0.8]]), numpy.array([[1.0, 0.0], [math.nan, 0.4]])
    outcome = simulated_experiment({"a": first, "b": second})
    found = compare(outcome, weights={"a": 3, "b": 1}, failure_share=0.5)
    assert found.metric == "0.75 a + 0.25 b"
    means = {one.trial.query_engine_identifier: (one.mean, one.n_scored) for one in found.standings}
    assert means["method_0"] == (pytest.approx(0.75 * 0.2 + 0.25), 1)
    assert means["method_1"] == (pytest.approx((0.75 + 0.75 * 0.8 + 0.25 * 0.4) / 2), 2)


def test_the_order_of_the_trials_changes_no_interval():
    values = mixed(numpy.random.default_rng(3), 40, numpy.linspace(0, 0.4, 6))
    trials, order = grid(6), [3, 5, 0, 2, 4, 1]
    one = compare(simulated_experiment({"m": values}, trials), "m")
    other = compare(simulated_experiment({"m": values[:, order]}, [trials[place] for place in order]), "m")
    assert [each.trial for each in one.standings] == [each.trial for each in other.standings]
    for here, there in zip(one.ranked[1:], other.ranked[1:], strict=True):
        assert here.difference and there.difference
        assert (here.difference.low, here.difference.high) == pytest.approx(
            (there.difference.low, there.difference.high)
        )


def test_power_and_effects_come_with_every_comparison():
    values = mixed(numpy.random.default_rng(4), 80, numpy.linspace(0, 0.4, 12))
    found = compare(simulated_experiment({"m": values}), "m")
    assert found.power and found.power.n_questions == 80 and 0 < found.power.level < 0.05
    assert {one.factor for one in found.effects.factors} == {"RAG method", "LLM", "embedding model"}
    assert len(found.effects.interactions) == 3


def test_power_is_unknown_where_bets_decide():
    """Nearly the same difference on every question has hardly a spread, and yet bets cannot exclude rare losses."""
    values = numpy.tile([0.50, 0.46], (50, 1))
    values[0, 1] = 0.45
    found = compare(simulated_experiment({"m": values}), "m")
    assert found.ranked[1].interval_by == "betting: almost constant differences"
    assert found.ranked[1].in_set and found.power is None


def test_a_mean_that_is_not_shrunken_is_told_once():
    values = numpy.tile(numpy.linspace(0.2, 0.8, 4), (30, 1)) + numpy.random.default_rng(0).normal(0, 1e-4, (30, 4))
    found = compare(simulated_experiment({"m": values}), "m")
    assert found.best.shrunken == pytest.approx(found.best.mean, abs=1e-4)
    assert "partly luck" not in verdict_of(found)


def test_results_from_before_prices_were_metered_can_be_compared():
    outcome = simulated_experiment({"answer_correctness": numpy.tile([0.9, 0.5], (12, 1))})
    old = []
    for result in outcome.results:
        data = result.to_json()
        for row in data["usage"]:
            del row["usd_full"]
        old.append(TrialResult.from_json(data))
    found = compare(ExperimentResult("old", outcome.manifest, tuple(old)))
    assert found.best.cost.usd is None and found.best.cost.tokens == 950
