"""Files are read by the workers of a cluster: from a folder of the driver's, and from S3 that all see."""

from hashlib import sha256

import pytest
from lab import S3Server
from sample_files import pdf

from dream.documents import load_documents, parsing
from dream.documents.file_types import ReadingOptions
from dream.documents.text_store import TextStore
from dream.engines.on_ray import RayEngine
from dream.ray_cluster import Cluster
from dream.settings import Settings
from dream.storage import MemoryStorage, Storage, open_storage

FILES = {
    **{f"{n}.pdf": pdf([f"File {n}.", f"Second page of {n}."]) for n in range(5)},
    "bad.pdf": b"%PDF-1.7\n%%EOF",
    "same.pdf": pdf(["File 0.", "Second page of 0."]),
}


@pytest.fixture(params=["folder", "s3"])
def storages(request: pytest.FixtureRequest, tmp_path) -> tuple[Storage, Storage]:
    """Where the documents are, and the cache."""
    if request.param == "folder":
        settings = Settings.from_environment({})
        return open_storage(str(tmp_path / "documents"), settings), open_storage(str(tmp_path / "cache"), settings)
    moto: S3Server = request.getfixturevalue("moto")
    settings = moto.settings()
    return open_storage("s3://read-on-ray", settings), open_storage("s3://read-on-ray-cache", settings)


def test_workers_read_what_this_process_reads(on_ray: Cluster, storages, monkeypatch):
    monkeypatch.setattr(parsing, "SECONDS_FOR_PROCESSES", 0)
    documents, cache = storages
    documents.ensure()
    for name, content in FILES.items():
        documents.write_bytes(name, content)
    engine, submitted = RayEngine(on_ray), []

    def submit(task, name, *arguments):
        submitted.append(name)
        return engine.submit(task, name, *arguments)

    loaded = load_documents(documents, cache=cache, submit=submit)
    here = load_documents(MemoryStorage("m", FILES))
    assert sorted(submitted) == sorted(FILES)
    assert loaded == here
    assert [document.text for document in loaded.documents] == [document.text for document in here.documents]
    store = TextStore(cache, ReadingOptions())
    assert all(store.has(sha256(content).hexdigest(), name) for name, content in FILES.items())
    assert load_documents(documents, cache=cache, submit=submit) == here
    assert len(submitted) == len(FILES)
