"""The table of scores: missing cells, means and their bounds by hand, weights, and questions of one document."""

from collections.abc import Sequence
from dataclasses import replace

import numpy
import pytest
from simulated import experiment

from dream.comparison.comparison import compare
from dream.comparison.score_table import checked_weights, score_table, scores_of
from dream.errors import ConfigurationError, DataError
from dream.records import ExperimentResult, Failure, FailureKind, Score, TrialResult

NONE = numpy.nan
VALUES = numpy.array([[0.2, 1.0], [0.4, NONE], [0.6, 0.5], [NONE, NONE]])


def test_rows_are_questions_columns_are_trials_and_a_failed_score_is_missing():
    outcome = experiment({"m": VALUES, "other": VALUES / 2})
    table = score_table(outcome, "m")
    assert table.question_ids == ("q0", "q1", "q2", "q3")
    assert table.results == outcome.results
    numpy.testing.assert_equal(table.values, VALUES)
    assert scores_of(outcome.results[1], "other") == {"q0": 0.5, "q2": 0.25}
    assert scores_of(TrialResult(outcome.results[0].trial), "m") == {}


def test_means_count_scored_questions_alone_and_have_bounds():
    table = score_table(experiment({"m": VALUES}), "m")
    assert table.scored.tolist() == [3, 2]
    assert table.means == pytest.approx([0.4, 0.75])
    lowest, highest = table.bounds()
    assert lowest == pytest.approx([1.2 / 4, 1.5 / 4])  # missing scores as 0
    assert highest == pytest.approx([2.2 / 4, 3.5 / 4])  # and as 1


def test_a_trial_without_any_score_has_no_mean():
    table = score_table(experiment({"m": numpy.array([[0.5, NONE], [0.7, NONE]])}), "m")
    numpy.testing.assert_allclose(table.means, [0.6, NONE])
    assert [bound[1] for bound in table.bounds()] == [0, 1]


def test_some_trials_of_a_table_keep_the_order_that_is_asked_for():
    table = score_table(experiment({"m": numpy.array([[0.1, 0.2, 0.3]])}), "m").only([2, 0])
    assert table.values.tolist() == [[0.3, 0.1]]
    assert [result.trial.query_engine_identifier for result in table.results] == ["method_2", "method_0"]


def test_a_weighted_mean_is_missing_where_one_of_its_metrics_is():
    outcome = experiment({"a": VALUES, "b": numpy.ones((4, 2)), "c": numpy.full((4, 2), NONE)})
    table = score_table(outcome, "not used", {"a": 3, "b": 1, "c": 0})
    numpy.testing.assert_allclose(table.values, [[0.4, 1.0], [0.55, NONE], [0.7, 0.625], [NONE, NONE]])
    assert table.metric == "0.75 a + 0.25 b"


@pytest.mark.parametrize(
    ("weights", "mistakes"),
    [
        ({"a": 0}, ["all weights are 0"]),
        ({"a": numpy.inf}, ["all weights are 0, or infinite"]),
        ({}, ["all weights are 0"]),
        ({"c": 1, "b": -1, "a": NONE}, ["'c' was not scored; valid: a, b", "b=-1: ", "a=nan: "]),
    ],
)
def test_weights_that_cannot_be_used_are_named_all_at_once(weights: dict[str, float], mistakes: list[str]):
    with pytest.raises(ConfigurationError) as caught:
        checked_weights(experiment({"a": VALUES, "b": VALUES}), weights)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(mistakes)
    assert all(mistake in line for mistake, line in zip(mistakes, lines, strict=True))


def test_a_metric_that_was_not_scored_is_refused_with_those_that_were():
    with pytest.raises(ConfigurationError, match=r"metric='accuracy' .*valid: a, b"):
        score_table(experiment({"a": VALUES, "b": VALUES}), "accuracy")


