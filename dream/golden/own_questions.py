"""Reads a user's questions: a file in any common form becomes golden questions, or a list of its mistakes."""

import gzip
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dream.documents.file_types import is_binary
from dream.documents.text_encoding import SAMPLE_BYTES, unicode_encoding
from dream.errors import DataError, bullets
from dream.golden.columns import (
    LISTS,
    NAMES,
    fields_of,
    files_of,
    list_as_written,
    metadata_sources,
    page_of,
    plain_name,
    spans_of,
    text_of,
    texts_of,
    truths_of,
)
from dream.golden.csv_files import decoded, read_csv
from dream.golden.excel_files import read_xlsx
from dream.golden.json_files import read_json
from dream.golden.sheet import Problems, Row, Sheet, bounded, names, numbered, shortened, unfit_character
from dream.records import GoldenQuestion, Source, source_columns, sources_of

REQUIRED = ("question", "ground_truth")
EXTENSIONS = (".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xlsm", ".jsonl", ".ndjson", ".json", ".parquet")
NO_TABLES = {
    b"sqlite format 3": "a SQLite database",
    b"arrow1": "an Arrow file",
    b"id;p": "a SYLK file",
    b"%pdf": "a PDF",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<table": "a web page",
    b"<?xml": "XML",
    b"{\\rtf": "rich text",
}
OLD_EXCEL, ZIP, PARQUET, GZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04", b"PAR1", b"\x1f\x8b"


@dataclass(frozen=True)
class OwnQuestions:
    """The questions of a file, and a line for each assumption and each ignored part."""

    questions: tuple[GoldenQuestion, ...]
    notes: tuple[str, ...] = ()


def is_question_file(name: str) -> bool:
    """True if the name has an extension of files with questions, in upper or lower case."""
    return name.lower().removesuffix(".gz").endswith(EXTENSIONS)


def read_questions(content: bytes, uri: str) -> OwnQuestions:
    """The questions of a file, whose format is detected from its content, not its name.

    Raises:
        DataError: a page that names every mistake with its row.
    """
    try:
        sheet = read_sheet(content)
    except DataError as error:
        raise DataError(f"{uri}: {error}") from error
    return questions_of(sheet, uri)


def read_sheet(content: bytes) -> Sheet:
    """The rows of a file."""
    if content.startswith(GZIP):
        content = gzip.decompress(content)
    if content.startswith(OLD_EXCEL):
        raise DataError("an Excel file of the old form (.xls), or one with a password: save it as .xlsx without one")
    if content.startswith(ZIP):
        if kind := _zip_kind(content):
            raise DataError(f"it is {kind}: open it in its application and save the questions as .xlsx or CSV")
        return read_xlsx(content)
    if content.startswith(PARQUET):
        return _read_parquet(content)
    if kind := next((kind for start, kind in NO_TABLES.items() if content.lstrip()[:20].lower().startswith(start)), ""):
        raise DataError(f"it is {kind}, not a table: save the questions as CSV, .xlsx or JSON")
    if is_binary(content[:SAMPLE_BYTES]) and not unicode_encoding(content):
        raise DataError("it is binary data, not a table: save the questions as CSV, .xlsx, JSON or Parquet")
    return read_json(content) if _is_json(content) else read_csv(content)


