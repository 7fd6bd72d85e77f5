"""Is the system in use worth replacing? On simulated scores whose differences are known."""

from dataclasses import replace

import numpy
import pytest
from simulated import experiment

from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import comparison_text, leaderboard_of
from dream.records import ExperimentResult, Failure, FailureKind, Trial


def with_incumbent(means: list[float], place: int, n: int = 60) -> ExperimentResult:
    """Trials with scores around these means, one of which is the incumbent."""
    random = numpy.random.default_rng(5)
    values = numpy.clip(random.normal(means, 0.05, (n, len(means))), 0, 1)
    made = experiment({"answer_correctness": values})
    own = Trial("our_rag", "", "", {"incumbent": True})
    results = [replace(each, trial=own) if at == place else each for at, each in enumerate(made.results)]
    return replace(made, results=tuple(results))


@pytest.mark.parametrize(
    ("means", "says"),
    [
        ([0.9, 0.6, 0.7], "The incumbent `our_rag` is worth replacing: the recommended trial is better by +0."),
        ([0.7, 0.9, 0.6], "The incumbent `our_rag` is itself the recommended trial"),
    ],
)
def test_the_recommended_trial_is_set_against_the_incumbent(means: list[float], says: str):
    outcome = with_incumbent(means, 1)
    found = compare(outcome)
    assert found.notes[0].startswith(says)
    text = comparison_text(found, leaderboard_of(found, outcome))
    (row,) = [line for line in text.splitlines() if "our_rag " in line and "0." in line and "`" not in line]
    assert " incumbent " in row


def test_the_interval_holds_for_a_trial_that_was_chosen_by_its_score():
    outcome = with_incumbent([0.9, 0.6, 0.7], 1)
    found = compare(outcome)
    truth = 0.3
    low, high = (float(part) for part in found.notes[0].split("[")[1].split("]")[0].split(", "))
    assert low < truth < high
    plain = found.scores.values[:, 0] - found.scores.values[:, 2]
    half = 1.96 * plain.std(ddof=1) / len(plain) ** 0.5
    assert high - low > 2 * half  # wider than an interval for a pair that was chosen beforehand


def test_equal_systems_are_no_reason_to_replace_it():
    random = numpy.random.default_rng(1)
    values = random.uniform(0, 1, (12, 2))
    made = experiment({"answer_correctness": values})
    own = Trial("our_rag", "", "", {"incumbent": True})
    worse = int(values.mean(axis=0).argmin())
    results = tuple(replace(each, trial=own) if at == worse else each for at, each in enumerate(made.results))
    note = compare(replace(made, results=results), margin=0.0).notes[0]
    assert note.startswith(
        "The incumbent `our_rag`: these questions do not show that replacing it would be a gain (recommended trial: +"
    )


def test_an_incumbent_that_failed_is_told():
    outcome = with_incumbent([0.9, 0.6], 1)
    failed = replace(outcome.results[1], evaluation=None, failure=Failure(FailureKind.SERVICE, "no answer"))
    note = compare(replace(outcome, results=(outcome.results[0], failed))).notes[0]
    assert note.startswith("The incumbent `our_rag` cannot be compared: ")


def test_without_an_incumbent_nothing_is_said():
    made = experiment({"answer_correctness": numpy.full((12, 2), 0.5)})
    assert not any("incumbent" in note for note in compare(made).notes)
