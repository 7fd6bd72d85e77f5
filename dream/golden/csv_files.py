"""Reads CSV with the encodings and separators of spreadsheets and databases, and keeps row numbers."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dream.documents.text_encoding import decode
from dream.golden.columns import above_header, below_header, fields_of, is_nothing
from dream.golden.sheet import Problems, Row, Sheet, shortened

SEPARATORS = (",", ";", "\t", "|", "，", "；")
QUOTING = (
    'put quotes around a text with a separator, a quote or a line break, and write its own quotes twice: "one, ""two"""'
)
_RULE = re.compile(r"\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?\s*)?")
_MARKDOWN_TABLE = re.compile(rf"\s*\|[^\n]*\|[ \t]*\r?\n[ \t]*{_RULE.pattern}[ \t]*(?:\r?\n|$)")
# Quotes of typography, from word processors, around whole fields: opening and closing ones.
_OPENING, _CLOSING = "“”„«»‘‚", "“”»«’‘"
_TYPOGRAPHIC = frozenset(_OPENING)
_SPACE_BEFORE_QUOTE = re.compile(r'\s+".*"\s*', re.DOTALL)


@dataclass(frozen=True)
class _Parsed:
    """The records of a text in one dialect, each with its row number in a spreadsheet, and the problems found."""

    records: tuple[tuple[int, list[str]], ...]
    problems: tuple[tuple[int, str], ...] = ()
    note: str = ""

    @property
    def header(self) -> list[str]:
        return self.records[0][1] if self.records else []

    def is_clean(self) -> bool:
        """False if a record has more fields than the header, or if quotes were taken for a part of the text."""
        width = len(self.header)
        return not self.problems and not any(
            any(cell.strip() for cell in cells[width:]) or any(map(_SPACE_BEFORE_QUOTE.fullmatch, cells))
            for _, cells in self.records
        )


def read_csv(content: bytes) -> Sheet:
    """The rows of a CSV file, with a note for each guess."""
    text, note = decoded(content)
    separator, text = _declared_separator(_without_frame(text))
    parsed = _parsed(text, separator or _separator(text))
    sheet = _sheet(parsed)
    return replace(sheet, notes=tuple(part for part in (note, parsed.note, *sheet.notes) if part))


def decoded(content: bytes) -> tuple[str, str]:
    """The text of a file, and a note if its encoding was guessed or has invalid bytes."""
    read = decode(content)
    return read.text, f"{read.problem}: if characters look wrong, save it as 'CSV UTF-8'" if read.problem else ""


def _without_frame(text: str) -> str:
    """The rows of a Markdown table without its frame."""
    if not _MARKDOWN_TABLE.match(text):
        return text
    lines = (line.strip() for line in text.splitlines())
    return "\n".join("" if _RULE.fullmatch(line) else re.sub(r"\s*\|\s*", "|", line).strip("|") for line in lines)


def _declared_separator(text: str) -> tuple[str, str]:
    """The separator of Excel's optional first line `sep=;`, and the text without that line."""
    declared = re.match(r'"?sep=([^\r\n])"?[^\r\n\w]*(\r\n|\r|\n|$)', text, re.IGNORECASE)
    return (declared[1], text[declared.end() :]) if declared else ("", text)


def _separator(text: str) -> str:
    """The separator with which the header has the most known columns, or else the most columns."""

    def known(separator: str) -> tuple[int, int]:
        header = next((cells for _, cells in _records(text, separator, strict=False) if any(cells)), [])
        return len(fields_of(header)), len(header)

    return max(SEPARATORS, key=known)


def _parsed(text: str, separator: str) -> _Parsed:
    """The records in standard CSV; if that fails, with another form of quotes."""
    first = _attempt(text, separator)
    if first.is_clean():
        return first
    closed = re.sub(rf'(?<!")"[ \t]+(?={re.escape(separator)}|[\r\n]|$)', '"', text)
    around = _attempt(closed, separator, skipinitialspace=True)
    if around.is_clean():
        note = "spaces before quotes are ignored" if closed == text else "spaces around quotes are ignored"
        return replace(around, note=note)
    others: list[tuple[str, str, Mapping[str, Any]]] = [('\\" is read as a quote', text, {"escapechar": "\\"})]
    if '"' not in text:
        typographic = _with_plain_quotes(text, separator)
        others.append(("typographic quotes around texts are read as quotes", typographic, {"skipinitialspace": True}))
        others.append(("single quotes around texts are read as quotes", text, {"quotechar": "'"}))
    for note, changed, dialect in others:
        other = _attempt(changed, separator, **dialect)
        if other.is_clean():
            return replace(other, note=note)
    return first


def _with_plain_quotes(text: str, separator: str) -> str:
    """The text with plain quotes instead of typographic ones at the beginning and end of fields."""
    edge = re.escape(separator)
    opened = re.sub(rf"(^|{edge}[ \t]*)[{_OPENING}]", r'\1"', text, flags=re.MULTILINE)
    return re.sub(rf"[{_CLOSING}](?=[ \t]*(?:{edge}|\r?$))", '"', opened, flags=re.MULTILINE)


def _attempt(text: str, separator: str, **dialect: Any) -> _Parsed:
    records: list[tuple[int, list[str]]] = []
    number = 0
    try:
        for number, cells in _records(text, separator, **dialect):
            if records or any(not is_nothing(cell) for cell in cells):
                records.append((number, cells))
    except csv.Error as error:
        return _Parsed(tuple(records), ((number + 1, f"its quotes are not balanced ({error})"),))
    return _Parsed(tuple(records))


def _records(text: str, separator: str, *, strict: bool = True, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """All records with their row numbers; an empty line counts as a row, a line break in quotes does not."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict, **dialect)
    yield from enumerate(reader, start=1)


def _sheet(parsed: _Parsed) -> Sheet:
    if not parsed.records:
        return Sheet((), problems=parsed.problems)
    header_row, header, records = below_header(parsed.records)
    rows, problems, short = [], [], Problems()
    for number, cells in records:
        if all(map(is_nothing, cells)):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            n, first = len(cells), shortened(cells[len(header)])
            problems.append(
                (
                    number,
                    f"{n} fields, but the header (row {header_row}) has {len(header)}; the first extra one is {first}",
                )
            )
        elif len(cells) < len(header):
            short.add(number, "fewer fields than the header; missing ones are read as empty")
        rows.append(Row(number, cells_by_name(header, cells)))
    problems += parsed.problems
    remedy = QUOTING if problems else ""
    if problems and any(cell.lstrip()[:1] in _TYPOGRAPHIC for _, cells in records for cell in cells if cell.strip()):
        remedy += '; typographic quotes (“ ” „ « ») are not recognised here: write "'
    notes = (*above_header(header_row, parsed.records), *short.lines())
    return Sheet(tuple(header), tuple(rows), header_row, notes=notes, problems=tuple(problems), remedy=remedy)


def cells_by_name(header: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """The cells by column name; the first one if a name occurs twice."""
    by_name: dict[str, Any] = {}
    for i, name in enumerate(header):
        by_name.setdefault(name, cells[i] if i < len(cells) else "")
    return by_name
