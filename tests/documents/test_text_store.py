"""A file is read once: its text is found by its content, whatever its name, until the readers change."""

import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sample_files import GOOD, pdf

from dream.documents import load_documents, loading, parsing, text_store
from dream.documents.file_types import Reading, ReadingOptions
from dream.documents.text_store import TextFacts, TextStore, readers_version
from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import LocalStorage, MemoryStorage, StoredObject, open_storage

NOWHERE = Settings.from_environment({})
READING = Reading(((1, "one 😀"), (3, "three")), 3, False, "problem", "remedy", ("a footer",), True)


@pytest.fixture
def cache(tmp_path) -> LocalStorage:
    return open_storage(str(tmp_path / "cache"), NOWHERE)  # type: ignore[return-value]


@pytest.fixture
def read_here(monkeypatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    original = parsing.read_file

    def read_file(name, content, options):
        names.append(name)
        return original(name, content, options)

    monkeypatch.setattr(parsing, "read_file", read_file)
    return names


def test_a_reading_survives(cache):
    store = TextStore(cache, ReadingOptions())
    store.put("ab12", "x.pdf", READING)
    assert store.get("ab12", "other.pdf") == READING
    assert store.get("ab12", "x.txt") is None
    assert store.get("ab13", "x.pdf") is None
    assert dict(store.get_all({"a.pdf": "ab12", "b.pdf": "none"})) == {"a.pdf": READING}
    assert (store.has("ab12", "y.pdf"), store.has("ab13", "y.pdf")) == (True, False)


def test_facts_survive_by_storage_and_version_of_the_readers(cache):
    store, facts = TextStore(cache, ReadingOptions()), {"x.pdf": TextFacts.of("ab12", READING)}
    assert facts["x.pdf"] == TextFacts("ab12", 2, 10, 3, False, "problem", "remedy", ("a footer",))
    store.keep_facts("s3://one", facts)
    assert store.facts("s3://one") == facts
    assert store.facts("s3://two") == {}
    assert TextStore(cache, ReadingOptions("keep")).facts("s3://one") == {}
    cache.write_bytes(next(item.key for item in cache.list("texts/listings")), gzip.compress(b'{"x.pdf": [1]}'))
    assert store.facts("s3://one") == {}


def test_only_texts_in_a_folder_are_hidden_from_other_machines(cache):
    class Everywhere(LocalStorage):
        def in_memory(self, keys):
            return self

    here, everywhere = (TextStore(each, ReadingOptions()) for each in (cache, Everywhere(cache.root)))
    for store in (here, everywhere):
        store.put("ab12", "x.pdf", READING)
    assert (here.is_shared, here.shared().get("ab12", "x.pdf")) == (False, None)
    assert (everywhere.is_shared, everywhere.shared().get("ab12", "x.pdf")) == (True, READING)
    assert here.shared().version == here.version


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no json", mtime=0),
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b"[1]", mtime=0),
    ],
)
def test_a_damaged_entry_is_ignored_and_written_again(cache, content, read_here):
    documents = MemoryStorage("m", {"a.pdf": GOOD})
    first = load_documents(documents, cache=cache)
    (entry,) = [item.key for item in cache.list("texts/") if "listings" not in item.key]
    cache.write_bytes(entry, content)
    assert load_documents(documents, cache=cache) == first
    assert read_here == ["a.pdf"] * 2
    assert load_documents(documents, cache=cache) == first
    assert read_here == ["a.pdf"] * 2


def test_a_file_is_read_once_and_a_changed_one_costs_only_itself(cache, storage, read_here):
    for name in ("a.pdf", "b.txt", "bad.pdf"):
        storage.write_bytes(name, {"a.pdf": GOOD, "b.txt": b"b"}.get(name, b"%PDF-1.7\n%%EOF"))
    first = load_documents(storage, cache=cache)
    assert sorted(read_here) == ["a.pdf", "b.txt", "bad.pdf"]
    assert load_documents(storage, cache=cache) == first
    storage.write_bytes("b.txt", b"changed")
    storage.write_bytes("c.pdf", GOOD)
    changed = load_documents(storage, cache=cache)
    assert read_here[3:] == ["b.txt"]
    assert [str(line).split()[0] for line in changed.report] == ["read", "read", "skipped", "skipped"]
    assert str(changed.report[3]) == "skipped  c.pdf: the same content as a.pdf; nothing is lost"


@dataclass(frozen=True)
class Counting(LocalStorage):
    fetched: list[str] = field(default_factory=list, compare=False)

    def read_bytes(self, key: str) -> bytes:
        self.fetched.append(key)
        return super().read_bytes(key)


def test_files_that_have_not_changed_are_not_even_fetched(cache, tmp_path, make_old):
    storage = Counting(str(tmp_path / "documents"))
    for name in ("a.txt", "b.txt"):
        storage.write_text(name, name)
    make_old()
    first = load_documents(storage, cache=cache)
    assert storage.fetched == ["a.txt", "b.txt"]
    assert load_documents(storage, cache=cache) == first
    assert storage.fetched == ["a.txt", "b.txt"]


def test_the_texts_of_files_that_have_not_changed_are_not_read_to_list_them(cache, tmp_path, make_old, monkeypatch):
    storage = Counting(str(tmp_path / "documents"))
    for name in ("a.txt", "b.txt"):
        storage.write_text(name, name)
    storage.write_bytes("bad.pdf", b"%PDF-1.7\n%%EOF")
    make_old()
    first = load_documents(storage, cache=cache)
    digests = first.digest, first.documents.digest_with_names
    monkeypatch.setattr(TextStore, "get", None)
    again = load_documents(storage, cache=cache)
    assert again == first
    assert (again.digest, again.documents.digest_with_names) == digests


