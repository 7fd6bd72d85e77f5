"""`LiveTable`: a table that is refreshed while something runs, as lines that fit a terminal or as HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

GAP = "  "
PLAIN_COLUMNS = 120
MOST_HTML_ROWS = 40


@dataclass(frozen=True)
class Column:
    """A column beside the names; numbers are aligned to the right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True)
class Row:
    """One row. In a narrow terminal, `name` has its own line; `note` is always on the line below. `look` is one of
    `LOOKS`."""

    name: str
    cells: tuple[str, ...]
    look: str = ""
    note: str = ""


@dataclass(frozen=True)
class LiveTable:
    """Rows with a cell for each column, and lines below them. `longest_name` is the longest name of all rows, including
    hidden ones, so that the layout does not change."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    below: tuple[str, ...] = ()
    longest_name: str = ""


# A function that makes a table with at most the given number of rows.
MakeTable = Callable[[int], LiveTable]
# Styles of rich, and of HTML.
LOOKS = {
    "waiting": ("dim", "opacity: 0.6"),
    "failed": ("red", "color: #c0392b"),
    "stopped": ("yellow", "color: #b9770e"),
}


@dataclass(frozen=True)
class Line:
    """A line of a table, with its style of rich."""

    text: str
    style: str = ""


def fitting(make: MakeTable, columns: int, lines: int) -> list[Line]:
    """The table in a space of `columns` x `lines`: with all rows if they fit, else with as many as possible.

    No line is longer than the space, but at least one row is shown even if it does not fit.
    """
    n = max(lines, 1)
    while True:
        shown = table_lines(make(n), columns)
        if len(shown) <= lines or n == 1:
            return shown
        n = max(n - max((len(shown) - lines) // 3, 1), 1)


def table_lines(table: LiveTable, columns: int) -> list[Line]:
    """The lines of a table, each at most `columns` wide: names beside the cells where they fit, else above them."""
    from rich.cells import cell_len

    titles = [column.title for column in table.columns]
    widths = [
        max(cell_len(text) for text in (title, *(row.cells[number] for row in table.rows)))
        for number, title in enumerate(titles)
    ]
    names = [table.title, table.longest_name, *(row.name for row in table.rows)]
    name_width = max(map(cell_len, names))
    in_one = name_width + sum(widths) + len(GAP) * len(widths) <= columns

    def cells(texts: Sequence[str]) -> str:
        aligned = (_aligned(*each) for each in zip(texts, widths, table.columns, strict=True))
        return GAP.join(aligned).rstrip()

    def lines(name: str, texts: Sequence[str], style: str) -> list[Line]:
        if in_one:
            return [Line(_padded(name, name_width) + GAP + cells(texts), style)]
        return [Line(name, style), Line(f"{GAP}{cells(texts)}", style)]

    shown = lines(table.title, titles, "bold") if table.rows else []
    for row in table.rows:
        style = LOOKS.get(row.look, ("", ""))[0]
        shown += lines(row.name, row.cells, style)
        shown += [Line(f"{GAP}{row.note}", style)] if row.note else []
    shown += [Line(text) for text in table.below]
    return [Line(_cut(line.text.rstrip(), columns), line.style) for line in shown]


def _aligned(text: str, width: int, column: Column) -> str:
    return _padded(text, width, left=column.is_number)


def _padded(text: str, width: int, left: bool = False) -> str:
    from rich.cells import cell_len

    space = " " * (width - cell_len(text))
    return space + text if left else text + space


def _cut(text: str, width: int) -> str:
    """A text of at most `width` terminal columns; "…" replaces the rest of a longer one."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"


def table_text(make: MakeTable) -> str:
    """The table as plain text."""
    return "\n".join(line.text for line in table_lines(make(MOST_HTML_ROWS), PLAIN_COLUMNS))


def table_html(make: MakeTable) -> str:
    """The table as HTML that needs no style sheet, for a page of any colours."""
    table = make(MOST_HTML_ROWS)
    columns = (Column(table.title, False), *table.columns)
    head = "".join(_cell("th", column.title, column) for column in columns)
    rows = "".join(_html_row(row, columns) for row in table.rows)
    below = "".join(f"<div>{escape(text)}</div>" for text in table.below)
    style = "border-collapse: collapse; color: inherit"
    return (
        f'<div style="font-family: monospace; overflow-x: auto"><table style="{style}">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{below}</div>"
    )


def _html_row(row: Row, columns: Sequence[Column]) -> str:
    style = LOOKS.get(row.look, ("", ""))[1]
    opening = f'<tr style="{style}">' if style else "<tr>"
    texts = (row.name, *row.cells)
    cells = "".join(_cell("td", text, column) for text, column in zip(texts, columns, strict=True))
    if not row.note:
        return f"{opening}{cells}</tr>"
    note = f'<td colspan="{len(columns)}" style="text-align: left; padding: 0 8px 2px 24px">{escape(row.note)}</td>'
    return f"{opening}{cells}</tr>{opening}{note}</tr>"


def _cell(tag: str, text: str, column: Column) -> str:
    align = "right; white-space: nowrap" if column.is_number else "left"
    return f'<{tag} style="text-align: {align}; padding: 2px 8px">{escape(text)}</{tag}>'
