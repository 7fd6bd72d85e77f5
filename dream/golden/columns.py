"""The names of columns in other tools, and the forms of lists, pages and empty values in cells."""

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Each field with its names in ragas (old and new), LlamaIndex, BEIR, SQuAD and spreadsheets. If a file has several of
# them, the first in this order is used. Columns in `LISTS` contain lists of texts.
NAMES: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "questions", "user_input", "query", "user_query", "prompt"),
    "ground_truth": (
        "ground_truth", "ground_truths", "reference", "reference_answer", "reference_answers", "expected_answer",
        "expected_output", "correct_answer", "golden_answer", "gold_answer", "answers",
    ),
    "reference_contexts": (
        "reference_contexts", "reference_context", "ground_truth_contexts", "ground_truth_context", "contexts",
        "context",
    ),
    "source_file": (
        "source_file", "source_files", "source", "sources", "file_name", "filename", "file", "file_path", "document",
        "document_name", "source_document", "doc",
    ),
    "source_page": (
        "source_page", "source_pages", "page", "pages", "page_label", "page_labels", "page_number", "page_numbers",
        "page_no",
    ),
    "synthesizer": ("synthesizer", "synthesizer_name", "evolution_type"),
    "id": ("id", "_id", "question_id", "query_id", "qid"),
    "evidence_spans": ("evidence_spans",),
}  # fmt: skip
LISTS = ("reference_contexts", "ground_truth_contexts", "contexts")
# Output of a RAG system, which is not evidence: `contexts` beside an answer are the contexts that the system retrieved.
SYSTEMS_OWN = ("answer", "response", "retrieved_contexts")
MOST_ABOVE_HEADER = 10
NOTHING = frozenset({"", "nan", "none", "null", "n/a", "#n/a", "<na>", "nat"})


# The text form of an array of texts in Python.
_ARRAY = re.compile(r"\s*(?:np\.|numpy\.)?array\((\[.*\])\s*(?:,\s*dtype=\S+)?\)\s*", re.DOTALL)
_BETWEEN_FILES, _FILE_NAME = re.compile(r"[;,|\n]"), re.compile(r"^[^\[{].*\.[A-Za-z][A-Za-z0-9]{1,4}$")


def plain_name(name: str) -> str:
    """The normalised name of a column: case, spaces and punctuation do not matter.

    Example:
        >>> plain_name(" Ground Truth"), plain_name("groundTruth"), plain_name("SOURCE-FILE")
        ('ground_truth', 'ground_truth', 'source_file')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub("[\ufeff\0]", "", name).strip())
    return re.sub(r"[\s\-_.]+", "_", parted).lower().strip("_") if parted.lower() != "_id" else "_id"


def fields_of(columns: Sequence[str]) -> dict[str, str]:
    """The column of each field that the columns have, by the field's name."""
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(plain_name(column), column)
    hidden = {"contexts", "context"} if any(name in by_name for name in SYSTEMS_OWN) else set()
    columns_by_field = {}
    for field, candidates in NAMES.items():
        present = [by_name[name] for name in candidates if name in by_name and name not in hidden]
        if present:
            columns_by_field[field] = present[0]
    return columns_by_field


def below_header(rows: Sequence[tuple[int, list[Any]]]) -> tuple[int, list[Any], Sequence[tuple[int, list[Any]]]]:
    """The number and cells of the header row, and the rows below it, each with its number. The header is the first row,
    or one of the next rows if only that one names known columns.

    Example:
        >>> below_header([(1, ["My questions"]), (2, ["question", "ground_truth"]), (3, ["How high?", "42 m"])])
        (2, ['question', 'ground_truth'], [(3, ['How high?', '42 m'])])
    """
    needed, header_index = {"question", "ground_truth"}, 0
    if "question" not in fields_of(rows[0][1]):
        fits = (i for i, (_, cells) in enumerate(rows[:MOST_ABOVE_HEADER]) if needed <= set(fields_of(cells)))
        header_index = next(fits, 0)
    return *rows[header_index], rows[header_index + 1 :]


def above_header(header_row: int, rows: Sequence[tuple[int, list[Any]]]) -> tuple[str, ...]:
    """A note if there is text above the header row."""
    if rows[0][0] == header_row:
        return ()
    return (f"row {header_row} is the header; rows above it are ignored",)


