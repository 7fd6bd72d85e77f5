"""An HTML page in one file: sections of a few kinds of parts, whose contents are escaped.

The page loads nothing from a network; its content security policy forbids it. One copy of plotly's script (4.9 MB)
draws the figures; where scripts are disabled, static SVG drawings are shown instead.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dream.reporting.figure_style import APART, CHOSEN, LINE, TIED, Caption
from dream.reporting.static_figures import save_static

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PLAIN, CHOSEN_ROW, TIED_ROW, FAILED_ROW = "", "chosen", "tied", "failed"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Note:
    """A highlighted paragraph."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Choice:
    """The recommended trial in large type: a label, and its factors by title."""

    label: str
    parts: Mapping[str, str]
    kind: ClassVar[str] = "choice"


@dataclass(frozen=True)
class Bullets:
    """A bulleted list of sentences."""

    items: Sequence[str]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Facts:
    """A list of names with their values."""

    pairs: Mapping[str, str]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Table:
    """A table of texts. Columns named in `numbers` are right-aligned. `marks` is empty, or has a mark per row: `PLAIN`,
    `CHOSEN_ROW`, `TIED_ROW` or `FAILED_ROW`."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    marks: Sequence[str] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Fold:
    """A headline that expands to preformatted text."""

    headline: str
    text: str


@dataclass(frozen=True)
class Case:
    """One question with its answer, retrieved contexts and judgements."""

    title: str
    facts: Mapping[str, str]
    folds: Sequence[Fold]
    table: Table
    kind: ClassVar[str] = "case"


@dataclass(frozen=True)
class Picture:
    """One of DREAM's figures; its title becomes the caption, without the experiment's name, which the page shows."""

    name: str
    figure: "Figure"
    kind: ClassVar[str] = "picture"

    @property
    def lines(self) -> list[str]:
        """The figure's sentence, and its notes in one line."""
        caption = Caption.of(self.figure)
        sentence = " ".join(caption.sentence.split())
        return [sentence[:1].upper() + sentence[1:], "; ".join(caption.notes)]

    @property
    def height(self) -> int:
        """The height without the title, in pixels."""
        layout: Any = self._bare.layout
        return int(layout.height)

    @property
    def json(self) -> str:
        """The figure as JSON, escaped for a script element."""
        return str(self._bare.to_json()).replace("<", "\\u003c")

    @property
    def svg(self) -> str:
        """The figure as a static SVG element."""
        with tempfile.TemporaryDirectory() as folder:
            drawn = save_static(self.figure, Path(folder) / "figure.svg").read_text(encoding="utf-8")
        return drawn[drawn.index("<svg") :]

    @cached_property
    def _bare(self) -> "Figure":
        """The figure without its title, as wide as its container."""
        from plotly.graph_objects import Figure

        figure: Any = Figure(self.figure)
        layout = figure.layout
        top, margin = layout.margin.t or 100, 120 if figure.data[0].type == "parcoords" else 60
        height = (layout.height or 500) - top + margin
        return figure.update_layout(title=None, width=None, autosize=True, height=height, margin_t=margin)


@dataclass(frozen=True)
class Section:
    """A headline with parts below it; `id` is the anchor for links."""

    id: str
    title: str
    parts: Sequence[Any]


@dataclass(frozen=True)
class Page:
    """A whole page. `warning` is shown in a box at the top; an empty warning is left out."""

    title: str
    lead: str
    warning: str
    sections: Sequence[Section]
    foot: str


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("dream.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = any(part.kind == "picture" for section in page.sections for part in section.parts)
    colours = {"chosen": CHOSEN, "tied": TIED, "apart": APART, "line": LINE}
    script = Markup(_plotly()) if pictures else ""
    return environment.get_template("page.html").render(page=page, script=script, colours=colours, safe=Markup)


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
