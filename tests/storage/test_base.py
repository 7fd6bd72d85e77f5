"""Texts, tables, JSON and keys: the same calls and the same results in a folder and over real HTTP (moto, MinIO)."""

import pickle
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pandas
import pytest

from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import StoredObject, local_files, open_storage

NOWHERE = Settings.from_environment({})
ODD_KEYS = (
    "with space.pdf",
    'qu\'ote "double".pdf',
    "документ 資料 é.pdf",
    "a+b%20c&d#e?f=g.pdf",
    "deep/er/still.pdf",
    ".x",
)
SIGNS = ["a", '"', "'", ",", ";", "\r", "\n", "\r\n", " ", "\t", "é", "漢", "😀", "\u2028", "\x85", "\x0b", "\0", "\\"]
SIGNS += ["0", "NA", "null", "nan", "", "#", "\ufeff", "None", "1.0", "-"]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(SIGNS, k=rng.randint(0, 5)))


def test_bytes_come_back_and_replace_what_was_there(storage):
    storage.write_bytes("a/b.bin", bytes(range(256)))
    storage.write_bytes("a/b.bin", b"")
    assert storage.read_bytes("a/b.bin") == b""
    assert storage.exists("a/b.bin")
    assert not storage.exists("a")


def test_text_comes_back_exactly(storage):
    text = "\ufeffa\r\nb\rc\n\n 漢字 😀 \u2028 \0 end "
    storage.write_text("t.txt", text)
    assert storage.read_text("t.txt") == text


def test_a_table_of_texts_comes_back_exactly(storage):
    rng = random.Random(7)
    table = pandas.DataFrame({f"c{i}": [random_text(rng) for _ in range(200)] for i in range(3)}, dtype=object)
    storage.write_csv("t.csv", table)
    pandas.testing.assert_frame_equal(storage.read_csv("t.csv"), table)


def test_json_comes_back_exactly(storage):
    value = {"text": '\ud800 lone, \u2028, "quoted", \\ud800, 漢', "n": 0.1, "none": None, "list": [1, [True]]}
    storage.write_json("v.json", value)
    storage.write_json_lines("v.jsonl", [value, "two\nlines", value])
    assert storage.read_json("v.json") == value
    assert storage.read_json_lines("v.jsonl") == [value, "two\nlines", value]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_names(storage, key, tmp_path):
    storage.write_text(key, key)
    assert storage.list() == [StoredObject(key, len(key.encode()))]
    storage.download(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_text(encoding="utf-8") == key
    assert storage.exists(key)
    storage.delete(key)
    assert not storage.exists(key)


def test_a_listing_is_sorted_and_knows_sizes_and_prefixes(storage):
    for key in ("b/2", "b/10", "a", "ä", "b-1"):
        storage.write_text(key, key)
    assert [item.key for item in storage.list()] == ["a", "b-1", "b/10", "b/2", "ä"]
    assert storage.list("b/1") == [StoredObject("b/10", 4)]
    assert storage.list("nothing/") == []


def test_deleting_what_is_not_there_is_no_error(storage):
    storage.delete("gone")


def test_upload_sends_only_what_is_not_there(storage, tmp_path):
    path = tmp_path / "file.pdf"
    path.write_bytes(b"first")
    assert storage.upload(path, "docs/file.pdf")
    assert not storage.upload(path, "docs/file.pdf")
    path.write_bytes(b"other")
    assert storage.upload(str(path), "docs/file.pdf")
    assert storage.read_bytes("docs/file.pdf") == b"other"
    storage.write_bytes("written", b"other")
    assert not storage.upload(path, "written")


def test_a_file_in_many_parts_is_the_same_when_it_comes_back(storage, tmp_path):
    source, copy = tmp_path / "big", tmp_path / "new folder" / "copy"
    source.write_bytes(random.Random(1).randbytes(20_000_000))
    assert storage.upload(source, "big")
    assert not storage.upload(source, "big")
    storage.download("big", copy)
    assert copy.read_bytes() == source.read_bytes()


def test_storage_travels_to_other_processes(storage):
    storage.write_text("a", "text")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read_text('a'))"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(storage), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "text"


