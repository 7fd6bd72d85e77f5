"""The section of the report about the questions that were held out of the search."""

from typing import Any

from dream.comparison.comparison import Comparison
from dream.records import Confirmation, ConfirmedTrial, ExperimentResult, Verdict
from dream.reporting.html_page import Note, Section, Table, Text

ABOUT = (
    "A trial that was selected for its score was probably lucky, so its mean is too high. These questions (all "
    "questions of some documents) played no part in the choice. Their intervals keep the questions of a document "
    "together; the intervals of the differences are simultaneous over all trials shown."
)


def confirmed(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """Both means of the trials that answered the held-out questions, and the outcome of the confirmation."""
    if comparison is None or comparison.confirmation is None:
        return None
    confirmation = comparison.confirmation
    rows = [_cells(row) for row in confirmation_rows(confirmation)]
    words = frozenset({"trial", "role"})
    table = Table(f"Mean {confirmation.metric}", list(rows[0]), [list(row.values()) for row in rows],
                  frozenset(rows[0]) - words)  # fmt: skip
    survives = confirmation.verdict == Verdict.SURVIVES
    told = Text(confirmation.text) if survives else Note(confirmation.text)
    return Section("confirmation", "Does the choice hold on new questions?", [told, Text(ABOUT), table])


def confirmation_rows(confirmation: Confirmation) -> list[dict[str, Any]]:
    """A row for each trial of a confirmation; differences are those of the recommended trial to that trial."""
    return [_row(each) for each in confirmation.trials]


def _row(each: ConfirmedTrial) -> dict[str, Any]:
    return {
        "trial": each.name,
        "role": str(each.role),
        "search": each.searched,
        "held out": each.held_out,
        "low": each.low,
        "high": each.high,
        "shrinkage": each.shrinkage,
        "recommended minus this": each.difference,
        "least": each.least,
        "most": each.most,
        "scored": each.n_scored,
    }


def _cells(row: dict[str, Any]) -> dict[str, str]:
    signed = {"shrinkage", "recommended minus this", "least", "most"}
    return {name: _cell(value, name in signed) for name, value in row.items()}


def _cell(value: Any, is_signed: bool) -> str:
    if isinstance(value, float):
        return f"{value:+.3f}" if is_signed else f"{value:.3f}"
    return "" if value is None else str(value)
