"""Buckets over real HTTP: they are created once, and every error says what to do."""

import os
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import S3Storage, open_storage

NOWHERE = Settings.from_environment({})


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


def test_a_missing_bucket_is_named(server):
    storage = open_storage("s3://nobody-made-this/p", server.settings())
    for call in (storage.list, lambda: storage.read_bytes("k"), lambda: storage.write_bytes("k", b"")):
        with pytest.raises(StorageError, match=r"s3://nobody-made-this/p.* at http://127.*no such bucket"):
            call()
    assert not storage.exists("k")


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
