"""Objects in buckets, over real HTTP (moto, MinIO)."""

import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import S3Storage, open_storage

NOWHERE = Settings.from_environment({})


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


def test_secrets_do_not_show(moto):
    assert moto.secret_access_key not in repr(open_storage("s3://tests/x", moto.settings()))
    assert moto.access_key_id not in repr(open_storage("s3://tests/x", moto.settings()))


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
