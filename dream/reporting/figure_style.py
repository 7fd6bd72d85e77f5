"""The common style of DREAM's figures: colours, captions, rows by rank, error bars.

The colours are safe for colour-blind readers (Okabe and Ito's palette, Cividis); no meaning depends on colour alone.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dream.comparison.comparison import Comparison
from dream.comparison.ranking import Standing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OFFLINE_NOTE = "offline models: the numbers demonstrate DREAM and say nothing about a real LLM"
TIED, APART, CHOSEN, LINE = "#0072B2", "#8C8C8C", "#D55E00", "#444444"
# With more trials, rows show ranks instead of names; the names are in the leaderboard and in the hover text.
NAMES_UP_TO = 40
WIDTH = 1000


@dataclass(frozen=True)
class Caption:
    """The caption of a figure: the experiment's name, the finding in one sentence, and notes in small print.

    It is stored in the figure's `layout.meta`, for pages that print it as text.
    """

    experiment: str
    sentence: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, figure: "Figure") -> "Caption":
        """The caption of one of DREAM's figures; for any other figure, its title is the sentence."""
        layout: Any = figure.layout
        if layout.meta is None:
            return cls("", layout.title.text or "")
        return cls(layout.meta["experiment"], layout.meta["sentence"], tuple(layout.meta["notes"]))

    @property
    def headline(self) -> list[str]:
        """The experiment and the sentence, wrapped to the width of a figure."""
        return textwrap.wrap(f"{self.experiment}: {self.sentence}" if self.experiment else self.sentence, 100)

    @property
    def small_print(self) -> list[str]:
        """The notes, wrapped to the width of a figure."""
        return textwrap.wrap("; ".join(self.notes), 130)

    @property
    def html(self) -> str:
        """The caption as the HTML of a plotly title."""
        return "<br>".join([*self.headline, *(f"<sub>{line}</sub>" for line in self.small_print)])

    def layout(self) -> dict[str, Any]:
        """The entries of a figure's layout for this caption: the title, and `meta` for `of`."""
        return {"meta": asdict(self), "title_text": self.html}


def error_bars(intervals: Sequence[Any], colour: str, thickness: float) -> dict[str, Any]:
    """Asymmetric error bars from means to confidence limits, in plotly's form; no bar for an interval of None."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [interval.high - interval.mean if interval else 0.0 for interval in intervals],
        "arrayminus": [interval.mean - interval.low if interval else 0.0 for interval in intervals],
        "color": colour,
        "thickness": thickness,
        "width": 0,
    }


def short_name(standing: Standing) -> str:
    """A trial's name and rank; offline models without the prefix `offline/`."""
    name = standing.name.replace("offline/", "")
    return f"{name}  {standing.rank}" if standing.rank else f"{name}  (not ranked)"


def rank_axis(figure: "Figure", n: int, names: Sequence[str] | None) -> None:
    """Set up the y axis for `n` rows, rank 1 at the top; labelled with names, or with ranks if `names` is None."""
    figure.update_yaxes(range=[n + 0.7, 0.3], title="" if names else "rank of the trial", showgrid=bool(names))
    if names:
        figure.update_yaxes(tickvals=list(range(1, n + 1)), ticktext=list(names))


def titled(figure: "Figure", sentence: str, note: str, comparison: Comparison, height: int) -> "Figure":
    """Give the figure its caption, size, margins and legend; `height` is in pixels."""
    offline = (OFFLINE_NOTE,) if comparison.offline else ()
    caption = Caption(comparison.name, sentence, (note, f"{comparison.n_questions} questions", *offline))
    n_lines = len(caption.headline) + len(caption.small_print)
    return figure.update_layout(
        title={"font": {"size": 16}, "x": 0.02, "yref": "container", "y": 1 - 28 / height, "yanchor": "top"},
        template="plotly_white",
        width=WIDTH,
        height=height,
        margin={"l": 60, "r": 40, "t": 76 + 22 * n_lines, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        xaxis={"automargin": True},
        yaxis={"automargin": True},
        **caption.layout(),
    )
