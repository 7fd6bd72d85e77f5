"""Parts of sheets that openpyxl does not provide when reading row by row: merged cells, formulas without values,
drawings."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from dream.documents.charts import chart_lines
from dream.documents.drawings import drawing_lines
from dream.documents.merged_cells import Cell, merged_cells
from dream.documents.office_parts import Package, Relation, attribute
from dream.documents.xml import parse

WORKBOOK = "xl/workbook.xml"
# A cell with a formula whose value was never stored.
_WITHOUT_VALUE = re.compile(rb"(?:</f>|<f\b[^>]*/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")
_SHEET_OF = re.compile(r"(?:'((?:[^']|'')+)'|([^'!]+))!")


@dataclass(frozen=True)
class SheetParts:
    """A sheet: its merged cells as in `merged_cells`, how many formulas have no stored value, and the parts with its
    drawings."""

    is_visible: bool = True
    merged: Mapping[Cell, Cell] = field(default_factory=dict)
    n_without_values: int = 0
    drawings: tuple[str, ...] = ()


class WorkbookParts:
    """The sheets of a workbook by title, in their order, chart sheets too."""

    def __init__(self, content: bytes):
        self._package = Package(content)
        self.sheets = dict(_sheets(self._package)) if WORKBOOK in self._package.names else {}

    def formulas_without_values(self) -> Iterator[str]:
        """A line if formulas were saved without their values."""
        if count := sum(sheet.n_without_values for sheet in self.sheets.values()):
            yield f"{count} formula(s) have no stored value"

    def drawn(self, title: str, name_at: Callable[[str], str]) -> Iterator[str]:
        """The text of a sheet's shapes and charts; values of charts are left out if they are in a sheet that is read.

        Args:
            name_at: returns the text of a cell, as for `dream.documents.charts.chart_lines`.
        """
        chart = partial(chart_lines, name_at=name_at, is_shown=self._is_shown)
        for part in self.sheets[title].drawings:
            yield from drawing_lines(self._package, part, parse(self._package.read(part)), chart)

    def _is_shown(self, reference: str) -> bool:
        sheet = self.sheets.get(sheet_of(reference))
        return sheet is not None and sheet.is_visible


def sheet_of(reference: str) -> str:
    """The title of the sheet in a reference; "" if there is none.

    Example:
        >>> sheet_of("Data!$A$1:$A$4"), sheet_of("'North & ''South'''!B2")
        ('Data', "North & 'South'")
    """
    match = _SHEET_OF.match(reference)
    return "" if match is None else (match[1] or match[2]).replace("''", "'")


def _sheets(package: Package) -> Iterator[tuple[str, SheetParts]]:
    related = package.related(WORKBOOK)
    for sheet in parse(package.read(WORKBOOK)).iter("{*}sheet"):
        if relation := related.get(attribute(sheet, "id")):
            yield sheet.get("name"), _sheet(package, relation, sheet.get("state", "visible") == "visible")


def _sheet(package: Package, relation: Relation, is_visible: bool) -> SheetParts:
    drawings = tuple(found.part for found in package.related(relation.part).values() if found.kind == "drawing")
    if relation.kind != "worksheet":
        return SheetParts(is_visible, drawings=drawings)
    xml = package.read(relation.part)
    return SheetParts(is_visible, merged_cells(xml), len(_WITHOUT_VALUE.findall(xml)), drawings)
