"""The contents of the cache: listed by model, found by key, deleted by age and model."""

import time
from pathlib import Path

import pytest

from dream.models.cache_contents import contents, empty, find
from dream.models.cache_format import Entry, slug, write_entries, write_pack
from dream.storage import LocalStorage, Storage

ANSWER, VECTOR = Entry(b"42 m", 1.5, 12, 7), Entry(bytes(4 * 3), prompt_tokens=3)
LARGE, EMBED = slug("http://lab/v1 llm-large"), slug("http://lab/v1 embed")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Two answers of two models, the second in two objects, and a batch of vectors."""
    storage = LocalStorage(str(tmp_path))
    write_entries(storage, f"answers/{slug('http://lab/v1 llm-small')}/1", {"ab": ANSWER})
    for name in "12":
        write_entries(storage, f"answers/{LARGE}/{name}", {"ac": ANSWER})
    write_pack(storage, f"vectors/{EMBED}/1", {f"v{n}": VECTOR for n in range(6)})
    return storage


def test_contents_are_counted_by_model(storage: Storage):
    found = {each.model: each for each in contents(storage)}
    assert {each.entries for each in found.values()} == {1, 2, 6}
    assert found[EMBED].entries == 6
    assert sum(each.bytes for each in found.values()) == sum(item.size for item in storage.list(""))
    assert all(time.time() - each.oldest < 100 for each in found.values())


def test_an_entry_is_found_once_by_the_beginning_of_its_key(storage: Storage):
    assert [(each.model, each.key, each.entry) for each in find(storage, "ac")] == [(LARGE, "ac", ANSWER)]
    assert sorted(each.key for each in find(storage, "a")) == ["ab", "ac"]
    assert [(each.model, each.entry) for each in find(storage, "v3")] == [(EMBED, VECTOR)]
    assert find(storage, "x") == []


def test_emptying_by_age_and_model(storage: Storage):
    assert empty(storage, older_than_days=1) == 0
    assert empty(storage, model="llm-small") > 0
    assert "llm-small" not in " ".join(item.key for item in storage.list(""))
    assert sum(each.entries for each in contents(storage)) == 8
    assert empty(storage) > 0
    assert contents(storage) == []
