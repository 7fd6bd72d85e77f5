"""Calibration by human labels: what is corrected by what, documents, differences, and refusals."""

from pathlib import Path

import numpy
import pytest
import simulated

from dream.comparison import compare, read_labels
from dream.comparison.calibration import COMMON, OWN, calibrated
from dream.comparison.calibration_table import calibration_table
from dream.comparison.human_agreement import Label
from dream.comparison.leaderboard_table import verdict_of
from dream.comparison.prediction_powered import tuned
from dream.errors import DataError
from dream.records import ExperimentResult
from dream.reporting.report import report_html
from dream.tracking.mlflow_artifacts import evidence_files

RANDOM = numpy.random.default_rng(0)
PEOPLE = RANDOM.uniform(0.2, 0.9, (120, 3))
JUDGE = numpy.clip(PEOPLE + 0.1 + 0.05 * RANDOM.normal(size=PEOPLE.shape), 0, 1)


def labels_of(table: simulated.ScoreTable, people: simulated.Floats, marks: dict[int, range]) -> list[Label]:
    return [
        Label(table.question_ids[row], table.results[column].trial.id, float(people[row, column]))
        for column, rows in marks.items()
        for row in rows
    ]


def test_a_trial_with_labels_of_its_own_is_corrected_by_them():
    table = simulated.table(JUDGE)
    found = calibrated(table, labels_of(table, PEOPLE, {0: range(40)})).trials[0]
    given = numpy.where(numpy.arange(120) < 40, PEOPLE[:, 0], numpy.nan)
    expected = tuned(given, JUDGE[:, 0], table, (0.0, 1.0))
    assert found.by == OWN and found.n_labels == 40
    assert found.mean == expected.interval((0.0, 1.0), 40) and found.weight == expected.weight


def test_documents_stay_together():
    clusters = (numpy.arange(120) // 10).tolist()
    shift = 0.2 * numpy.random.default_rng(2).normal(size=(12, 1))[clusters]
    people = numpy.clip(PEOPLE / 2 + shift, 0, 1)
    together = simulated.table(people, clusters)
    apart = simulated.table(people)
    wide, narrow = (
        calibrated(table, labels_of(table, people, {0: range(0, 120, 2)})).trials[0].mean for table in (together, apart)
    )
    assert wide and narrow and wide.mean == narrow.mean
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_trials_without_enough_labels_are_corrected_by_the_common_bias():
    table = simulated.table(JUDGE)
    found = calibrated(table, labels_of(table, PEOPLE, {0: range(40), 1: range(10)}))
    bias = numpy.concatenate([(PEOPLE - JUDGE)[:40, 0], (PEOPLE - JUDGE)[:10, 1]]).mean()
    first, second, third = found.trials
    assert (first.by, second.by, third.by) == (OWN, COMMON, COMMON)
    assert second.mean and second.mean.mean == pytest.approx(JUDGE[:, 1].mean() + bias)
    assert first.mean and third.mean and second.difference is None and third.difference is None
    assert "nothing about a difference unless both trials have 20 of their own" in found.text
    assert found.bias.mean == pytest.approx(bias) and "too generous" in found.text
    assert "for the 2 trial(s) with fewer than 20 labels that the judge's bias is the same" in found.text


def test_a_difference_is_that_of_the_calibrated_means_where_other_questions_have_the_labels():
    table = simulated.table(JUDGE)
    first, second, third = calibrated(table, labels_of(table, PEOPLE, {0: range(30), 1: range(60, 90)})).trials
    assert second.difference and second.mean and first.mean and third.difference is None
    assert second.difference.mean == pytest.approx(second.mean.mean - first.mean.mean)


def test_a_difference_uses_the_questions_with_labels_of_both():
    table = simulated.table(JUDGE)
    found = calibrated(table, labels_of(table, PEOPLE, {0: range(60), 1: range(20, 80)})).trials[1]
    label, score = (each[20:60, 1] - each[20:60, 0] for each in (PEOPLE, JUDGE))
    weight = min(numpy.cov(label, score)[0, 1] / score.var(ddof=1), 1)
    expected = label.mean() + weight * ((JUDGE[:, 1] - JUDGE[:, 0]).mean() - score.mean())
    assert found.n_both == 40 and found.difference
    assert found.difference.mean == pytest.approx(expected)


def test_where_the_bias_is_shown_to_differ_trials_without_labels_are_not_corrected():
    judge = numpy.clip(PEOPLE + numpy.array([0.2, 0.0, 0.0]), 0, 1)
    table = simulated.table(judge)
    found = calibrated(table, labels_of(table, PEOPLE, {0: range(40), 1: range(40)}))
    assert found.trials[0].mean and found.trials[0].mean.mean == pytest.approx(PEOPLE[:, 0].mean(), abs=0.03)
    assert found.trials[2].mean is None and "bias differs between trials" in found.trials[2].why_not
    assert "not the same in all trials" in found.text and "nothing: " in calibration_table(found)


def test_missing_scores_bound_the_mean_and_labels_without_a_score_are_counted():
    judge = JUDGE.copy()
    judge[:12, 0] = numpy.nan
    table = simulated.table(judge)
    found = calibrated(table, labels_of(table, PEOPLE, {0: range(60)}))
    full = simulated.table(JUDGE)
    other = calibrated(full, labels_of(full, PEOPLE, {0: range(60)}))
    gaps, complete = found.trials[0].mean, other.trials[0].mean
    assert gaps and complete and gaps.high - gaps.low > complete.high - complete.low + 0.09
    assert "12 label(s) belong to answers without a score" in found.text


def test_labels_that_always_agree_leave_room_for_what_was_not_seen():
    table = simulated.table(numpy.tile([1.0, 0.0], (60, 1)).reshape(-1, 1))
    given = labels_of(table, table.values, {0: range(30)})
    found = calibrated(table, given)
    assert found.bias.mean == 0 and found.bias.high == pytest.approx(2.05 * 3**0.5 / 30, abs=0.01)


def test_too_few_labels_or_documents_are_refused():
    table = simulated.table(JUDGE, [row % 3 for row in range(120)])
    with pytest.raises(DataError, match=r"40 labelled answer\(s\) with a score on score, of 3 document"):
        calibrated(table, labels_of(table, PEOPLE, {0: range(40)}))
    apart = simulated.table(JUDGE)
    with pytest.raises(DataError, match=r"5 labelled answer\(s\).*needs 10"):
        calibrated(apart, labels_of(apart, PEOPLE, {0: range(5)}))


def outcome() -> ExperimentResult:
    return simulated.experiment({"answer_correctness": JUDGE})


@pytest.mark.whole
def test_comparison_report_and_mlflow_show_it(tmp_path: Path):
    experiment, path = outcome(), tmp_path / "labels.csv"
    lines = [f"q{row},{experiment.results[0].trial.id},{PEOPLE[row, 0]}" for row in range(40)]
    path.write_text("\n".join(["question_id,trial_id,label", *lines, lines[0]]), encoding="utf-8")
    labels = read_labels(path, experiment)
    assert len(labels) == 40  # the last row says the same as the first
    found, plain = compare(experiment, labels=labels), compare(experiment)
    assert found.calibration and plain.calibration is None
    assert [each.trial for each in found.standings] == [each.trial for each in plain.standings]
    assert "Labels of 40 answers" in verdict_of(found) and "Labels of" not in verdict_of(plain)
    assert "Corrected by human labels" in report_html(experiment, found)
    files = evidence_files(experiment, found, "")
    assert "calibrated" in str(files["calibration.json"])
    assert "calibration.json" not in evidence_files(experiment, plain, "")