def _zip_kind(content: bytes) -> str:
    """The kind of an archive that is not an Excel workbook, from the names of its members; empty if unknown."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return ""
    kinds = {"content.xml": "an OpenDocument file (LibreOffice)", "Index/": "a document of Apple Numbers",
             "word/": "a Word document", "ppt/": "a PowerPoint presentation"}  # fmt: skip
    return next((kind for start, kind in kinds.items() if any(name.startswith(start) for name in names)), "")


def _is_json(content: bytes) -> bool:
    start = decoded(content[:1000])[0].lstrip("\ufeff \t\r\n")
    return start.startswith(("{", "[{", "[")) and not start.startswith("[question")


def _read_parquet(content: bytes) -> Sheet:
    import pyarrow.parquet

    records = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    return Sheet(columns, tuple(Row(i, record) for i, record in enumerate(records, start=1)), unit="item")


@dataclass(frozen=True)
class _Question:
    """A row with interpreted columns; contexts and evidence are None if they cannot be read."""

    number: int
    question: str
    ground_truth: str
    n_truths: int
    contexts: list[str] | None
    source_file: str
    source_page: str
    synthesizer: str
    id: str
    evidence: list[dict[str, Any]] | None

    @property
    def pair(self) -> tuple[str, str]:
        return self.question, self.ground_truth

    def texts(self) -> Iterator[tuple[str, str]]:
        yield "question", self.question
        yield "ground_truth", self.ground_truth
        yield from (("reference_contexts", text) for text in self.contexts or ())
        yield "source_file", self.source_file

    def golden(self) -> GoldenQuestion:
        return GoldenQuestion.from_row(
            {
                "question": self.question,
                "ground_truth": self.ground_truth,
                "reference_contexts": self.contexts,
                "source_file": self.source_file,
                "source_page": self.source_page,
                "synthesizer": self.synthesizer,
                "evidence_spans": self.evidence,
            }
        )


def questions_of(sheet: Sheet, uri: str) -> OwnQuestions:
    """The questions of a sheet.

    Raises:
        DataError: a page that names every mistake with its row.
    """
    fields = fields_of(sheet.columns)
    problems, rows = Problems(sheet.unit, list(sheet.problems)), []
    if not problems.found:
        if wrong := list(_shape_problems(sheet, fields)):
            raise DataError(bullets(f"{len(wrong)} mistake(s) in {uri}:", wrong))
        rows = [_question(row, fields) for row in sheet.rows]
        problems.found += _row_problems(rows, sheet, fields)
    if problems.found:
        lines = [*problems.lines(), *([sheet.remedy] if sheet.remedy else [])]
        raise DataError(bullets(f"{len(problems.found)} mistake(s) in {uri}:", lines))
    return OwnQuestions(tuple(row.golden() for row in rows), tuple(_notes(sheet, fields, rows)))


def _question(row: Row, fields: Mapping[str, str]) -> _Question:
    cells = {field: row.cells.get(column) for field, column in fields.items()}
    id_, question = text_of(cells.get("id")), text_of(cells.get("question"))
    truths, contexts = truths_of(cells.get("ground_truth")), _contexts(cells.get("reference_contexts"), fields)
    if _is_dreams_own(cells):  # DREAM wrote it, so a text such as "None" is meant literally
        question, truths = str(cells["question"]), [str(cells["ground_truth"])]
        contexts = list_as_written(cells.get("reference_contexts")) or contexts
    file = files_of(cells.get("source_file"))
    page = page_of(cells.get("source_page"), len(sources_of(file, "")))
    if not file and (named := metadata_sources(row.cells.get("metadata"))):
        file = source_columns([Source(name) for name in named])[0]
    return _Question(
        row.number,
        question,
        truths[0] if truths else "",
        len(truths),
        contexts,
        file,
        page,
        text_of(cells.get("synthesizer")),
        id_,
        spans_of(cells.get("evidence_spans")),
    )


def _is_dreams_own(cells: Mapping[str, Any]) -> bool:
    """True if DREAM wrote a row, recognised by the id, which is a digest."""
    if not cells.get("id"):
        return False
    pair = [text for field in REQUIRED if isinstance(text := cells.get(field), str) and not unfit_character(text)]
    return len(pair) == len(REQUIRED) and cells.get("id") == GoldenQuestion.make_id(*pair)


def _contexts(value: Any, fields: Mapping[str, str]) -> list[str] | None:
    """The texts of a list; a column with a singular name may also hold one plain text."""
    texts = texts_of(value)
    if texts is None and plain_name(fields["reference_contexts"]) not in LISTS:
        return [text_of(value)]
    return texts


def _shape_problems(sheet: Sheet, fields: Mapping[str, str]) -> Iterator[str]:
    """Problems with the columns; a sheet without rows is a problem, too."""
    known_names = {name for candidates in NAMES.values() for name in candidates}
    places: dict[str, list[int]] = {}
    for i, column in enumerate(sheet.columns):
        places.setdefault(plain_name(column), []).append(i)
    for name, columns in places.items():
        if len(columns) > 1 and name in known_names:
            where = " and ".join(_letter(i) for i in columns[:5])
            header = f"{sheet.unit} {sheet.header_row}"
            yield f"{header}: the column {name!r} occurs {len(columns)} times ({where}): rename or remove all but one"
    if missing := [field for field in REQUIRED if field not in fields]:
        yield f"missing column(s) {', '.join(missing)}; it has: {names(sheet.columns)}{_hint(missing, sheet)}"
    elif not sheet.rows:
        yield "it has no rows: give at least one question"


def _hint(missing: Sequence[str], sheet: Sheet) -> str:
    present = {plain_name(column): column for column in sheet.columns}
    if "question" in missing and "text" in present and "_id" in present:
        return ". In BEIR's queries.jsonl, give the folder with it, and an answer in each line (ground_truth)"
    if "ground_truth" in missing and (answer := present.get("answer") or present.get("response")):
        return f". {answer!r} is what a RAG system answered; if it is the correct answer, name it ground_truth"
    if list(missing) == list(REQUIRED) and any(sheet.columns):
        return f". {sheet.unit} {sheet.header_row} must name the columns" if sheet.unit == "row" else ""
    if missing == ["ground_truth"]:
        return ". Scores need the correct answer to each question"
    return ""


def _letter(i: int) -> str:
    """The letter of a column in a spreadsheet.

    Example:
        >>> _letter(0), _letter(27)
        ('A', 'AB')
    """
    return (_letter(i // 26 - 1) if i >= 26 else "") + chr(65 + i % 26)


def _row_problems(rows: Sequence[_Question], sheet: Sheet, fields: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    cells = {row.number: row.cells for row in sheet.rows}
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        for field, text in (("question", row.question), ("ground_truth", row.ground_truth)):
            if not text.strip():
                yield row.number, _empty(field, fields[field], cells[row.number].get(fields[field]))
        if row.contexts is None:
            yield row.number, f'{fields["reference_contexts"]} must be a JSON list of texts, e.g. ["one", "two"]'
        if row.evidence is None:
            yield row.number, "evidence_spans is not in DREAM's format: correct it, or empty the cell"
        for field, text in row.texts():
            if character := unfit_character(text):
                yield row.number, f"{field} contains {character}, which is not allowed in texts: remove it"
        first = seen.setdefault(row.pair, row.number)
        if first != row.number and all(text.strip() for text in row.pair):
            yield row.number, f"the same question and ground truth as {sheet.unit} {first}"


def _empty(field: str, column: str, written: Any) -> str:
    named = field if column == field else f"{field} ({column})"
    if not isinstance(written, str) or not written.strip():
        return f"{named} is empty"
    return f"{named} is {written.strip()!r}, which counts as an empty cell; if the text is meant, write a sentence"


def _notes(sheet: Sheet, fields: Mapping[str, str], rows: Sequence[_Question]) -> Iterator[str]:
    """Notes about assumptions and ignored parts, one line each."""
    yield from sheet.notes
    renamed = [f"{field} from {column!r}" for field, column in fields.items() if plain_name(column) != field]
    if renamed:
        yield f"read: {', '.join(renamed)}"
    used = {*fields.values(), "", *({"metadata"} if any(row.source_file for row in rows) else ())}
    unused = [column for column in sheet.columns if column not in used and not column.startswith("Unnamed: ")]
    if unused:
        yield f"unused columns: {names(unused)}"
    groups: dict[str, list[int]] = {}
    for note, number in _row_notes(rows, sheet.unit):
        groups.setdefault(note, []).append(number)
    yield from bounded([f"{numbered(sheet.unit, numbers)}: {note}" for note, numbers in groups.items()])


def _row_notes(rows: Sequence[_Question], unit: str) -> Iterator[tuple[str, int]]:
    questions: dict[str, int] = {}
    ids: dict[str, int] = {}
    for row in rows:
        if row.n_truths > 1:
            yield "several ground truths; the first is used", row.number
        if any("\ufffd" in text for _, text in row.texts()):
            yield "U+FFFD in place of characters that were lost when the file was saved", row.number
        if (first := questions.setdefault(row.question, row.number)) != row.number:
            yield f"the same question as {unit} {first}, with another ground truth", row.number
        if row.id and (first := ids.setdefault(row.id, row.number)) != row.number:
            yield f"the same id as {unit} {first}, {shortened(row.id)}; ids are not used", row.number