def is_nothing(value: Any) -> bool:
    """True for an empty cell, and for texts that programs write into empty cells: nan, None, null, N/A.

    Example:
        >>> [is_nothing(value) for value in (" ", "NaN", None, float("nan"), [], "None of them", "0")]
        [True, True, True, True, True, False, False]
    """
    if isinstance(value, str):
        return value.strip().lower() in NOTHING or value.strip() == "NA"
    if isinstance(value, list | dict):
        return not value
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    """A cell as a text: text unchanged, "" for an empty cell, a whole number without ".0"."""
    if is_nothing(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.15g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def texts_of(value: Any) -> list[str] | None:
    """The texts of a list: a list itself, or one that is written as JSON, in Python, or as NumPy prints it.

    None for anything else. Empty items are left out.

    Example:
        >>> texts_of('["a", "b"]'), texts_of("['a', 'b']"), texts_of("['a' 'b']"), texts_of("a")
        (['a', 'b'], ['a', 'b'], ['a', 'b'], None)
    """
    if is_nothing(value):
        return []
    items = value if isinstance(value, list) else _parsed(value) if isinstance(value, str) else None
    if items is None:
        return None
    texts = [_text_in(item) for item in items if not is_nothing(item)]
    return texts if all(isinstance(text, str) for text in texts) else None


def list_as_written(value: Any) -> list[str] | None:
    """All texts of a JSON list, including empty ones; None for anything else."""
    try:
        texts = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None


def _text_in(item: Any) -> Any:
    """An item of a list; for a document of LangChain or LlamaIndex, its text."""
    if not isinstance(item, dict):
        return item
    return next((item[name] for name in ("text", "page_content", "content") if isinstance(item.get(name), str)), None)


def truths_of(value: Any) -> list[str]:
    """The correct answers in a cell: one text, a list of texts, or SQuAD's `{"text": [...], "answer_start": [...]}`."""
    if isinstance(value, dict):
        value = value.get("text", "")
    if isinstance(value, list):
        nested = [item.get("text", "") if isinstance(item, dict) else item for item in value]
        return list(dict.fromkeys(text for item in nested if (text := text_of(item))))
    texts = texts_of(value) if isinstance(value, str) and value.lstrip().startswith("[") else None
    return list(dict.fromkeys(texts)) if texts else [text_of(value)]


def page_of(value: Any, n_files: int = 0) -> str:
    """The page in a cell, or the pages of each of several files; pandas and spreadsheets write 3 as "3.0".

    Example:
        >>> page_of("3.0"), page_of(3.0), page_of("iv"), page_of("3; 7.0")
        ('3', '3', 'iv', '3; 7')
        >>> page_of("3; 7", n_files=1), page_of("[3, 7]", n_files=1)
        ('3, 7', '3, 7')
    """
    items = value if isinstance(value, list) else _parsed(value) if text_of(value).startswith("[") else None
    if items is None and n_files == 1 and isinstance(value, str) and ";" in value:
        items = value.split(";")
    if items is not None and n_files == 1:
        value = ", ".join(text_of(item).strip() for item in items)
    elif items is not None:
        value = json.dumps([text_of(item) for item in items], ensure_ascii=False)
    return re.sub(r"(?<![\w.])(\d+)\.0+(?![\w.])", r"\1", text_of(value))


def files_of(value: Any) -> str:
    """The file or files in a cell, in the form of `dream.records.sources_of`; a list in Python becomes one in JSON.

    Several names with extensions may be separated by semicolons, commas, bars or line breaks.

    Example:
        >>> files_of("a.pdf;b.pdf"), files_of("Minutes, final.pdf")
        ('a.pdf; b.pdf', 'Minutes, final.pdf')
    """
    text = text_of(value)
    if isinstance(value, list) or text.startswith("['"):
        return json.dumps(texts, ensure_ascii=False) if (texts := texts_of(value)) else text
    names = [name.strip() for name in _BETWEEN_FILES.split(text) if name.strip()]
    return "; ".join(names) if len(names) > 1 and all(map(_FILE_NAME.search, names)) else text


def spans_of(value: Any) -> list[dict[str, Any]] | None:
    """The evidence spans in a cell, as DREAM writes them; None for anything else.

    Example:
        >>> spans_of('[{"file": "a.md", "digest": "9f", "start": 0, "end": 17, "pages": []}]')[0]["end"], spans_of("17")
        (17, None)
    """
    if is_nothing(value):
        return []
    items = value if isinstance(value, list) else _parsed(value) if isinstance(value, str) else None
    return items if items is not None and all(map(_is_span, items)) else None


def _is_span(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    texts, (start, end) = (item.get("file"), item.get("digest")), (item.get("start"), item.get("end"))
    numbers = isinstance(start, int) and isinstance(end, int) and 0 <= start < end
    pages = item.get("pages") or []
    are_texts = isinstance(pages, list) and all(isinstance(text, str) for text in (*texts, *pages))
    return numbers and are_texts


def metadata_sources(value: Any) -> list[str]:
    """The files that ragas 0.1 names in its column `metadata`: `[{'source': 'a.pdf'}]`."""
    items = value if isinstance(value, list) else _parsed(value) if isinstance(value, str) else None
    found = (
        next((item[name] for name in ("file_name", "filename", "source") if isinstance(item.get(name), str)), "")
        for item in items or ()
        if isinstance(item, dict)
    )
    return [file for file in found if file]


def _parsed(text: str) -> list[Any] | None:
    if array := _ARRAY.fullmatch(text):
        text = array[1]
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        if isinstance(value, tuple):
            return list(value)
        if not isinstance(value, list):
            return None
        # NumPy prints arrays without commas, and Python would join such literals
        return value if parse is json.loads or any(not isinstance(item, str) for item in value) else _literals(text)
    return None


def _literals(text: str) -> list[Any] | None:
    """The separate string literals of a list; None if it contains anything else."""
    try:
        tokens = list(_tokens(text.strip()))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return None
    return [ast.literal_eval(token) for token in tokens if token not in ("[", "]", ",")]


def _tokens(text: str) -> Iterator[str]:
    meant = (tokenize.OP, tokenize.STRING)
    yield from (token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type in meant)
