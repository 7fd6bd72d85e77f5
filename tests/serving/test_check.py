"""A served winner against recorded scores."""

from pathlib import Path

import pytest
from winners import Served, clean

from dream.errors import ConfigurationError, ServiceError
from dream.serving.check import check_served, wait_until_served
from dream.serving.promotion import read_promotion


def test_what_is_as_good_as_recorded_passes(measured, winner: Path, served: Served):
    checked = check_served(read_promotion(winner), served.url, measured.settings)
    assert (checked.n_questions, checked.has_regressed) == (12, False)
    ((name, regression),) = checked.against
    assert (name, regression.difference.mean) == ("its record in measured", 0)
    assert "12 of 12 answers are identical to the recorded ones" in checked.text


def test_models_are_asked_anew_where_fresh_answers_are_wanted(measured, winner: Path, served: Served):
    def paid(fresh: bool) -> int:
        before = calls(served)
        checked = check_served(read_promotion(winner), served.url, measured.settings, questions=4, fresh=fresh)
        assert "4 of 4 answers are identical to the recorded ones" in checked.text
        return calls(served) - before

    assert paid(fresh=False) == 0
    assert paid(fresh=True) == 4 * 2  # an embedded question and an answer, for each


def calls(served: Served) -> int:
    """Model calls of a service that its cache did not answer."""
    return sum(row["calls"] - row["cached"] for row in served.get("/usage").json())


def test_fewer_questions_and_another_metric_can_be_asked(measured, winner: Path, served: Served):
    promotion = read_promotion(winner)
    checked = check_served(promotion, served.url, measured.settings, questions=5, metric="recall", margin=0.5)
    (_, regression), *_ = checked.against
    assert (checked.n_questions, regression.metric, regression.difference.mean) == (5, "recall", 0)
    with pytest.raises(ConfigurationError, match="'faithfulness' was not scored in 'measured'; it has: answer_correct"):
        check_served(promotion, served.url, measured.settings, metric="faithfulness")


def test_a_winner_that_is_worse_than_the_one_that_it_replaces_fails(measured, worse_winner: Path, worse_served: Served):
    worse = read_promotion(worse_winner)
    assert worse.replaces is not None and worse.replaces.trial == measured.good
    checked = check_served(worse, worse_served.url, measured.settings)
    with pytest.raises(ConfigurationError, match=f"serves trial {measured.bad}, but the winner is"):
        wait_until_served(worse_served.url, measured.good, 0)
    (own, with_itself), (before, with_replaced) = checked.against
    assert own == "its record in measured" and not with_itself.shown
    assert before == f"trial {measured.good} of measured, which it replaced" and with_replaced.shown
    assert checked.has_regressed


def test_no_service_and_a_wrong_token_are_told(measured, winner: Path, served: Served):
    promotion = read_promotion(winner)
    with pytest.raises(ServiceError, match="does not answer as `dream serve` does"):
        wait_until_served("http://127.0.0.1:9", promotion.trial, 0)
    environment = clean({**measured.environment, "DREAM_SERVE_TOKEN": "another-token-of-tests"})
    settings = type(measured.settings).from_environment(
        {name: value for name, value in environment.items() if name.startswith("DREAM_")}
    )
    with pytest.raises(ServiceError, match="set DREAM_SERVE_TOKEN to the service's token"):
        check_served(promotion, served.url, settings, questions=1)
