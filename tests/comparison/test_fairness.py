"""Fairness: what each trial read, counted by hand, and the warnings that a comparison needs; the split of the loss."""

from dataclasses import replace

import pytest

from dream.comparison.fairness import Fairness, check_fairness
from dream.comparison.loss_split import split_loss
from dream.errors import DataError
from dream.evaluation.asking import NOTHING_RETRIEVED
from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    Manifest,
    Passage,
    Trial,
    TrialResult,
)


def passage(text: str, tokens: int = 100) -> Passage:
    return Passage(text, tokens=tokens)


def result(method: str, llm: str, passages: list[list[Passage]], texts: list[str], **parameters: int) -> TrialResult:
    answers = tuple(
        Answer(f"q{i}", text if read else None, tuple(read), failure=None if read else NOTHING_RETRIEVED)
        for i, (read, text) in enumerate(zip(passages, texts, strict=True))
    )
    return TrialResult(Trial(method, llm, "embed", parameters), Evaluation(answers, ()))


def checked(*results: TrialResult) -> Fairness:
    return check_fairness(ExperimentResult("test", Manifest("test", GoldenDataset(()), ()), results))


TWO = [[passage("one"), passage("two")], [passage("one"), passage("three")]]


def test_what_a_trial_read_is_counted_over_the_questions_that_read_something():
    read = [[passage("one", 100), passage("one", 100), passage("two", 50)], [passage("x", 50)], []]
    found = checked(result("a", "x", read, ["1", "2", "3"], context_tokens=512))
    (reading,) = found.readings
    assert (reading.n_answers, reading.context_tokens, reading.passages, reading.duplicates) == (3, 150, 2, 0.5)
    assert reading.empty_share == pytest.approx(1 / 3)
    assert any("have repeated passages" in warning for warning in found.warnings)
    assert any("nothing for some questions, up to 33%" in warning for warning in found.warnings)


def test_trials_of_one_budget_that_read_differently_get_a_warning():
    more = [[passage("one", 150), passage("two", 120)]] * 2
    found = checked(
        result("a", "x", TWO, ["1", "2"], context_tokens=512), result("b", "x", more, ["3", "4"], context_tokens=512)
    )
    (warning,) = found.warnings
    assert "context_tokens=512" in warning and "270 in b + x + embed and 200 in a + x + embed (35% more)" in warning


def test_trials_of_different_budgets_were_meant_to_read_differently():
    more = [[passage("one", 150), passage("two", 120)]] * 2
    found = checked(
        result("a", "x", TWO, ["1", "2"], context_tokens=512), result("b", "x", more, ["3", "4"], context_tokens=1024)
    )
    assert found.warnings == ()


def test_a_difference_up_to_a_fifth_is_accepted():
    more = [[passage("one", 120), passage("two", 120)]] * 2
    assert checked(result("a", "x", TWO, ["1", "2"]), result("b", "x", more, ["3", "4"])).warnings == ()


def test_trials_of_one_method_should_read_as_many_passages():
    three = [[passage("one", 70), passage("two", 70), passage("three", 60)]] * 2
    found = checked(result("a", "x", TWO, ["1", "2"]), result("a", "y", three, ["3", "4"]))
    assert "passages per question" in found.warnings[0] and "50% more" in found.warnings[0]


def test_identical_output_and_a_factor_without_effect_are_told():
    found = checked(
        result("a", "x", TWO, ["1", "2"]),
        result("a", "y", TWO, ["1", "2"]),
        result("b", "x", TWO, ["3", "2"]),
        result("b", "y", TWO, ["3", "2"]),
    )
    assert "identical answers to every question: a + x + embed and a + y + embed" in found.warnings
    assert [one for one in found.warnings if "has no effect" in one] == [
        "LLM has no effect: trials that differ only in it give identical answers to every question"
    ]


def test_many_identical_pairs_are_summed_up_and_no_trials_give_no_warning():
    many = checked(*(result("a", f"llm-{i}", TWO, ["1", "2"]) for i in range(6)))
    assert "identical answers to every question: 5 more pairs of trials" in many.warnings
    assert checked(TrialResult(Trial("a", "x", "e"), failure=Failure(FailureKind.SERVICE, "gone"))) == checked()


def test_the_loss_is_split_into_retrieval_and_generation():
    closed, oracle = dict.fromkeys("abcd", 0.1), {"a": 0.9, "b": 1.0, "c": 0.7, "d": 0.8}
    retrieved = {"a": 0.5, "b": 1.0, "c": 0.8, "d": 0.2, "e": 0.0}
    split = split_loss(closed, oracle, retrieved)
    assert split.generation.mean == pytest.approx((0.1 + 0 + 0.3 + 0.2) / 4)
    assert split.retrieval.mean == pytest.approx((0.4 + 0 - 0.1 + 0.6) / 4)
    assert split.gain.mean == pytest.approx(0.625 - 0.1)
    assert split.generation.mean + split.retrieval.mean == pytest.approx(1 - 0.625)
    assert split.retrieval_share == pytest.approx(0.225 / 0.375)
    assert [one.question_id for one in split.questions] == ["d", "a", "c", "b"]
    assert split.questions[2].retrieval == pytest.approx(-0.1)
    assert split.left_out == 1
    assert "Retrieval accounts for 60% of the loss" in split.text


def test_nothing_lost_has_no_shares_and_nothing_in_common_is_refused():
    assert split_loss({"a": 0.0}, {"a": 1.0}, {"a": 1.0}).retrieval_share is None
    with pytest.raises(DataError, match="run the baselines on the same golden dataset"):
        split_loss({"a": 0.0}, {"b": 1.0}, {"a": 1.0})


def test_answers_that_were_cut_are_counted():
    whole, cut = (result("a", llm, TWO, ["1", llm]) for llm in "xy")
    answers = tuple(replace(answer, is_cut=True) for answer in cut.answers)
    found = checked(whole, replace(cut, evaluation=Evaluation(answers, ())))
    (warning,) = (warning for warning in found.warnings if "cut at the token limit" in warning)
    assert warning.startswith("2 answer(s) of 1 trial(s) were cut at the token limit (DREAM_MAX_ANSWER_TOKENS)")
    assert "up to 2 of 2 in a + y" in warning
    assert not any("cut at the token limit" in warning for warning in checked(whole).warnings)