def test_scores_on_other_questions_are_refused():
    outcome = experiment({"m": VALUES})
    first = outcome.results[0]
    assert first.evaluation
    scores = (*first.evaluation.scores, Score("elsewhere", "m", 1.0))
    strange = replace(first, evaluation=replace(first.evaluation, scores=scores))
    with pytest.raises(DataError, match=r"(?s)not in its golden dataset.*run these trials again.*elsewhere"):
        score_table(replace(outcome, results=(strange, *outcome.results[1:])), "m")


def test_questions_of_one_document_share_a_number():
    values = numpy.full((10, 2), 0.5)
    files = [f"{place // 2}.pdf" for place in range(10)]
    five = score_table(experiment({"m": values}, files=files), "m")
    assert five.clusters.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert "10 questions from 5 documents" in five.note
    apart = score_table(experiment({"m": values}, files=files), "m", clustered=False)
    assert (apart.clusters.tolist(), apart.note) == (list(range(10)), "")
    four = score_table(experiment({"m": values}, files=[f"{place % 4}.pdf" for place in range(10)]), "m")
    assert four.clusters.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert "10 questions from 4 documents. With fewer than 6 documents" in four.note
    one = score_table(experiment({"m": values}, files=["only.pdf"] * 10), "m")
    assert one.clusters.tolist() == list(range(10)) and "only hold for further questions on this document" in one.note


def failing(outcome: ExperimentResult, column: int, rows: Sequence[int], kind: FailureKind) -> ExperimentResult:
    """An experiment in which a trial has no score on these questions, for a reason of this kind."""
    results = list(outcome.results)
    evaluation = results[column].evaluation
    assert evaluation
    scores = tuple(
        replace(score, value=None, failure=Failure(kind, "failed")) if place in rows else score
        for place, score in enumerate(evaluation.scores)
    )
    results[column] = replace(results[column], evaluation=replace(evaluation, scores=scores))
    return replace(outcome, results=tuple(results))


def test_what_the_system_failed_scores_0_and_what_others_failed_is_missing():
    outcome = experiment({"m": numpy.full((4, 2), 0.8)})
    own = score_table(failing(outcome, 0, [1, 2], FailureKind.EMPTY_ANSWER), "m")
    assert own.values[:, 0].tolist() == [0.8, 0.0, 0.0, 0.8]
    assert (own.scored.tolist(), own.n_failed.tolist()) == ([4, 4], [2, 0])
    assert own.means.tolist() == pytest.approx([0.4, 0.8])
    judge = score_table(failing(outcome, 0, [1, 2], FailureKind.UNREADABLE_JUDGEMENT), "m")
    assert (judge.scored.tolist(), judge.n_failed.tolist()) == ([2, 4], [0, 0])
    assert [each.tolist() for each in judge.bounds()] == [pytest.approx([0.4, 0.8]), pytest.approx([0.9, 0.8])]


def test_where_lower_is_better_a_failure_has_the_worst_score_too():
    outcome = experiment({"noise_sensitivity": numpy.full((4, 2), 0.2)})
    table = score_table(failing(outcome, 0, [1], FailureKind.EXCEPTION), "noise_sensitivity")
    assert table.metric == "(1 - noise_sensitivity)"
    assert table.values[:, 0].tolist() == pytest.approx([0.8, 0.0, 0.8, 0.8])


def test_scores_keep_their_scale_and_impossible_ones_are_refused():
    of_five = score_table(experiment({"m": numpy.array([[0.0, 5.0], [2.0, 4.0]])}), "m")  # an unknown metric
    assert (of_five.limits, of_five.span) == ((0.0, 5.0), 5.0)
    below = score_table(
        experiment({"answer_correctness": numpy.array([[-0.25, 1.0], [0.5, 0.5]])}), "answer_correctness"
    )
    assert (below.limits, below.span) == ((-0.25, 1.0), 1.25)
    with pytest.raises(DataError, match=r"2 score\(s\) outside of 0 to 1.*\n.*5 of method_1.* on q0"):
        score_table(experiment({"faithfulness": numpy.array([[0.0, 5.0], [0.5, 4.0]])}), "faithfulness")
    with pytest.raises(DataError, match=r"infinite score\(s\).*\n.*inf of method_0"):
        score_table(experiment({"m": numpy.array([[numpy.inf, 0.5], [0.5, 0.5]])}), "m")
    with pytest.raises(DataError, match="has no questions"):
        score_table(experiment({"m": numpy.empty((0, 2))}), "m")


