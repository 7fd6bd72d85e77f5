"""Reading in this process and in others: the same texts, few files in flight, and a lost process costs one file."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sample_files import GOOD, pdf

from dream.documents import load_documents, parsing
from dream.documents.file_types import Reading, ReadingOptions
from dream.documents.parsing import FileToRead, n_processes, read_files
from dream.errors import ServiceError
from dream.storage import MemoryStorage

FILES = {f"{n:02}.pdf": pdf([f"File {n}.", f"Second page of {n}."]) for n in range(12)}
OPTIONS = ReadingOptions()


def files_of(contents: dict[str, bytes | None]) -> list[FileToRead]:
    return [FileToRead(name, len(content or b""), partial(contents.get, name)) for name, content in contents.items()]


@pytest.fixture
def always_in_processes(monkeypatch):
    monkeypatch.setattr(parsing, "SECONDS_FOR_PROCESSES", 0)
    monkeypatch.setattr(parsing, "n_processes", lambda n_files=2: 2)


@pytest.mark.usefixtures("always_in_processes")
def test_processes_read_what_this_one_reads():
    in_others = {file.name: reading for file, reading in read_files(files_of(FILES), OPTIONS)}
    assert in_others == {name: parsing.read_file(name, content, OPTIONS) for name, content in FILES.items()}


def test_little_is_read_here(monkeypatch):
    monkeypatch.setattr(parsing, "_submitting", None)
    assert [file.name for file, _ in read_files(files_of(FILES), OPTIONS)] == list(FILES)


def read_with(run: Callable[..., Reading], contents: dict[str, bytes | None]) -> dict[str, Reading]:
    """Read with a `submit` of one's own, as an engine gives it."""
    with ThreadPoolExecutor(2) as threads:
        submit = lambda task, *arguments: threads.submit(run, task, *arguments)  # noqa: E731
        return {file.name: reading for file, reading in read_files(files_of(contents), OPTIONS, submit)}


@pytest.mark.usefixtures("always_in_processes")
def test_a_file_that_ends_its_process_costs_only_itself():
    def run(task, name, *arguments):
        if name == "03.pdf":
            raise ServiceError("the process of a task ended: exit code -24")
        return task(name, *arguments)

    readings = read_with(run, dict(FILES))
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

    assert all(reading.complete for reading in read_with(run, dict(FILES)).values())


@pytest.mark.usefixtures("always_in_processes")
def test_few_files_are_in_memory_at_a_time():
    fetched: list[str] = []
    finished: list[str] = []

    def fetch(name: str) -> bytes:
        fetched.append(name)
        assert len(fetched) - len(finished) <= 2 * parsing.IN_FLIGHT
        return GOOD

    with ThreadPoolExecutor(2) as threads:
        files = [FileToRead(name, 1, partial(fetch, name)) for name in FILES]
        for file, _ in read_files(files, OPTIONS, threads.submit):
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
