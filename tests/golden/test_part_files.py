"""Folders of part files as golden datasets, as Spark, Ray Data and Dask write them."""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from lab import S3Server

from dream.errors import DataError
from dream.golden.dataset import has_golden_dataset, load_golden_dataset, save_golden_dataset
from dream.settings import Settings
from dream.storage import open_storage

ROWS = [{"question": f"How high is dam {i}?", "ground_truth": f"{i + 40} m"} for i in range(6)]
Rows = list[dict[str, Any]]


def parquet(rows: Rows) -> bytes:
    target = io.BytesIO()
    pandas.DataFrame(rows, columns=["question", "ground_truth"]).to_parquet(target)
    return target.getvalue()


def json_lines(rows: Rows) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def csv(rows: Rows) -> bytes:
    return pandas.DataFrame(rows, columns=["question", "ground_truth"]).to_csv(index=False).encode()


def folder(path: Path, parts: dict[str, bytes]) -> str:
    for name, content in parts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


KINDS = [
    (parquet, "part-{0:05}-9f.c000.snappy.parquet"),
    (json_lines, "0_{0:06}_000000.json"),
    (lambda rows: gzip.compress(json_lines(rows)), "part-{0:05}.jsonl.gz"),
    (csv, "lang=en/part-{0:05}.csv"),
]


@pytest.mark.parametrize(("write", "name"), KINDS, ids=["parquet", "json", "gzip", "csv"])
def test_all_parts_are_one_dataset(write: Callable[[Rows], bytes], name: str, home: Settings, tmp_path: Path):
    parts = {name.format(i): write(ROWS[2 * i : 2 * i + 2]) for i in range(3)} | {"_SUCCESS": b"", ".x.csv": b"a"}
    notes: list[str] = []
    golden = load_golden_dataset(folder(tmp_path / "parts", parts), home, show=notes.append)
    assert [question.ground_truth for question in golden.questions] == [f"{i + 40} m" for i in range(6)]
    assert any("3 part file(s)" in note for note in notes)


def test_parts_under_a_name_in_storage(home: Settings):
    storage = open_storage(home.golden_datasets_uri, home)
    for i in range(2):
        storage.write_bytes(f"many/part-{i}.parquet", parquet(ROWS[3 * i : 3 * i + 3]))
    assert has_golden_dataset("many", home)
    golden = load_golden_dataset("many", home, show=None)
    assert len(golden.questions) == 6
    saved = save_golden_dataset(golden, "many", home)
    assert load_golden_dataset("many", home, show=None) == saved  # the file comes first


def test_parts_in_a_bucket(moto: S3Server):
    settings = replace(moto.settings(), golden_datasets_uri="s3://many-questions/all")
    storage = open_storage(f"{settings.golden_datasets_uri}/spark", settings)
    storage.ensure()
    for i in range(2):
        storage.write_bytes(f"part-{i}.parquet", parquet(ROWS[3 * i : 3 * i + 3]))
    for name in (storage.uri(""), "spark"):
        assert len(load_golden_dataset(name, settings, show=None).questions) == 6


def test_mistakes_are_named_with_their_part_and_row(home: Settings, tmp_path: Path):
    parts = {"a.jsonl": json_lines(ROWS[:2]), "b.jsonl": json_lines([ROWS[2], {**ROWS[3], "ground_truth": ""}])}
    with pytest.raises(DataError, match=r"1 mistake\(s\) in b.jsonl:\n.*line 2: ground_truth is empty"):
        load_golden_dataset(folder(tmp_path / "parts", parts), home, show=None)


def test_a_question_in_two_parts_is_named(home: Settings, tmp_path: Path):
    parts = {"a.csv": csv(ROWS[:2]), "b.csv": csv(ROWS[1:4])}
    with pytest.raises(DataError, match=r"b.csv: 'How high is dam 1\?' is also in a.csv"):
        load_golden_dataset(folder(tmp_path / "parts", parts), home, show=None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a.csv": csv(ROWS[:2]), "b.parquet": parquet(ROWS[2:])}, r"files of several kinds \(.csv, .parquet\)"),
        ({"a.parquet": parquet([]), "b.parquet": parquet([])}, r"its 2 part file\(s\) have no rows"),
        ({"_SUCCESS": b""}, "is a folder without queries.jsonl or part files"),
    ],
    ids=["kinds", "empty", "nothing"],
)
def test_what_is_no_dataset(parts: dict[str, bytes], message: str, home: Settings, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        load_golden_dataset(folder(tmp_path / "parts", parts), home, show=None)


def test_parts_without_rows_are_skipped(home: Settings, tmp_path: Path):
    parts = {"a.parquet": parquet([]), "b.parquet": parquet(ROWS)}
    assert len(load_golden_dataset(folder(tmp_path / "parts", parts), home, show=None).questions) == 6


def test_a_plain_name_is_that_of_the_stored_dataset_before_that_of_a_folder(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "golden", {"part-0.csv": csv(ROWS[:2])})
    assert len(load_golden_dataset("golden", home, show=None).questions) == 2
    save_golden_dataset(load_golden_dataset("golden", home, show=None), "golden", home)
    folder(tmp_path / "golden", {"part-1.csv": csv(ROWS[2:])})
    told: list[str] = []
    assert len(load_golden_dataset("golden", home, show=told.append).questions) == 2
    assert told[-1].endswith("golden.csv, not the folder: write ./golden for that")
    assert len(load_golden_dataset("./golden", home, show=None).questions) == 6
