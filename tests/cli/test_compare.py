"""`dream compare` from the command line; its arithmetic is tested in tests/comparison, its page in tests/reporting."""

import pytest
from lab import Ran


def test_compare_prints_the_leaderboard_and_the_trial_to_use(dream_in_lab, small_experiment: Ran, tmp_path):
    done = dream_in_lab("compare", "small", "--html", "report.html", "--baseline", "small")
    assert (done.code, done.err) == (0, "")
    for result in small_experiment.outcome.results:
        assert result.trial.query_engine_identifier in done.out
    assert "Best trial against the best of 'small' (95 % intervals):" in done.out
    assert "Report: report.html (" in done.out
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no experiment"),
        (["nobody"], "no experiment 'nobody'"),
        (["--fail-on-regression", "faithfulness:0.1"], "--fail-on-regression needs --baseline NAME"),
        (["--baseline", "x", "--fail-on-regression", "faithfulness"], "'faithfulness' is not a metric and a number"),
        (["--weights", "faithfulness"], "--weights cannot be read"),
        (["--html", "nowhere/report.html"], "there is no folder nowhere; make it, or name another"),
    ],
)
def test_a_mistake_is_told_with_1(dream, arguments, message):
    done = dream("compare", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("dream compare: ")
    assert message in done.err
