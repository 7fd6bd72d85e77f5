"""Storage over real HTTP (moto, MinIO) and on disk: the same calls, the same results, errors that say what to do."""

import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from dream.errors import ConfigurationError, StorageError
from dream.settings import Settings
from dream.storage import local_files
from dream.storage.objects import MemoryStorage, S3Storage, Storage, StoredObject, open_storage

NOWHERE = Settings.from_environment({})
SERVERS = ("moto", "minio")
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


@pytest.fixture(params=["local", *SERVERS])
def storage(request, tmp_path) -> Storage:
    """An empty place in each kind of storage."""
    if request.param == "local":
        opened = open_storage(str(tmp_path / "root"), NOWHERE)
    else:
        settings = request.getfixturevalue(request.param).settings()
        opened = open_storage(f"s3://tests/{uuid.uuid4().hex}/with space é", settings)
    opened.ensure()
    return opened


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(SIGNS, k=rng.randint(0, 5)))


# --- the same calls everywhere


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


def test_what_workers_get_can_be_read_and_no_more(storage, tmp_path):
    for key in ("a/1.txt", "b.txt", "c.txt"):
        storage.write_text(key, key)
    sent = pickle.loads(pickle.dumps(storage.in_memory(["a/1.txt", "b.txt"])))
    assert sent.read_text("a/1.txt") == "a/1.txt"
    assert sent.uri("b.txt") == storage.uri("b.txt")
    assert StoredObject("b.txt", 5) in sent.list("b")
    sent.download("b.txt", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b.txt"
    if isinstance(sent, MemoryStorage):
        assert not sent.exists("c.txt")
        with pytest.raises(StorageError, match="was not sent along"):
            sent.read_bytes("c.txt")
        with pytest.raises(StorageError, match="copy in memory"):
            sent.write_text("d", "")


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


# --- keys and URIs


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


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a b/ü/", "s3://bucket/a b/ü"),
        ("s3://bucket/a#b?c", "s3://bucket/a#b?c"),
        ("file:///tmp/a%20b/", "/tmp/a b"),
        ("/tmp/a#b", "/tmp/a#b"),
    ],
)
def test_uris(uri, expected):
    opened = open_storage(uri, NOWHERE)
    assert opened.uri() == expected
    assert opened.uri("k/l") == f"{expected}/k/l"
    assert open_storage(opened.uri(), NOWHERE) == opened


@pytest.mark.parametrize("uri", ["", " ", "s3:/bucket", "s3://", "gs://bucket/x", "file://host/x", "https://host/x"])
def test_a_uri_that_is_none_says_what_is_valid(uri):
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        open_storage(uri, NOWHERE) if uri != "s3://" else open_storage("s3:", NOWHERE)


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "Upper", "under_score", "-a-", "a..b", "10.0.0.1", "a b", "bücket"]
)
def test_an_impossible_bucket_name_says_the_rule(name):
    with pytest.raises(ConfigurationError, match="3 to 63 small letters"):
        open_storage(f"s3://{name}/x", NOWHERE)


# --- S3


def test_more_than_a_thousand_objects_are_all_listed(server):
    storage = open_storage(f"s3://tests/{uuid.uuid4().hex}", server.settings())
    storage.ensure()
    keys = [f"{i:04}" for i in range(1050)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.write_bytes(key, b""), keys))
    assert [item.key for item in storage.list()] == keys


def test_a_prefix_is_a_folder_and_folder_markers_are_no_objects(server):
    top = open_storage("s3://prefixes", server.settings())
    top.ensure()
    for key in ("docs/a", "docs2/b"):
        top.write_text(key, key)
    assert isinstance(top, S3Storage)
    top.bucket.put("docs/", b"", {})
    assert [item.key for item in open_storage("s3://prefixes/docs", server.settings()).list()] == ["a"]
    assert [item.key for item in top.list()] == ["docs/a", "docs2/b"]


def test_an_object_that_others_replaced_is_sent_again(server, tmp_path):
    storage = open_storage(f"s3://tests/{uuid.uuid4().hex}", server.settings())
    assert isinstance(storage, S3Storage)
    storage.ensure()
    (tmp_path / "f").write_bytes(b"mine")
    storage.upload(tmp_path / "f", "f")
    storage.bucket.put(f"{storage.prefix}/f", b"them", {})
    assert storage.upload(tmp_path / "f", "f")
    assert storage.read_bytes("f") == b"mine"


def test_a_bucket_outside_us_east_1(server):
    bucket = f"eu-{uuid.uuid4().hex}"
    storage = open_storage(f"s3://{bucket}", server.settings(AWS_REGION="eu-west-1"))
    storage.ensure()
    storage.ensure()
    storage.write_text("a", "text")
    assert storage.read_text("a") == "text"


def test_many_may_create_a_bucket_at_once(server):
    storage = open_storage(f"s3://race-{uuid.uuid4().hex}", server.settings(AWS_REGION="eu-west-1"))
    start = threading.Barrier(8)

    def ensure(_) -> None:
        start.wait()
        storage.ensure()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ensure, range(8))) == [None] * 8


def test_secrets_do_not_show(moto):
    assert moto.secret_access_key not in repr(open_storage("s3://tests/x", moto.settings()))
    assert moto.access_key_id not in repr(open_storage("s3://tests/x", moto.settings()))


def test_a_missing_bucket_is_named(server):
    storage = open_storage("s3://nobody-made-this/p", server.settings())
    for call in (storage.list, lambda: storage.read_bytes("k"), lambda: storage.write_bytes("k", b"")):
        with pytest.raises(StorageError, match=r"s3://nobody-made-this/p.* at http://127.*no such bucket"):
            call()
    assert not storage.exists("k")