def test_each_question_without_a_known_document_is_a_document_of_its_own():
    table = score_table(experiment({"m": VALUES}), "m")
    assert (table.clusters.tolist(), table.note) == ([0, 1, 2, 3], "")


def not_applicable(outcome: ExperimentResult, metric: str, question_id: str, columns: list[int]) -> ExperimentResult:
    """An experiment in which a metric does not apply to a question, as the trials of these columns say."""
    results = list(outcome.results)
    for column in columns:
        evaluation = results[column].evaluation
        assert evaluation
        scores = tuple(
            Score(question_id, metric, None, not_applicable="no number in the ground truth")
            if (score.question_id, score.metric) == (question_id, metric)
            else score
            for score in evaluation.scores
        )
        results[column] = replace(results[column], evaluation=replace(evaluation, scores=scores))
    return replace(outcome, results=tuple(results))


def test_a_question_that_the_metric_does_not_apply_to_is_no_row_and_no_missing_score():
    outcome = not_applicable(experiment({"m": VALUES, "other": VALUES}), "m", "q3", [0, 1])
    table = score_table(outcome, "m")
    assert (table.question_ids, table.not_applicable) == (("q0", "q1", "q2"), 1)
    numpy.testing.assert_equal(table.values, VALUES[:3])
    assert table.scored.tolist() == [3, 2]
    assert score_table(outcome, "other").question_ids == ("q0", "q1", "q2", "q3")
    assert score_table(outcome, "", {"m": 1, "other": 1}).question_ids == ("q0", "q1", "q2")


def test_it_is_no_row_either_where_another_trial_failed_but_is_one_where_another_was_scored():
    assert score_table(not_applicable(experiment({"m": VALUES}), "m", "q3", [0]), "m").question_ids[-1] == "q2"
    assert score_table(not_applicable(experiment({"m": VALUES}), "m", "q0", [0]), "m").question_ids[0] == "q0"


def test_a_metric_that_applies_to_no_question_is_refused():
    outcome = not_applicable(experiment({"m": VALUES[:1], "other": VALUES[:1]}), "m", "q0", [0, 1])
    with pytest.raises(DataError, match=r"m applies to no question of .* compare by another of: m, other"):
        score_table(outcome, "m")


def test_a_comparison_says_how_many_questions_are_left_out():
    outcome = not_applicable(experiment({"m": VALUES}), "m", "q3", [0, 1])
    compared = compare(outcome, "m", failure_share=0.5)
    assert compared.n_questions == 3
    assert "m does not apply to 1 question(s), which are left out." in compared.notes
    assert {standing.n_questions for standing in compared.standings} == {3}


def test_questions_of_a_table_in_another_order_keep_their_documents_together():
    outcome = experiment({"m": VALUES})
    table = replace(score_table(outcome, "m"), clusters=numpy.array([0, 1, 1, 2])).of_questions(["q3", "q1", "q2"])
    numpy.testing.assert_equal(table.values, VALUES[[3, 1, 2]])
    assert table.clusters.tolist() == [1, 0, 0]


def test_where_lower_is_better_trials_are_compared_by_1_minus_the_score():
    outcome = experiment({"noise_sensitivity": VALUES, "m": VALUES})
    table = score_table(outcome, "noise_sensitivity")
    numpy.testing.assert_allclose(table.values, 1 - VALUES)
    assert table.metric == "(1 - noise_sensitivity)"
    best = compare(outcome, "noise_sensitivity", failure_share=0.5).best
    assert (best.trial.query_engine_identifier, best.mean) == ("method_0", pytest.approx(0.6))
    weighted = score_table(outcome, "", {"noise_sensitivity": 1, "m": 1})
    assert weighted.metric == "0.5 (1 - noise_sensitivity) + 0.5 m"
    numpy.testing.assert_allclose(weighted.values, numpy.where(numpy.isnan(VALUES), NONE, 0.5))
