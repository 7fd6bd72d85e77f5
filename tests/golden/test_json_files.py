"""JSON in the shapes that pandas, ragas, LlamaIndex, Hugging Face and SQuAD write."""

import json
from typing import Any

import pytest

from dream.golden.json_files import read_json

ROWS = [{"question": "How high?", "ground_truth": "42 m"}, {"question": "How low?", "ground_truth": "3 m"}]


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (ROWS, "item"),
        ({"data": ROWS}, "item"),
        ({"examples": ROWS, "version": 2}, "item"),
        ({"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]}, "item"),
        ({name: [row[name] for row in ROWS] for name in ROWS[0]}, "item"),
        ({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]}, "item"),
        ({"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}, "item"),
    ],
)
def test_tables_in_one_value(value: Any, unit: str):
    sheet = read_json(json.dumps(value).encode())
    assert (sheet.unit, sheet.problems, sheet.columns) == (unit, (), ("question", "ground_truth"))
    assert [(row.number, dict(row.cells)) for row in sheet.rows] == [(1, ROWS[0]), (2, ROWS[1])]


def test_lines_keep_their_numbers():
    lines = [json.dumps(ROWS[0]), "", json.dumps({"question": "", "ground_truth": None}), json.dumps(ROWS[1])]
    sheet = read_json("\n".join(lines).encode("utf-8-sig"))
    assert sheet.unit == "line"
    assert [(row.number, dict(row.cells)) for row in sheet.rows] == [(1, ROWS[0]), (4, ROWS[1])]


@pytest.mark.parametrize(
    ("text", "unit", "number", "problem"),
    [
        ('{"question": "a"}\n{"question": \n{"question": "b"}', "line", 2, "not JSON"),
        ('{"question": "a"}\n["b"]', "line", 2, "not a JSON object"),
        ('[{"question": "a"}, "b"]', "item", 2, "not a JSON object: '\"b\"'"),
        ('[{"question": "a"},\n{"question"]', "line", 2, "it is not JSON"),
        ('{"version": 1}', "item", 1, "not a table"),
        ("[" * 100_000, "item", 1, "nested too deeply"),
    ],
)
def test_what_is_no_table_is_named(text: str, unit: str, number: int, problem: str):
    sheet = read_json(text.encode())
    assert sheet.unit == unit
    assert sheet.problems[0][0] == number
    assert problem in sheet.problems[0][1]
    assert '"question": "How high is the dam?"' in sheet.remedy


def test_squad_gives_each_question_its_paragraph_and_article():
    answers = [{"text": "42 m", "answer_start": 3}]
    article = {
        "title": "Dam",
        "paragraphs": [{"context": "It is 42 m.", "qas": [{"id": "q", "question": "How high?", "answers": answers}]}],
    }
    (row,) = read_json(json.dumps({"version": "1.1", "data": [article]}).encode()).rows
    assert row.cells["context"] == "It is 42 m."
    assert (row.cells["source_file"], row.cells["answers"]) == ("Dam", answers)


def test_pairs_for_embedding_models_have_their_passages():
    pairs = {"queries": {"q": "How high?"}, "corpus": {"a": "42 m", "b": "x"}, "relevant_docs": {"q": ["a"]}}
    (row,) = read_json(json.dumps(pairs).encode()).rows
    assert (row.cells["query"], row.cells["reference_contexts"]) == ("How high?", ["42 m"])


def test_entries_of_metadata_stand_beside_the_others():
    (row,) = read_json(b'{"_id": "1", "text": "How high?", "metadata": {"answer": "42 m", "_id": "x"}}').rows
    assert (row.cells["answer"], row.cells["_id"]) == ("42 m", "1")
