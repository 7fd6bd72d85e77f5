"""Agreement with people: measures against scipy and by hand; every mistake in a labels file named with its row."""

from pathlib import Path

import numpy
import pytest
from scipy import stats
from simulated import experiment

from dream.comparison.human_agreement import agreement, agreement_text, cohens_kappa, read_labels, spearman_interval
from dream.errors import DataError

SCORES = numpy.array([[0.9, 0.2], [0.8, 0.6], [0.1, 0.7], [0.4, numpy.nan]])
OUTCOME = experiment({"correct": SCORES, "upside_down": 1 - SCORES, "same": SCORES * 0 + 0.5})
IDS = [result.trial.id for result in OUTCOME.results]
LABELS = [
    ("q0", 0, 1.0),
    ("q1", 0, 0.9),
    ("q2", 0, 0.0),
    ("q3", 0, 0.6),
    ("q0", 1, 0.1),
    ("q1", 1, 0.5),
    ("q3", 1, 0.5),
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["question_id,trial_id,label", *lines]), encoding="utf-8")
    return path


def test_measures_equal_scipys_and_leave_out_answers_without_a_score(tmp_path: Path):
    lines = [f"{question},{IDS[trial]},{value}" for question, trial, value in LABELS]
    correct, upside_down, same = agreement(OUTCOME, read_labels(write(tmp_path / "labels.csv", *lines), OUTCOME))
    scores, people = [0.9, 0.8, 0.1, 0.4, 0.2, 0.6], [1.0, 0.9, 0.0, 0.6, 0.1, 0.5]
    assert correct.n == 6
    assert correct.spearman == pytest.approx(stats.pearsonr(stats.rankdata(scores), stats.rankdata(people)).statistic)
    # of 15 pairs, 14 are in the same order; only (0.4, 0.6) and (0.6, 0.5) are not
    assert correct.kendall == pytest.approx((14 - 1) / 15)
    # at 0.5: judge yes, yes, no, no, no, yes; people yes, yes, no, yes, no, yes: 5 of 6; by chance 1/2
    assert correct.kappa[0.5] == pytest.approx((5 / 6 - 0.5) / 0.5)
    assert correct.warning == ""
    assert "less than chance" in upside_down.warning and upside_down.spearman == pytest.approx(-correct.spearman)
    assert same.spearman is None and "are equal" in same.warning
    text = agreement_text([correct, upside_down, same])
    assert "WARNING: the judge agrees with these labels less than chance" in text and "undefined" in text


def test_where_lower_is_better_people_agree_with_1_minus_the_score(tmp_path: Path):
    lines = [f"{question},{IDS[trial]},{value}" for question, trial, value in LABELS]
    outcome = experiment({"correct": SCORES, "noise_sensitivity": 1 - SCORES})
    correct, noise = agreement(outcome, read_labels(write(tmp_path / "labels.csv", *lines), outcome))
    assert noise.spearman == pytest.approx(correct.spearman)
    assert noise.warning == ""


def test_kappa_of_a_published_table():
    # Cohen's own kind of table: both yes 20, first only 5, second only 10, both no 15: agreement 0.7, by chance 0.5
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)
    assert cohens_kappa([True, True], [True, True]) is None
    assert cohens_kappa([], []) is None
    assert cohens_kappa([True, True], [False, False]) == 0
    assert cohens_kappa([True, False], [False, True]) == -1


def test_a_trial_can_be_named(tmp_path: Path):
    name = OUTCOME.results[1].trial.name
    (label,) = read_labels(write(tmp_path / "labels.csv", f"q1,{name}, 0.25"), OUTCOME)
    assert (label.trial_id, label.value) == (IDS[1], 0.25)


def test_every_mistake_is_named_with_its_row(tmp_path: Path):
    lines = [f"q0,{IDS[0]},1.5", f"q9,{IDS[0]},1", "q0,nobody,", f"q1,{IDS[0]},1", f"q1,{IDS[0]},0", "q2"]
    with pytest.raises(DataError) as caught:
        read_labels(write(tmp_path / "labels.csv", *lines), OUTCOME)
    text = str(caught.value)
    assert "7 mistake(s)" in text
    for part in (
        "row 2: label='1.5'",
        "row 3: question_id='q9'",
        "row 4: trial_id='nobody'",
        "row 4: label=''",
        "row 6: the same answer as row 5",
        "row 7: trial_id=''",
    ):
        assert part in text


def test_a_file_that_is_no_table_of_labels_is_refused(tmp_path: Path):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("id,label\nq0,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column question_id, trial_id; there are: id, label"):
        read_labels(wrong, OUTCOME)
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "nowhere.csv", OUTCOME)
    with pytest.raises(DataError, match="no rows"):
        read_labels(write(tmp_path / "empty.csv"), OUTCOME)


def test_labels_of_unscored_answers_give_a_warning_and_no_number(tmp_path: Path):
    (found, *_) = agreement(OUTCOME, read_labels(write(tmp_path / "labels.csv", f"q3,{IDS[1]},1"), OUTCOME))
    assert found.n == 0 and found.spearman is None
    assert found.warning == "no labelled answer has a score on correct"


def test_worse_than_chance_is_said_only_where_it_is_shown():
    random, accused = numpy.random.default_rng(0), 0
    for _ in range(200):  # a judge that agrees with people at 0.4, and six labels
        people = random.normal(size=6)
        judge = 0.4 * people + (1 - 0.4**2) ** 0.5 * random.normal(size=6)
        spearman = float(stats.spearmanr(people, judge).statistic)
        between = spearman_interval(spearman, 6)
        accused += bool(between and between[1] < 0)
    assert accused <= 6
    between = spearman_interval(-0.8, 30)
    assert between and between[1] < 0
    assert spearman_interval(-0.9, 4) is None and spearman_interval(None, 30) is None
