"""A folder in BEIR's form: `queries.jsonl`, `corpus.jsonl` and `qrels/*.tsv`, for which passages answer which query.

BEIR has no answers; a line of `queries.jsonl` becomes a golden question if it has one (`ground_truth` or one of its
other names, also in `metadata`).
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from dream.golden.columns import fields_of, plain_name, text_of
from dream.golden.csv_files import decoded
from dream.golden.own_questions import read_sheet
from dream.golden.sheet import Row, Sheet
from dream.storage import Storage

QUERIES, CORPUS, QRELS = "queries.jsonl", "corpus.jsonl", "qrels/"


def is_beir(storage: Storage) -> bool:
    """True for a folder with BEIR's queries."""
    return storage.exists(QUERIES)


def read_beir(storage: Storage) -> Sheet:
    """The queries as rows, with the passages judged relevant as reference contexts.

    If several splits are judged, the test split is used.
    """
    sheet = _with_question(read_sheet(storage.read_bytes(QUERIES)))
    splits = [item.key for item in storage.list(QRELS) if item.key.endswith(".tsv")]
    if not splits:
        return sheet
    chosen = next((key for key in splits if key.endswith("/test.tsv")), splits[0])
    relevant = _relevant(decoded(storage.read_bytes(chosen))[0])
    rows = [row for row in sheet.rows if text_of(row.cells.get("_id")) in relevant]
    wanted = {id_ for row in rows for id_ in relevant[text_of(row.cells.get("_id"))]}
    passages = _passages(storage, wanted) if "reference_contexts" not in fields_of(sheet.columns) else {}
    rows = [_with_passages(row, relevant[text_of(row.cells.get("_id"))], passages) for row in rows]
    note = f"{len(rows)} of {len(sheet.rows)} queries are judged in {chosen}; only these are used"
    extra = ("reference_contexts", "source_file") if passages else ()
    return replace(sheet, columns=(*sheet.columns, *extra), rows=tuple(rows), notes=(*sheet.notes, note))


def _with_question(sheet: Sheet) -> Sheet:
    """BEIR's `text` as the question, if the file has no other."""
    if "question" in fields_of(sheet.columns):
        return sheet
    columns = tuple("question" if plain_name(column) == "text" else column for column in sheet.columns)
    rows = tuple(
        Row(row.number, {"question" if plain_name(name) == "text" else name: cell for name, cell in row.cells.items()})
        for row in sheet.rows
    )
    return replace(sheet, columns=columns, rows=rows)


def _relevant(text: str) -> dict[str, list[str]]:
    """The ids of the passages that answer each query, best first: lines of query, passage and score, with a header."""
    relevant: dict[str, list[tuple[float, str]]] = {}
    for cells in csv.reader(io.StringIO(text, newline=""), delimiter="\t"):
        if len(cells) >= 3 and (score := _number(cells[-1])) > 0:
            relevant.setdefault(cells[0], []).append((-score, cells[-2]))
    return {query: [id_ for _, id_ in sorted(found, key=lambda pair: pair[0])] for query, found in relevant.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _passages(storage: Storage, wanted: Iterable[str]) -> dict[str, str]:
    if not storage.exists(CORPUS):
        return {}
    needed = set(wanted)
    return {id_: text for id_, text in _corpus(decoded(storage.read_bytes(CORPUS))[0]) if id_ in needed}


def _corpus(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        try:
            passage = json.loads(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(passage, dict):
            title, body = text_of(passage.get("title")), text_of(passage.get("text"))
            yield text_of(passage.get("_id")), f"{title}\n{body}" if title else body


def _with_passages(row: Row, ids: list[str], passages: Mapping[str, str]) -> Row:
    relevant = [id_ for id_ in ids if id_ in passages]
    if not relevant:
        return row
    return Row(
        row.number, {**row.cells, "reference_contexts": [passages[id_] for id_ in relevant], "source_file": relevant}
    )
