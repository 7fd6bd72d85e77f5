"""A folder of queries, passages and judgements: golden questions, if the queries have answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from dream.errors import DataError
from dream.golden import load_golden_dataset
from dream.records import Source
from dream.settings import Settings

QUERIES = [
    {"_id": "1", "text": "How high?", "metadata": {"ground_truth": "42 m"}},
    {"_id": "2", "text": "How low?", "metadata": {"ground_truth": "3 m"}},
    {"_id": "3", "text": "Who asks?", "metadata": {"ground_truth": "I"}},
]
CORPUS = [{"_id": "d1", "title": "Dam", "text": "It is 42 m high."}, {"_id": "d2", "title": "", "text": "3 m."}]


def folder(path: Path, queries: list[dict[str, Any]], qrels: str = "") -> str:
    path.mkdir()
    for name, lines in (("queries.jsonl", queries), ("corpus.jsonl", CORPUS)):
        (path / name).write_text("\n".join(map(json.dumps, lines)))
    if qrels:
        (path / "qrels").mkdir()
        (path / "qrels" / "test.tsv").write_text(qrels)
    return str(path)


def test_judged_queries_have_their_passages(home: Settings, tmp_path: Path):
    qrels = "query-id\tcorpus-id\tscore\n1\td2\t1\n1\td1\t2\n2\td2\t1\n2\td1\t0\n"
    told: list[str] = []
    golden = load_golden_dataset(folder(tmp_path / "beir", QUERIES, qrels), home, show=told.append)
    assert [(one.question, one.ground_truth) for one in golden.questions] == [
        ("How high?", "42 m"),
        ("How low?", "3 m"),
    ]
    assert golden.questions[0].reference_contexts == ("Dam\nIt is 42 m high.", "3 m.")
    assert golden.questions[0].sources == (Source("d1"), Source("d2"))
    assert any("2 of 3 queries are judged in qrels/test.tsv" in line for line in told)


def test_without_judgements_all_queries_are_taken(home: Settings, tmp_path: Path):
    golden = load_golden_dataset(folder(tmp_path / "beir", QUERIES), home, show=None)
    assert len(golden.questions) == 3
    assert golden.questions[0].reference_contexts == ()


def test_without_answers_it_says_what_is_missing(home: Settings, tmp_path: Path):
    queries = [{"_id": "1", "text": "How high?", "metadata": {}}]
    with pytest.raises(DataError, match=r"missing column\(s\) ground_truth; it has: _id, question"):
        load_golden_dataset(folder(tmp_path / "beir", queries), home, show=None)


def test_the_queries_by_themselves_lead_to_the_folder(home: Settings, tmp_path: Path):
    name = folder(tmp_path / "beir", QUERIES)
    with pytest.raises(DataError, match="give the folder"):
        load_golden_dataset(f"{name}/queries.jsonl", home, show=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is a folder without queries.jsonl"):
        load_golden_dataset(str(tmp_path / "empty"), home, show=None)
