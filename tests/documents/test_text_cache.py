"""Texts in the cache are listed and emptied by the readers that made them."""

import pytest

from dream.documents import load_documents, text_cache
from dream.documents.file_types import ReadingOptions
from dream.documents.text_cache import CURRENT, OTHERS, KeptTexts
from dream.documents.text_store import TextStore
from dream.storage import LocalStorage, MemoryStorage

NOW, BEFORE = ReadingOptions(), ReadingOptions("keep")


@pytest.fixture
def cache(tmp_path) -> LocalStorage:
    cache = LocalStorage(str(tmp_path / "cache"))
    files = MemoryStorage("m", {"a.txt": b"alpha", "b.txt": b"beta"})
    for options in (NOW, BEFORE):
        assert load_documents(files, cache=cache, options=options).digest
    load_documents(MemoryStorage("n", {"c.txt": b"c"}), cache=cache, options=BEFORE)
    TextStore(cache, NOW).write_value("counts/x.json.gz", {})
    return cache


def shown(cache: LocalStorage, options: ReadingOptions = NOW) -> dict[str, KeptTexts]:
    return {row.name: row for row in text_cache.contents(cache, options)}


def test_texts_of_the_readers_in_use_and_of_others_are_apart(cache):
    rows = shown(cache)
    assert {name: row.entries for name, row in rows.items()} == {CURRENT: 2, OTHERS: 3}
    assert sum(row.bytes for row in rows.values()) == sum(item.size for item in cache.list("texts/"))
    assert {name: row.entries for name, row in shown(cache, BEFORE).items()} == {CURRENT: 3, OTHERS: 2}


def test_one_kind_is_emptied_and_the_other_still_found(cache):
    assert text_cache.empty(cache, NOW, name="other readers") > 0
    assert {name: row.entries for name, row in shown(cache).items()} == {CURRENT: 2}
    assert text_cache.empty(cache, NOW, older_than_days=1) == 0
    freed = sum(row.bytes for row in shown(cache).values())
    assert text_cache.empty(cache, NOW) == freed
    assert cache.list("texts/") == []