def test_a_change_that_keeps_size_and_time_is_seen(cache, tmp_path, monkeypatch):
    storage, path = Counting(str(tmp_path)), tmp_path / "a.txt"
    path.write_text("one")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    monkeypatch.setattr("dream.storage.local_files.CLOCK_SECONDS", 0)
    assert load_documents(storage, keys=["a.txt"], cache=cache).documents[0].text == "one"
    path.write_text("two")
    os.utime(path, ns=times)
    assert load_documents(storage, keys=["a.txt"], cache=cache).documents[0].text == "two"


def test_a_file_that_has_just_changed_is_fetched_each_time(cache, tmp_path):
    storage = Counting(str(tmp_path / "documents"))
    storage.write_text("a.txt", "text")
    assert storage.list()[0].version == ""
    for _ in range(2):
        load_documents(storage, cache=cache)
    assert storage.fetched == ["a.txt"] * 2


@pytest.fixture
def make_old(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`make_old()` waits until no file is new, as the time of a change cannot be set back."""
    monkeypatch.setattr("dream.storage.local_files.CLOCK_SECONDS", 0.1)
    return lambda: time.sleep(0.15)


def test_the_listing_of_one_storage_says_nothing_about_another(cache):
    store = TextStore(cache, ReadingOptions())
    item = StoredObject("a.txt", 1, 0, "etag-1")
    store.remember("s3://one", [item], {"a.txt": "ab12"})
    assert store.known_digests("s3://one", [item]) == {"a.txt": "ab12"}
    assert store.known_digests("s3://two", [item]) == {}
    assert store.known_digests("s3://one", [StoredObject("a.txt", 1, 0, "etag-2")]) == {}
    assert store.known_digests("s3://one", [StoredObject("a.txt", 2, 0, "etag-1")]) == {}
    assert store.known_digests("s3://one", [StoredObject("a.txt", 1)]) == {}


def test_files_that_are_gone_are_forgotten(cache):
    store = TextStore(cache, ReadingOptions())
    one, two = (StoredObject(name, 1, 0, "etag") for name in ("one", "two"))
    store.remember("s3://b", [one, two], {"one": "ab", "two": "cd"})
    store.remember("s3://b", [two], {})
    assert store.known_digests("s3://b", [one, two]) == {"two": "cd"}


def test_another_version_of_the_readers_reads_again(cache, monkeypatch, read_here):
    documents = MemoryStorage("m", {"a.pdf": GOOD})
    load_documents(documents, cache=cache)
    load_documents(documents, cache=cache, options=ReadingOptions(repeated_lines="keep"))
    monkeypatch.setattr(text_store, "version", lambda library: "another")
    readers_version.cache_clear()
    load_documents(documents, cache=cache)
    readers_version.cache_clear()
    assert read_here == ["a.pdf"] * 3


def test_code_that_reads_nothing_is_no_part_of_the_version():
    modules = {path.name for path in text_store._reader_modules()}
    assert {"readers.py", "pdf.py", "docx.py", "file_types.py", "text_encoding.py"} <= modules
    assert not modules & {"loading.py", "parsing.py", "stored_documents.py", "text_store.py", "uploading.py"}


def test_headers_and_footers_are_kept_where_the_settings_say_so(tmp_path):
    pages = [f"{word} one {n}" for n, word in enumerate("alpha beta gamma delta".split())]
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"))
    for text in pages:
        for i, line in enumerate(["HANDBOOK", text, f"more {text}", f"last {text}"]):
            canvas.drawString(50, 700 - 20 * i, line)
        canvas.showPage()
    canvas.save()
    storage = open_storage(str(tmp_path), NOWHERE)
    texts = {}
    for what in ("drop", "keep"):
        settings = Settings.from_environment({"DREAM_REPEATED_LINES": what, "DREAM_HOME": str(tmp_path / "home")})
        loaded = load_documents(storage, keys=["a.pdf"], settings=settings)
        texts[what] = loaded.documents[0].text
        assert ("4 pages, without headers and footers ('HANDBOOK')" in str(loaded)) == (what == "drop")
    assert texts["keep"] == f"HANDBOOK\n{texts['drop']}"
    assert list((tmp_path / "home" / "cache" / "texts").glob("*/*/*.pdf.json.gz"))


@dataclass(frozen=True)
class Broken(MemoryStorage):
    def read_if_there(self, key: str) -> bytes | None:
        raise StorageError("the cache is away")


def test_a_cache_that_fails_is_as_if_there_were_none():
    documents = MemoryStorage("m", {"a.pdf": GOOD})
    assert load_documents(documents, cache=Broken("c", {})) == load_documents(documents)


def test_what_may_be_better_next_time_is_not_kept(cache):
    store = TextStore(cache, ReadingOptions())
    store.put("ab12", "x.pdf", Reading(problem="OCR failed", is_repeatable=False))
    assert store.get("ab12", "x.pdf") is None


def test_entries_are_small(cache):
    load_documents(MemoryStorage("m", {"a.pdf": pdf(["some words " * 8] * 200)}), cache=cache)
    entry = next(item for item in cache.list("texts/") if item.key.endswith(".pdf.json.gz"))
    assert entry.size < 3000
    assert len(json.loads(gzip.decompress(cache.read_bytes(entry.key)))["pages"]) == 200


def test_the_loader_keeps_nothing_without_a_cache(storage, tmp_path):
    storage.write_bytes("a.pdf", GOOD)
    load_documents(storage)
    assert loading.TextStore(None, ReadingOptions()).get("ab12", "a.pdf") is None
    assert [path.name for path in tmp_path.iterdir()] == ["documents"]