def test_a_missing_object_is_named(storage, tmp_path):
    for call in (storage.read_bytes, lambda key: storage.download(key, tmp_path / "out")):
        with pytest.raises(StorageError, match=r"no/thing.*put it there first"):
            call("no/thing")
    assert not any(tmp_path.rglob("out*"))


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_named_whatever_the_call(minio, wrong, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    storage = open_storage("s3://tests/x", minio.settings(**{wrong: "wrong-value"}))
    calls = [storage.ensure, storage.list, lambda: storage.exists("a"), lambda: storage.read_bytes("a")]
    for call in [*calls, lambda: storage.write_bytes("a", b""), lambda: storage.upload(tmp_path / "f", "a")]:
        with pytest.raises(
            StorageError, match=r"s3://tests/.*AWS_ACCESS_KEY_ID.*(InvalidAccess|SignatureDoes)"
        ) as caught:
            call()
        assert "wrong-value" not in str(caught.value)


def test_no_keys_at_all(moto, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    bare = moto.settings(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    storage = open_storage("s3://tests/x", bare)
    with pytest.raises(StorageError, match=r"no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        storage.ensure()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "given-later")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "given-later")
    storage.ensure()


def test_a_server_that_is_down_is_reported_soon_and_says_how_to_start_one():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = replace(NOWHERE, s3_endpoint_url=endpoint, s3_access_key_id="k", s3_secret_access_key="s")
    began = time.monotonic()
    with pytest.raises(StorageError, match=rf"at {endpoint}: no connection.*minio server ./data --address :9000"):
        open_storage("s3://tests/x", settings).list()
    assert time.monotonic() - began < 5


@pytest.fixture
def broken_server() -> Iterator[Settings]:
    """Promises 1,000 bytes, sends 10, and hangs up."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: application/xml\r\n\r\n0123456789"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield replace(NOWHERE, s3_endpoint_url=endpoint, s3_access_key_id="k", s3_secret_access_key="s")
        listener.shutdown(socket.SHUT_RDWR)


def test_a_connection_lost_on_the_way_leaves_no_file(broken_server, tmp_path):
    storage = open_storage("s3://tests/x", broken_server)
    with pytest.raises(StorageError, match="s3://tests/x/a at http://127"):
        storage.read_bytes("a")
    with pytest.raises(StorageError, match="s3://tests/x/a at http://127"):
        storage.download("a", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_forked_process_makes_its_own_connection(moto):
    storage = open_storage(f"s3://tests/{uuid.uuid4().hex}", moto.settings())
    storage.ensure()
    storage.write_text("a", "text")
    assert isinstance(storage, S3Storage)
    parents = storage.bucket._client
    child = os.fork()
    if child == 0:
        os._exit(0 if storage.read_text("a") == "text" and storage.bucket._client is not parents else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert storage.read_text("a") == "text"


# --- a folder


def test_a_folder_that_is_not_there_is_empty_and_is_made_by_a_write(tmp_path):
    storage = open_storage(str(tmp_path / "new" / "folder"), NOWHERE)
    assert storage.list() == []
    assert not storage.exists("a")
    storage.write_text("a/b", "")
    assert [item.key for item in storage.list()] == ["a/b"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    storage = open_storage(str(tmp_path / "file"), NOWHERE)
    for call in (storage.ensure, storage.list, lambda: storage.write_text("a", "")):
        with pytest.raises(StorageError, match=r"/file.*is a file, not a folder"):
            call()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(13, "Permission denied"), "give this user the right"),
        (OSError(28, "No space left"), "make room"),
    ],
)
def test_a_write_that_the_disk_refuses_changes_nothing(tmp_path, monkeypatch, error, advice):
    storage = open_storage(str(tmp_path), NOWHERE)
    storage.write_text("a", "old")

    def refuse(*_):
        raise error

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=rf"{tmp_path}/a: .*{advice}"):
        storage.write_text("a", "new")
    assert storage.read_text("a") == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="give this user the right"):
        open_storage(str(tmp_path), NOWHERE).write_text("a", "")


def test_a_writer_that_is_killed_leaves_the_old_content_and_nothing_to_list(tmp_path):
    storage = open_storage(str(tmp_path), NOWHERE)
    storage.write_text("a", "old")
    program = (
        "import sys, pathlib; from dream.storage import local_files\n"
        "def content():\n    yield b'half'; print('half is written', flush=True); sys.stdin.read()\n"
        "local_files.write(pathlib.Path(sys.argv[1]), content())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half is written\n"
        writer.kill()
    assert len(os.listdir(tmp_path)) == 2
    assert storage.list() == [StoredObject("a", 3)]
    assert storage.read_text("a") == "old"


def test_links_pipes_and_missing_targets_in_a_folder(tmp_path):
    (tmp_path / "elsewhere.txt").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (root / "broken.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "pipe.txt")
    assert open_storage(str(root), NOWHERE).list() == [StoredObject("link.txt", 1)]


# --- tables and JSON


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
    heavy = "{'boto3', 'botocore', 'pandas', 'llama_index', 'httpx', 'pypdf'}"
    program = f"import sys, dream.storage, dream.documents; sys.exit(str({heavy} & set(sys.modules) or '') or 0)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_path_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_storage("data", NOWHERE).uri("a") == str(Path(tmp_path, "data", "a"))