def test_a_reader_never_sees_half_a_write(storage):
    contents = [bytes([65 + i]) * (200_000 + 100_000 * i) for i in range(3)]
    storage.write_bytes("x", contents[0])
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set() or not seen:
            assert storage.read_bytes("x") in contents
            assert [item.key for item in storage.list()] == ["x"]
            seen += 1
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for i in range(30):
            storage.write_bytes("x", contents[i % 3])
        done.set()
        assert min(reader.result() for reader in readers) > 0


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../../x", "..", "a/..", "./a", "a//b", "a/", "..\\x", "C:\\x", "a\0b", "\udcff"],
)
def test_a_key_that_leaves_the_root_is_refused(storage, key, tmp_path):
    (tmp_path / "f").write_bytes(b"")
    for call in (storage.read_bytes, storage.exists, storage.delete, lambda key: storage.write_bytes(key, b"x")):
        with pytest.raises(StorageError, match="cannot be a key"):
            call(key)
    with pytest.raises(StorageError, match="cannot be a key"):
        storage.upload(tmp_path / "f", key)
    with pytest.raises(StorageError, match="cannot be a key"):
        storage.download(key, tmp_path / "out")


def test_a_missing_object_is_named(storage, tmp_path):
    for call in (storage.read_bytes, lambda key: storage.download(key, tmp_path / "out")):
        with pytest.raises(StorageError, match=r"no/thing.*create it first"):
            call("no/thing")
    assert not any(tmp_path.rglob("out*"))


def test_a_name_that_listings_pass_over_is_refused(storage):
    for key in (f"{local_files.PARTIAL}x", f"a/{local_files.PARTIAL}x"):
        with pytest.raises(StorageError, match="cannot be a key"):
            storage.write_text(key, "")


def test_any_table_of_texts_survives(tmp_path):
    storage, rng = open_storage(str(tmp_path), NOWHERE), random.Random(3)
    for _ in range(200):
        rows, columns = rng.randint(0, 4), rng.randint(1, 3)
        names = [f"{random_text(rng)}{i}".removeprefix("\ufeff") for i in range(columns)]
        table = pandas.DataFrame({name: [random_text(rng) for _ in range(rows)] for name in names}, dtype=object)
        storage.write_csv("t.csv", table)
        pandas.testing.assert_frame_equal(storage.read_csv("t.csv"), table, check_index_type=False)


def test_a_long_text_fits_into_a_table(tmp_path):
    storage, table = open_storage(str(tmp_path), NOWHERE), pandas.DataFrame({"context": ["a, " * 100_000]})
    storage.write_csv("t.csv", table)
    pandas.testing.assert_frame_equal(storage.read_csv("t.csv"), table)


def test_numbers_and_missing_values_come_back_as_text(tmp_path):
    storage = open_storage(str(tmp_path), NOWHERE)
    storage.write_csv(
        "t.csv", pandas.DataFrame({"n": [1, 2], "x": [0.5, None], "s": [None, "007"], "b": [True, False]})
    )
    rows = [["1", "0.5", "", "True"], ["2", "", "007", "False"]]
    assert storage.read_csv("t.csv").values.tolist() == rows


def test_a_csv_from_a_spreadsheet(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffquestion,ground_truth\r\nWas ist 漢?,"a, b"\r\n\r\n'.encode())
    assert open_storage(str(tmp_path), NOWHERE).read_csv("t.csv").to_dict("records") == [
        {"question": "Was ist 漢?", "ground_truth": "a, b"}
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b\n1,2,3\n", "row 2 has 3 fields, the header .* has 2"),
        (b'a,b\n1,"2\n', "is not a CSV file"),
        (b"a,b\n\xff\xfe,2\n", "is not UTF-8"),
    ],
)
def test_a_bad_csv_is_named(tmp_path, content, problem):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StorageError, match=rf"{tmp_path}/t.csv.*{problem}"):
        open_storage(str(tmp_path), NOWHERE).read_csv("t.csv")


def test_bad_json_is_named_with_its_line(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a":\n')
    with pytest.raises(StorageError, match=r"t.jsonl, line 2 is not JSON"):
        open_storage(str(tmp_path), NOWHERE).read_json_lines("t.jsonl")


def test_a_text_that_is_no_unicode_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"a.txt: the text cannot be stored as UTF-8"):
        open_storage(str(tmp_path), NOWHERE).write_text("a.txt", "\ud800")


def test_importing_storage_is_light():
    heavy = "{'boto3', 'botocore', 'pandas', 'llama_index', 'httpx', 'pypdf', 'pypdfium2'}"
    program = f"import sys, dream.storage, dream.documents; sys.exit(str({heavy} & set(sys.modules) or '') or 0)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
