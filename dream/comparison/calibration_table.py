"""The table of calibrated means, for a terminal and for the report."""

import numpy
from tabulate import tabulate

from dream.comparison.calibration import Calibration, span_text

SHOWN_COLUMNS = (
    "trial",
    "judge",
    "labels",
    "calibrated, 95 % interval",
    "corrected by",
    "against the first",
    "of both",
)


def calibration_table(calibration: Calibration) -> str:
    """The calibrated means for a terminal, a line per trial."""
    rows = [list(row.values()) for row in shown_rows(calibration)]
    return tabulate(rows, SHOWN_COLUMNS, disable_numparse=True)


def shown_rows(calibration: Calibration) -> list[dict[str, str]]:
    """A row of texts per trial, with the columns `SHOWN_COLUMNS`."""
    rows = []
    for each in calibration.trials:
        mean, apart = each.mean, each.difference
        cells = (
            each.name,
            "–" if numpy.isnan(each.judged) else f"{each.judged:.3f}",
            str(each.n_labels),
            f"{mean.mean:.3f} {span_text(mean, signed=False)}" if mean else "–",
            each.by or f"nothing: {each.why_not}",
            f"{apart.mean:+.3f} {span_text(apart)}" if apart else "",
            str(each.n_both) if apart else "",
        )
        rows.append(dict(zip(SHOWN_COLUMNS, cells, strict=True)))
    return rows
