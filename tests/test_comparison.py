"""The leaderboard: order, counts and paired intervals against hand-computed numbers and scipy's own paired test."""

import math

import pytest
from scipy import stats

from dream.comparison import leaderboard, leaderboard_text, paired_difference
from dream.errors import ConfigurationError, DataError
from dream.plots import parallel_coordinates
from dream.records import Answer, Evaluation, ExperimentResult, GoldenQuestion, Score, Trial, TrialResult

QUESTIONS = [GoldenQuestion(f"q{i}", f"question {i}", "truth") for i in range(4)]


def trial_result(llm: str, values: list[float | None]) -> TrialResult:
    answers = tuple(Answer(question.id, "text") for question in QUESTIONS)
    scores = tuple(
        Score(question.id, "answer_correctness", value, error=None if value is not None else "judge said nothing")
        for question, value in zip(QUESTIONS, values, strict=True)
    )
    return TrialResult(Trial("chunks_with_overlap", llm, "embed", {"top_k": 3}), Evaluation(answers, scores), 1.0, 10)


def experiment(*results: TrialResult, offline: bool = False) -> ExperimentResult:
    manifest = {
        "name": "test",
        "offline": offline,
        "metrics": ["answer_correctness"],
        "golden_dataset": {"questions": [vars(question) for question in QUESTIONS]},
    }
    return ExperimentResult("test", manifest, results)


def test_paired_difference_equals_the_hand_computed_interval():
    # differences 0.1, 0.3, 0.2: mean 0.2, standard deviation 0.1, t(2, 97.5 %) = 4.302653
    first = {"a": 0.6, "b": 0.9, "c": 0.7, "only here": 0.0}
    second = {"a": 0.5, "b": 0.6, "c": 0.5}
    mean, low, high = paired_difference(first, second)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert mean == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)


def test_paired_difference_equals_scipys_paired_test():
    first = {str(i): value for i, value in enumerate([0.2, 0.9, 0.4, 0.7, 1.0, 0.3])}
    second = {str(i): value for i, value in enumerate([0.1, 0.95, 0.2, 0.8, 0.7, 0.3])}
    reference = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
    assert paired_difference(first, second)[1:] == pytest.approx((reference.low, reference.high))


def test_one_common_question_has_no_interval_and_none_has_no_difference():
    mean, low, high = paired_difference({"a": 1.0}, {"a": 0.25})
    assert mean == 0.75
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(paired_difference({"a": 1.0}, {"b": 1.0})[0])


def test_highest_mean_first_failed_scores_counted_and_failed_trials_last():
    failed = TrialResult(Trial("sentence_window", "broken", "embed"), error="ServiceError: gone")
    table = leaderboard(
        experiment(failed, trial_result("low", [0.1, 0.2, None, 0.3]), trial_result("high", [0.9, 0.8, 0.7, 1.0]))
    )
    assert list(table["LLM"]) == ["high", "low", "broken"]
    assert list(table["scored"]) == ["4 of 4", "3 of 4", "0 of 0"]
    assert table["answer_correctness"].iloc[1] == pytest.approx(0.2)  # over the three scored, not over four
    # pairs on q0, q1, q3: -0.8, -0.6, -0.7
    assert table["difference"].iloc[1] == pytest.approx(-0.7)
    assert list(table["told apart"]) == [False, True, False]
    assert table["error"].iloc[2] == "ServiceError: gone"


def test_the_text_names_ties_and_says_that_scores_are_offline():
    same = [0.5, 0.6, 0.7, 0.8]
    outcome = experiment(trial_result("one", same), trial_result("two", same), offline=True)
    text = leaderboard_text(leaderboard(outcome), outcome)
    assert "2 of 2 trials cannot be told apart" in text
    assert "say nothing about a real LLM" in text


def test_unknown_metric_and_nothing_scored_are_errors_that_say_why():
    with pytest.raises(ConfigurationError, match="valid: answer_correctness"):
        leaderboard(experiment(trial_result("one", [0.5] * 4)), "accuracy")
    with pytest.raises(DataError, match="no trial of 'test' has a score"):
        leaderboard(experiment(trial_result("one", [None] * 4)))


def test_parallel_coordinates_draws_each_scored_trial_once():
    figure = parallel_coordinates(
        experiment(
            trial_result("one", [0.5] * 4),
            trial_result("two", [0.6] * 4),
            TrialResult(Trial("sentence_window", "broken", "embed"), error="gone"),
            offline=True,
        )
    )
    axes = {axis["label"]: list(axis["values"]) for axis in figure.data[0]["dimensions"]}
    assert list(axes) == ["RAG method", "LLM", "embedding model", "answer correctness"]
    assert axes["answer correctness"] == pytest.approx([0.6, 0.5])
    assert "1 failed and left out" in figure.layout.title.text
    assert "offline" in figure.layout.title.text
