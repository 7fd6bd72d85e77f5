"""Copies of objects in memory: they can be read on a worker, and nothing else."""

import pickle

import pytest

from dream.errors import StorageError
from dream.storage import MemoryStorage, StoredObject


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
        with pytest.raises(StorageError, match="was not copied for this task"):
            sent.read_bytes("c.txt")
        with pytest.raises(StorageError, match="copy in memory"):
            sent.write_text("d", "")
