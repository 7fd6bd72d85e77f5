"""The table of calibrated means: a line per trial, with dashes for what is unknown."""

from dream.comparison.calibration import OWN, CalibratedTrial, Calibration
from dream.comparison.calibration_table import SHOWN_COLUMNS, calibration_table, shown_rows
from dream.comparison.intervals import Interval
from dream.records import Trial

TRIAL = Trial("method", "llm", "embed")
FOUND = Calibration(
    "answer_correctness",
    45,
    Interval(-0.1, -0.15, -0.05, 0.02, 45),
    (
        CalibratedTrial(TRIAL, 0.7, 40, Interval(0.6, 0.55, 0.65, 0.02, 40), OWN, 0.8, name="first"),
        CalibratedTrial(TRIAL, 0.6, 25, None, OWN, 0.8, "", Interval(-0.1, -0.2, 0.0, 0.04, 25), 22, "second"),
        CalibratedTrial(TRIAL, float("nan"), 0, why_not="no score", name="third"),
    ),
    "This assumes nothing.",
)


def test_a_row_has_a_text_for_each_column():
    cells = [list(row.values()) for row in shown_rows(FOUND)]
    assert cells == [
        ["first", "0.700", "40", "0.600 [0.550, 0.650]", OWN, "", ""],
        ["second", "0.600", "25", "–", OWN, "-0.100 [-0.200, +0.000]", "22"],
        ["third", "–", "0", "–", "nothing: no score", "", ""],
    ]


def test_the_table_has_a_line_for_each_trial():
    head, _rule, *lines = calibration_table(FOUND).splitlines()
    assert all(name in head for name in SHOWN_COLUMNS)
    assert [line.split()[0] for line in lines] == ["first", "second", "third"]
