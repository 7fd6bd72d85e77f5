"""Reading in this process and in others: the same texts, few files in flight, and a lost process costs one file."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sample_files import GOOD, pdf

from dream.documents import load_documents, parsing
from dream.documents.file_types import Reading, ReadingOptions
from dream.documents.parsing import FileToRead, Readers, n_processes, read_files
from dream.documents.text_store import TextStore
from dream.errors import ServiceError, StorageError
from dream.storage import LocalStorage, MemoryStorage, StoredObject

FILES = {f"{n:02}.pdf": pdf([f"File {n}.", f"Second page of {n}."]) for n in range(12)}
OPTIONS = ReadingOptions()
FILES_TO_READ = [FileToRead(name, len(content)) for name, content in FILES.items()]


def readers_of(storage, cache=None) -> Readers:
    return Readers(storage, TextStore(cache, OPTIONS), OPTIONS)


READERS = readers_of(MemoryStorage("m", FILES))


@pytest.fixture
def always_in_processes(monkeypatch):
    monkeypatch.setattr(parsing, "SECONDS_FOR_PROCESSES", 0)
    monkeypatch.setattr(parsing, "n_processes", lambda n_files=2: 2)


@pytest.fixture
def folder(tmp_path) -> LocalStorage:
    folder = LocalStorage(str(tmp_path / "documents"))
    for name, content in FILES.items():
        folder.write_bytes(name, content)
    return folder


@pytest.fixture
def cache(tmp_path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "cache"))


def texts_kept(cache) -> dict[str, Reading | None]:
    store = TextStore(cache, OPTIONS)
    return {name: store.get(sha256(content).hexdigest(), name) for name, content in FILES.items()}


EXPECTED = {name: parsing.read_file(name, content, OPTIONS) for name, content in FILES.items()}


@pytest.mark.usefixtures("always_in_processes")
def test_processes_read_what_this_one_reads():
    in_others = {file.name: found.unkept for file, found in read_files(FILES_TO_READ, READERS)}
    assert in_others == EXPECTED


@pytest.mark.usefixtures("always_in_processes")
def test_processes_fetch_the_files_and_keep_the_texts_themselves(folder, cache, monkeypatch):
    monkeypatch.setattr(LocalStorage, "read_bytes", None)
    found = [found for _, found in read_files(FILES_TO_READ, readers_of(folder, cache))]
    assert {one.unkept for one in found} == {None}
    assert sum(one.facts.text_pages for one in found) == 24
    assert texts_kept(cache) == EXPECTED


def test_little_is_read_here(monkeypatch):
    monkeypatch.setattr(parsing, "_submitting", None)
    assert [file.name for file, _ in read_files(FILES_TO_READ, READERS)] == list(FILES)


def read_with(run: Callable[..., Any], readers: Readers = READERS) -> dict[str, Any]:
    """Read with a `submit` of one's own, as an engine gives it."""
    with ThreadPoolExecutor(2) as threads:
        submit = lambda task, *arguments: threads.submit(run, task, *arguments)  # noqa: E731
        return {file.name: found.unkept for file, found in read_files(FILES_TO_READ, readers, submit)}


@pytest.mark.usefixtures("always_in_processes")
def test_other_machines_get_files_of_a_folder_and_give_back_texts_for_its_cache(folder, cache):
    """A folder and its cache are seen here alone: the task finds neither."""

    def run(task, name, readers):
        assert readers.storage.list() == [StoredObject(name, len(FILES[name]))]
        assert not readers.texts.is_shared
        assert not readers.texts.has(sha256(FILES[name]).hexdigest(), name)
        return task(name, readers)

    assert set(read_with(run, readers_of(folder, cache)).values()) == {None}
    assert texts_kept(cache) == EXPECTED
    assert set(read_with(None, readers_of(folder, cache)).values()) == {None}  # type: ignore[arg-type]


@pytest.mark.usefixtures("always_in_processes")
def test_a_file_that_ends_its_process_costs_only_itself():
    def run(task, name, *arguments):
        if name == "03.pdf":
            raise ServiceError("the process of a task ended: exit code -24")
        return task(name, *arguments)

    readings = read_with(run)
    assert sorted(readings) == sorted(FILES)
    lost = readings.pop("03.pdf")
    assert lost.problem == "reading it failed 2 times (ServiceError: the process of a task ended: exit code -24)"
    assert not lost.is_repeatable
    assert all(reading.complete for reading in readings.values())


@pytest.mark.usefixtures("always_in_processes")
def test_a_process_that_dies_once_is_forgiven():
    tried: list[str] = []

    def run(task, name, *arguments):
        tried.append(name)
        if tried.count(name) == 1:
            raise ServiceError("gone")
        return task(name, *arguments)

    assert all(reading.complete for reading in read_with(run).values())


@pytest.mark.usefixtures("always_in_processes")
def test_an_outage_of_storage_is_no_unreadable_file(folder):
    Path(folder.root, "03.pdf").unlink()
    with pytest.raises(StorageError, match=r"03\.pdf"):
        list(read_files(FILES_TO_READ, readers_of(folder)))


@pytest.mark.usefixtures("always_in_processes")
def test_few_files_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(parsing, "FAR_IN_FLIGHT", 4)
    fetched: list[str] = []
    finished: list[str] = []

    class Folder(MemoryStorage):
        def read_bytes(self, key: str) -> bytes:
            fetched.append(key)
            assert len(fetched) - len(finished) <= 4
            return GOOD

        def in_memory(self, keys) -> MemoryStorage:
            return MemoryStorage("m", {key: self.read_bytes(key) for key in keys})

    with ThreadPoolExecutor(2) as threads:
        for file, _ in read_files(FILES_TO_READ, readers_of(Folder("m", FILES)), threads.submit):
            finished.append(file.name)
    assert sorted(finished) == sorted(FILES)


@pytest.mark.usefixtures("always_in_processes")
def test_a_child_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(parsing, "CPU_SECONDS_PER_FILE", 1)
    with parsing._submitting(None, 1) as submit:
        with pytest.raises(ServiceError, match="exit code -24"):
            submit(exec, "while True: pass").result(60)
        assert submit(os.getpid).result(60) != os.getpid()


@pytest.mark.usefixtures("always_in_processes")
def test_documents_are_the_same_however_they_are_read(monkeypatch):
    storage = MemoryStorage("m", {**FILES, "bad.pdf": b"%PDF-1.7\n%%EOF", "same.pdf": FILES["00.pdf"]})
    in_others = load_documents(storage)
    monkeypatch.setattr(parsing, "SECONDS_FOR_PROCESSES", 1e9)
    assert load_documents(storage) == in_others


def test_there_are_no_more_processes_than_files():
    assert n_processes(1) == 1
    assert 1 <= n_processes() <= parsing.PROCESSES_AT_MOST
