"""The table of an experiment: what is shown of many trials, and what is said of USD that nobody knows."""

from dataclasses import replace

from dream.experiments.mean_so_far import MeanSoFar
from dream.experiments.trials_table import TrialNow, Trials, TrialState
from dream.progress.live_table import LiveTable


def trial(number: int, state: TrialState = TrialState.WAITING, mean: float | None = None, **more) -> TrialNow:
    found = None if mean is None else MeanSoFar(mean, 30, mean - 0.1, mean + 0.1)
    values = {"questions": 0, "planned": 30, "mean": found, "usd": 0.25, "usd_planned": 1.0, **more}
    return TrialNow(f"{number:012d}", f"trial {number}", state, **values)


def cells(table: LiveTable, name: str) -> dict[str, str]:
    (row,) = [row for row in table.rows if row.name == name]
    return dict(zip([column.title for column in table.columns], row.cells, strict=True))


def test_a_row_says_all_of_its_trial():
    trials = [
        trial(1, TrialState.RUNNING, 0.7123, questions=12),
        trial(2, TrialState.DONE, 0.6, questions=30, usd=0.004),
        trial(3, TrialState.FAILED, why="ValueError: no such table"),
        trial(4, TrialState.STOPPED, 0.9, questions=12),
        trial(5),
    ]
    table = Trials(trials, "answer_correctness", usd=1.5, usd_to_come_for_all=0.25).table(20)
    assert cells(table, "trial 1") == {
        "id": "000000000001",
        "state": "running",
        "questions": "12/30",
        "mean": "0.712",
        "95 % interval": "0.61 to 0.81",
        "USD": "0.25",
        "to come": "0.75",
    }
    assert (cells(table, "trial 2")["USD"], cells(table, "trial 2")["to come"]) == ("<0.01", "")
    assert [row.note for row in table.rows] == ["", "", "ValueError: no such table", "", ""]
    stopped = cells(table, "trial 4")
    assert (stopped["state"], stopped["questions"], stopped["mean"]) == ("stopped", "12/30", "")
    assert table.below[0] == "1 waiting, 1 running, 1 done, 1 failed, 1 stopped; 1.50 USD so far, 1.75 to come"
    assert table.below[1] == "mean: answer_correctness; intervals are valid at every look, but not for comparing trials"


def test_of_many_trials_the_running_ones_and_the_best_few_are_shown_and_the_others_counted():
    trials = [trial(n, TrialState.DONE, n / 100) for n in range(100)]
    trials += [trial(n, TrialState.RUNNING) for n in range(100, 105)]
    trials += [trial(105, TrialState.FAILED), *(trial(n) for n in range(106, 200))]
    shown = Trials(trials, "m").table(10)
    assert [row.name for row in shown.rows] == [
        *(f"trial {n}" for n in (100, 101, 102, 103, 104, 99, 98, 97, 105, 96)),
    ]
    assert shown.below[0] == "... and 190 more: 94 waiting, 96 done"
    assert shown.below[1].startswith("94 waiting, 5 running, 100 done, 1 failed; ")
    least = Trials(trials, "m", lower_is_better=True).table(6)
    assert [row.name for row in least.rows] == ["trial 100", "trial 101", "trial 102", "trial 0", "trial 1", "trial 2"]


def test_unknown_usd_is_said_and_is_never_0():
    unknown = [trial(1, TrialState.RUNNING, usd=None), trial(2, usd_planned=None), trial(3)]
    table = Trials(unknown, "m", usd=None).table(20)
    assert cells(table, "trial 1")["USD"] == "unknown" and cells(table, "trial 1")["to come"] == "unknown"
    assert cells(table, "trial 2")["to come"] == "unknown"
    assert table.below[0].endswith("; USD unknown so far, unknown to come")
    nothing_known = [replace(each, usd=None, usd_planned=None) for each in unknown]
    table = Trials(nothing_known, "m", usd=None).table(20)
    assert [column.title for column in table.columns] == ["id", "state", "questions", "mean"]
    assert table.below[0].endswith("; USD unknown so far, unknown to come")


def test_ids_are_as_long_as_it_takes_to_tell_them_apart():
    alike = [replace(trial(1), id="abcdef12"), replace(trial(2), id="abcdef13")]
    assert [row.cells[0] for row in Trials(alike, "m").table(5).rows] == ["abcdef12", "abcdef13"]
    other = [replace(trial(1), id="abcdef12"), replace(trial(2), id="abcdee13")]
    assert [row.cells[0] for row in Trials(other, "m").table(5).rows] == ["abcdef", "abcdee"]
