"""What DREAM's pictures share: colours, titles in sentences, rows by rank, error bars.

Colours are told apart by colour-blind readers too (Okabe and Ito's set, Cividis), and never carry a meaning alone.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dream.comparison.comparison import Comparison
from dream.comparison.ranking import Standing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OFFLINE_NOTE = "offline models: the numbers show how DREAM works, not how good an LLM is"
TIED, APART, CHOSEN, LINE = "#0072B2", "#8C8C8C", "#D55E00", "#444444"
# More trials than this are drawn by their rank; their names are in the leaderboard, and appear under the pointer.
NAMES_UP_TO = 40
WIDTH = 1000


def error_bars(intervals: Sequence[Any], colour: str, thickness: float) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [one.high - one.mean if one else 0.0 for one in intervals],
        "arrayminus": [one.mean - one.low if one else 0.0 for one in intervals],
        "color": colour,
        "thickness": thickness,
        "width": 0,
    }


def short_name(one: Standing) -> str:
    """A trial's name with its rank, models without the endpoint's `offline/`."""
    name = one.trial.name.replace("offline/", "")
    return f"{name}  {one.rank}" if one.rank else f"{name}  (not ranked)"


def rank_axis(figure: "Figure", n: int, names: Sequence[str] | None) -> None:
    """Rows from the top; each with its name, or, where there are too many, with ranks here and there."""
    figure.update_yaxes(range=[n + 0.7, 0.3], title="" if names else "rank of the trial", showgrid=bool(names))
    if names:
        figure.update_yaxes(tickvals=list(range(1, n + 1)), ticktext=list(names))


def titled(figure: "Figure", sentence: str, note: str, comparison: Comparison, height: int) -> "Figure":
    """The figure under a title that says what it shows, with what to know of it in small print below."""
    lines = textwrap.wrap(f"{comparison.name}: {sentence}", 100)
    notes = [note, f"{comparison.n_questions} questions"] + ([OFFLINE_NOTE] if comparison.offline else [])
    small = textwrap.wrap("; ".join(notes), 130)
    text = "<br>".join([*lines, *(f"<sub>{line}</sub>" for line in small)])
    return figure.update_layout(
        title={"text": text, "font": {"size": 16}, "x": 0.02, "yref": "container", "y": 1 - 28 / height},
        title_yanchor="top",
        template="plotly_white",
        width=WIDTH,
        height=height,
        margin={"l": 60, "r": 40, "t": 76 + 22 * (len(lines) + len(small)), "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        xaxis={"automargin": True},
        yaxis={"automargin": True},
    )
