"""The confirmation of a choice, against numbers computed by hand."""

from dataclasses import replace

import numpy
import pytest
from scipy import stats
from simulated import experiment, grid

from dream.comparison.comparison import compare
from dream.comparison.held_out import to_confirm
from dream.comparison.leaderboard_table import verdict_of
from dream.records import (
    INCUMBENT,
    Confirmation,
    ExperimentResult,
    HoldOut,
    Role,
    Trial,
    Verdict,
)


def confirmed(
    searched: numpy.ndarray, held_out: numpy.ndarray, files: list[str] | None = None, places=(0, 1)
) -> ExperimentResult:
    """An experiment whose trials `places` have answered held-out questions."""
    search = experiment({"recall": searched})
    other = experiment({"recall": held_out}, trials=[search.manifest.trials[place] for place in places], files=files)
    hold_out = HoldOut(0.25, 0, other.manifest.questions)
    return replace(search, manifest=replace(search.manifest, hold_out=hold_out), held_out=other.results)


SEARCHED = numpy.column_stack([numpy.tile([0.8, 1.0], 15), numpy.tile([0.8, 0.9], 15), numpy.tile([0.1, 0.3], 15)])


def test_both_means_the_shrinkage_and_the_difference():
    held = numpy.column_stack([[0.9, 0.7, 0.8, 0.6, 0.9, 0.7], [0.8, 0.7, 0.6, 0.6, 0.7, 0.4]])
    confirmation = compare(confirmed(SEARCHED, held), margin=0.05).confirmation
    chosen, other = confirmation.trials
    assert (chosen.role, other.role) == (Role.RECOMMENDED, Role.RUNNER_UP)
    assert (confirmation.n_questions, confirmation.n_documents) == (6, 6)
    assert chosen.searched == pytest.approx(0.9) and chosen.held_out == pytest.approx(4.6 / 6)
    assert chosen.shrinkage == pytest.approx(0.9 - 4.6 / 6)
    half = stats.t.isf(0.025, 5) * stats.sem(held[:, 0])
    assert (chosen.low, chosen.high) == pytest.approx((4.6 / 6 - half, min(4.6 / 6 + half, 1.0)))
    differences = held[:, 0] - held[:, 1]
    half = stats.t.isf(0.025, 5) * stats.sem(differences)
    assert (other.difference, other.least, other.most) == pytest.approx(
        (differences.mean(), differences.mean() - half, differences.mean() + half)
    )
    assert confirmation.verdict == Verdict.SURVIVES


def test_two_comparisons_are_corrected_and_documents_stay_together():
    random = numpy.random.default_rng(0)
    held = numpy.clip(numpy.repeat(random.normal(0.6, 0.1, (8, 3)), 3, axis=0), 0, 1)
    files = [f"{row // 3}.pdf" for row in range(24)]
    trials = grid(3)
    trials[2] = replace(trials[2], parameters={INCUMBENT: True})
    search = experiment({"recall": SEARCHED}, trials=trials)
    other = experiment({"recall": held}, trials=trials, files=files)
    manifest = replace(search.manifest, hold_out=HoldOut(0.25, 0, other.manifest.questions))
    confirmation = compare(replace(search, manifest=manifest, held_out=other.results)).confirmation
    assert [each.role for each in confirmation.trials] == [Role.RECOMMENDED, Role.RUNNER_UP, Role.INCUMBENT]
    by_document = (held[:, 0] - held[:, 2]).reshape(8, 3).mean(1)
    half = stats.t.isf(0.0125, 7) * stats.sem(by_document)
    incumbent = confirmation.trials[2]
    assert (confirmation.n_documents, incumbent.least) == (8, pytest.approx(by_document.mean() - half))


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ([[0.5, 0.9], [0.4, 0.8], [0.6, 0.8], [0.5, 0.9], [0.4, 0.9], [0.5, 0.8]], Verdict.DOES_NOT_SURVIVE),
        ([[0.5, 0.9], [0.9, 0.4], [0.6, 0.8], [0.8, 0.6], [0.4, 0.9], [0.9, 0.3]], Verdict.TOO_FEW),
        ([[0.8, 0.5], [0.7, 0.5], [0.9, 0.6], [0.8, 0.6], [0.9, 0.5], [0.8, 0.4]], Verdict.SURVIVES),
    ],
)
def test_verdicts(held, verdict):
    outcome = confirmed(SEARCHED, numpy.array(held))
    comparison = compare(outcome)
    assert comparison.confirmation.verdict == verdict
    assert f"{comparison.recommendation.reason}. {comparison.confirmation.text}" in verdict_of(comparison)
    assert Confirmation.from_json(comparison.confirmation.to_json()) == comparison.confirmation
    assert "that the search never saw, the recommended trial has" in comparison.confirmation.text


def test_missing_scores_bound_the_difference():
    held = numpy.array([[0.8, 0.5], [0.7, 0.5], [0.9, 0.6], [0.8, 0.6], [0.9, 0.5], [0.8, 0.4]])
    whole = compare(confirmed(SEARCHED, held)).confirmation.trials[1]
    held[0, 1] = numpy.nan
    gaps = compare(confirmed(SEARCHED, held)).confirmation.trials[1]
    assert gaps.least < whole.least and gaps.most > whole.most and gaps.n_scored == 5


def test_equal_scores_show_little():
    confirmation = compare(confirmed(SEARCHED, numpy.full((6, 2), 1.0))).confirmation
    assert (confirmation.recommended.held_out, confirmation.verdict) == (1.0, Verdict.TOO_FEW)
    assert confirmation.recommended.low < 0.8  # six perfect answers may be luck


def test_a_choice_by_another_metric_is_not_confirmed_and_says_so():
    outcome = confirmed(SEARCHED, numpy.full((6, 1), 0.5), places=(2,))
    comparison = compare(outcome)
    assert comparison.confirmation is None
    assert comparison.notes[0].startswith(
        "Not confirmed: the recommended trial has not answered the 6 held-out questions"
    )
    plain = experiment({"recall": SEARCHED})
    assert compare(plain).confirmation is None and "onfirm" not in "".join(compare(plain).notes)


def test_the_runner_up_is_the_best_other_trial():
    trials = [Trial(name, "llm", "embed", {INCUMBENT: True} if name == "c" else {}) for name in "abc"]
    standings = compare(experiment({"recall": SEARCHED}, trials=trials)).standings
    assert [*to_confirm(standings, trials[0]).values()] == trials
    assert to_confirm(standings, trials[1]) == {
        Role.RECOMMENDED: trials[1], Role.RUNNER_UP: trials[0], Role.INCUMBENT: trials[2],
    }  # fmt: skip
    assert to_confirm(standings, trials[2]) == {Role.RECOMMENDED: trials[2], Role.RUNNER_UP: trials[0]}
