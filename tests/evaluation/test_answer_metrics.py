"""Metrics of an answer against the ground truth, by hand, and as SQuAD's own script computes them."""

import collections
import re
import string

import pytest

from dream.evaluation.answer_metrics import exact_match, numbers_agree, token_f1, why_no_answer_metric


@pytest.mark.parametrize(
    ("answer", "truth", "exact", "f1"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1, 1),
        ("It is 17 m deep", "17 m", 0, 2 * (2 / 5) * 1 / (2 / 5 + 1)),
        ("red red blue", "red blue blue", 0, 2 / 3),
        ("Otters", "Salt mill", 0, 0),
        ("東京タワーです", "東京タワー", 0, 2 * 5 / (7 + 5)),
        ("«Москва»", "москва", 1, 1),
        ("STRASSE", "Straße", 1, 1),
        ("…", "Salt mill", 0, 0),
        ("A", "a", 1, 1),
    ],
)
def test_exact_match_and_token_f1(answer: str, truth: str, exact: float, f1: float):
    assert exact_match("?", answer, truth).value == exact
    assert token_f1("?", answer, truth).value == pytest.approx(f1)


def squad_tokens(text: str) -> list[str]:
    """As in the evaluation script of SQuAD 1.1."""
    text = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


@pytest.mark.parametrize(
    "answer", ["The U.S. won't pay $1,000.50 (net).", "An answer, in short: it's well-known", "17"]
)
@pytest.mark.parametrize("truth", ["US wont pay 1000.50", "the answer's well-known", "17 metres", "an apple a day"])
def test_english_is_as_in_squad(answer: str, truth: str):
    given, wanted = squad_tokens(answer), squad_tokens(truth)
    same = sum((collections.Counter(given) & collections.Counter(wanted)).values())
    f1 = 2 * (same / len(given)) * (same / len(wanted)) / (same / len(given) + same / len(wanted)) if same else 0
    assert token_f1("?", answer, truth).value == pytest.approx(f1)
    assert exact_match("?", answer, truth).value == float(given == wanted)


@pytest.mark.parametrize(
    ("question", "answer", "truth", "value"),
    [
        ("How deep?", "Seventeen metres, or 17.0 m.", "17 metres", 1),
        ("How deep?", "It is 71 m deep.", "17 metres", 0),
        ("How much?", "1.2 million USD (7 %)", "USD 1,200,000, which is 8 %", 0.5),
        ("How many in 2022?", "127", "In 2022 it was 127.", 1),  # the question's own number is not asked for
        ("Was it 17 or 19?", "19", "17", 0),
        ("Was it 17 or 19?", "17", "17", 1),
        ("How many?", "3 and 4 and 5", "3", 1),
        ("How many?", "None.", "3 of 3, or 4", 0),
    ],
)
def test_numbers_agree(question: str, answer: str, truth: str, value: float):
    assert numbers_agree(question, answer, truth).value == value


def test_what_is_missing_is_told():
    assert numbers_agree("How much?", "1.2 million", "1,200,000 and 8 %").reason == "missing: 8 %"
    assert numbers_agree("How much?", "17", "17").reason is None


def test_a_truth_without_a_number_is_outside_of_numbers_agree_alone():
    assert why_no_answer_metric("numbers_agree", "Ida Brandt.") == "the ground truth has no number"
    assert why_no_answer_metric("numbers_agree", "17 m") == ""
    assert why_no_answer_metric("token_f1", "Ida Brandt.") == ""
