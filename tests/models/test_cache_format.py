"""The format of the cache: what is written is read, and a damaged entry is none."""

from pathlib import Path

import numpy
import pytest

from dream.models.cache_format import Entry, read_answers, read_pack, write_entries, write_pack
from dream.storage import LocalStorage, Storage

ENTRIES = {"a": Entry(b"42 m", 1.5, 12, 7), "b": Entry("Höhe".encode(), 0.5, 9.5, 2, estimated=3)}
VECTORS = {
    key: Entry(numpy.array([number, 1.0], numpy.float32).tobytes(), prompt_tokens=2.5, estimated=1)
    for number, key in enumerate("xyz")
}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return LocalStorage(str(tmp_path))


def test_answers_and_vectors_come_back_as_they_were(storage):
    write_entries(storage, "answers/m/1", ENTRIES)
    write_pack(storage, "vectors/m/1", VECTORS)
    assert read_answers(storage, "answers/m/1") == ENTRIES
    assert read_pack(storage, "vectors/m/1") == VECTORS
    assert storage.read_bytes("answers/m/1.keys").split() == [b"a", b"b"]
    assert storage.read_bytes("vectors/m/1.keys").split() == [b"x", b"y", b"z"]
    assert read_answers(storage, "answers/m/2") == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) - 20],
        lambda content: content.replace(b'"seconds": 0.5', b'"seconds": 0.6'),
        lambda content: content.replace(b'"key": "b"', b'"key": "c"'),
        lambda content: content.splitlines(keepends=True)[0] + b"[]\n",
    ],
    ids=["cut", "changed", "of another key", "no entry"],
)
def test_a_damaged_answer_is_none_and_the_others_of_its_object_stay(damage, storage):
    write_entries(storage, "answers/m/1", ENTRIES)
    storage.write_bytes("answers/m/1.jsonl", damage(storage.read_bytes("answers/m/1.jsonl")))
    assert read_answers(storage, "answers/m/1") == {"a": ENTRIES["a"]}


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"", lambda content: b"no zip"])
def test_a_damaged_batch_of_vectors_is_deleted(damage, storage):
    write_pack(storage, "vectors/m/1", VECTORS)
    storage.write_bytes("vectors/m/1.npz", damage(storage.read_bytes("vectors/m/1.npz")))
    assert read_pack(storage, "vectors/m/1") == {}
    assert storage.list("vectors/") == []
