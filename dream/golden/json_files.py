"""Reads JSON Lines and JSON in the structures that pandas, ragas, LlamaIndex and SQuAD write."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from dream.golden.columns import fields_of, is_nothing
from dream.golden.csv_files import cells_by_name, decoded
from dream.golden.sheet import Row, Sheet, shortened

# Keys that hold the list of records in datasets of LlamaIndex, Hugging Face and others
LISTS = ("examples", "data", "questions", "samples", "rows", "records", "dataset", "items")
NO_TABLE = (
    "write a JSON object for each question, one per line or in a list: "
    '{"question": "How high is the dam?", "ground_truth": "42 m"}'
)


def read_json(content: bytes) -> Sheet:
    """The records of a file with one JSON value, or with one per line."""
    text, note = decoded(content)
    notes = (note,) if note else ()
    try:
        value = json.loads(text)
    except ValueError as error:
        if _starts_with_an_object(text):
            return _lines(text, notes)
        if (value := _python(text)) is not None:
            return _sheet(enumerate(value, start=1), "item", (*notes, "read as a list in Python, not JSON"))
        return _refused(f"it is not JSON ({error})", "line", getattr(error, "lineno", 1))
    except RecursionError:
        return _refused("it is nested too deeply")
    records = _records(value)
    if records is None:
        return _refused(f"not a table: {shortened(text[:80])}")
    return _sheet(enumerate(records, start=1), "item", notes)


def _python(text: str) -> list[Any] | None:
    """A list as Python prints it."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return value if isinstance(value, list) else None


def _refused(problem: str, unit: str = "item", number: int = 1) -> Sheet:
    return Sheet((), unit=unit, problems=((number, problem),), remedy=NO_TABLE)


def _starts_with_an_object(text: str) -> bool:
    """True if the first line that is not empty could be a line of JSON Lines."""
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    return first.startswith("{") and first.rstrip(",").endswith("}")


def _lines(text: str, notes: tuple[str, ...]) -> Sheet:
    values: list[tuple[int, Any]] = []
    problems = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line.rstrip().rstrip(","))))
        except (ValueError, RecursionError) as error:
            problems.append((number, f"not JSON ({str(error)[:80]})"))
    return _sheet(values, "line", notes, problems)


def _sheet(values: Any, unit: str, notes: tuple[str, ...], problems: Sequence[tuple[int, str]] = ()) -> Sheet:
    wrong, rows = list(problems), []
    for number, value in values:
        if not isinstance(value, dict):
            if not is_nothing(value):
                wrong.append((number, f"not a JSON object: {shortened(json.dumps(value, ensure_ascii=False))}"))
        elif not all(map(is_nothing, value.values())):
            rows.append(Row(number, _flat(value)))
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    wrong.sort()
    return Sheet(
        tuple(columns), tuple(rows), unit=unit, notes=notes, problems=tuple(wrong), remedy=NO_TABLE if wrong else ""
    )


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the entries of its `metadata` (where BEIR has answers) merged into it."""
    metadata = record.get("metadata")
    inner = metadata if isinstance(metadata, dict) else {}
    return {**inner, **record}


def _records(value: Any) -> list[Any] | None:
    """The records of a table in one of the known structures; None for anything else."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    for name in LISTS:
        items = value.get(name)
        if isinstance(items, list) and all(isinstance(item, dict) for item in items):
            squad = any("paragraphs" in item for item in items)
            return list(_squad(items)) if squad else [_inner(item) for item in items]
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):  # pandas, orient="split"
        return [
            cells_by_name(list(map(str, value["columns"])), cells) for cells in value["data"] if isinstance(cells, list)
        ]
    if isinstance(value.get("queries"), dict):
        return list(_retrieval_pairs(value))
    return _by_column(value)


def _inner(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inner row of a Hugging Face viewer's `{"row_idx": 0, "row": {...}}`."""
    return record["row"] if isinstance(record.get("row"), dict) else record


def _by_column(value: Mapping[str, Any]) -> list[Any] | None:
    """Columns as lists, or as pandas writes them: `{"question": {"0": ...}}`."""
    columns = {name: column for name, column in value.items() if isinstance(column, list | dict)}
    if len(columns) < len(value):  # at most a single record
        is_record = (not columns and len(value) > 1) or {"question", "text"} & {*fields_of(list(value)), *value}
        return [value] if is_record else None
    rows: list[dict[str, Any]] = []
    for name, column in columns.items():
        for i, cell in enumerate(column.values() if isinstance(column, dict) else column):
            while len(rows) <= i:
                rows.append({})
            rows[i][name] = cell
    return rows or None


def _squad(articles: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """SQuAD's questions, each with its paragraph as context and its article as file."""
    for article in articles:
        for paragraph in article.get("paragraphs", ()):
            for question in paragraph.get("qas", ()):
                yield {
                    "id": question.get("id", ""),
                    "question": question.get("question", ""),
                    "answers": question.get("answers") or [],
                    "context": paragraph.get("context", ""),
                    "source_file": article.get("title", ""),
                }


def _retrieval_pairs(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """LlamaIndex's pairs for embedding models: queries, corpus and relevant documents by id."""
    corpus, relevant, answers = (value.get(name) or {} for name in ("corpus", "relevant_docs", "answers"))
    for key, query in value["queries"].items():
        contexts = [corpus[id_] for id_ in islice(relevant.get(key, ()), 50) if id_ in corpus]
        yield {"id": key, "query": query, "reference_answer": answers.get(key, ""), "reference_contexts": contexts}
