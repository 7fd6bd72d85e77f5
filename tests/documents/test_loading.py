"""Documents read from storage: ids, metadata, digests and pages, and a report on every file."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from sample_files import GOOD, SENTENCE, lines_of, pdf, png

from dream.documents import load_documents, merge_pages, page_of
from dream.errors import DataError, StorageError
from dream.settings import Settings
from dream.storage import MemoryStorage, StoredObject, open_storage

NOWHERE = Settings.from_environment({})


def test_a_pdf_becomes_a_document_for_each_page(storage):
    storage.write_bytes("sub folder/tür bin.pdf", GOOD)
    loaded = load_documents(storage)
    assert [document.text for document in loaded.documents] == [f"{SENTENCE} Page {i}.\n" for i in (1, 2, 3)]
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "2", "3"]
    assert {document.metadata["file_name"] for document in loaded.documents} == {"sub folder/tür bin.pdf"}
    file_digest = loaded.documents[0].metadata["file_digest"]
    assert [document.id_ for document in loaded.documents] == [f"{file_digest[:16]}-p{i}" for i in (1, 2, 3)]
    assert str(loaded) == "read     sub folder/tür bin.pdf, 3 pages"


def test_models_see_text_and_nothing_else(storage):
    storage.write_bytes("a.pdf", GOOD)
    documents = load_documents(storage).documents
    for document in (*documents, *merge_pages(documents)):
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert document.get_content(mode) == document.text
        assert json.loads(json.dumps(document.metadata)) == document.metadata
        (node,) = SentenceSplitter(chunk_size=500, chunk_overlap=0).get_nodes_from_documents([document])
        assert node.get_content(MetadataMode.EMBED) == document.text.strip()


def test_names_of_all_sorts(storage):
    names = ["with space.txt", 'qu\'ote "double".txt', "документ.txt", "資料.txt", "a+b%20c#d.txt"]
    for name in names:
        storage.write_text(name, f"text of {name}")
    loaded = load_documents(storage)
    assert {document.metadata["file_name"]: document.text for document in loaded.documents} == {
        name: f"text of {name}" for name in names
    }


@dataclass(frozen=True)
class Huge(MemoryStorage):
    """Says that every object has 100 MB, and does not give them out."""

    def list(self, prefix: str = ""):
        return [StoredObject(key, 100_000_000) for key in self.contents]

    def read_bytes(self, key: str) -> bytes:
        raise AssertionError(f"{key} was fetched")


def test_a_huge_file_is_not_fetched():
    with pytest.raises(
        DataError, match=r"big.pdf: 100.0 MB is over the limit of 50 MB; split it, or raise max_file_mb"
    ):
        load_documents(Huge("m", {"big.pdf": b""}))
    with pytest.raises(AssertionError, match=r"big\.pdf was fetched"):
        load_documents(Huge("m", {"big.pdf": b""}), max_file_mb=100)


def test_the_same_content_counts_once():
    lines = lines_of({"a.pdf": GOOD, "b/copy.pdf": GOOD, "c.txt": GOOD})
    assert lines["a.pdf"].startswith("read")
    assert lines["b/copy.pdf"] == "skipped  b/copy.pdf: the same content as a.pdf; nothing is lost"


def test_a_twin_that_cannot_be_read_does_not_shadow_a_good_one():
    lines = lines_of({"a.txt": GOOD, "b.pdf": GOOD})
    assert lines["a.txt"].startswith("skipped")
    assert lines["b.pdf"].startswith("read")


def test_hidden_files_are_passed_over(storage):
    for name in (".DS_Store", "a/.gitkeep", ".ipynb_checkpoints/x.txt", "__MACOSX/y.txt", "Thumbs.db", "seen.txt"):
        storage.write_text(name, "text")
    assert [line.file for line in load_documents(storage).report] == ["seen.txt"]


def test_no_file_and_no_readable_file_are_errors(storage):
    storage.write_text(".gitkeep", "")
    with pytest.raises(DataError, match=r"there is no document in /.*/documents: add some with `dream prepare"):
        load_documents(storage)
    storage.write_text("a.pdf", "text")
    storage.write_text("b.odt", "text")
    with pytest.raises(DataError) as caught:
        load_documents(storage)
    assert "skipped  a.pdf: its content is plain text" in str(caught.value)
    assert "skipped  b.odt: .odt is not supported" in str(caught.value)


def test_chosen_files_and_a_chosen_file_that_is_gone(storage):
    for name in ("a.txt", "b.txt", "c.txt"):
        storage.write_text(name, name)
    assert [document.text for document in load_documents(storage, keys=["c.txt", "a.txt"]).documents] == [
        "a.txt",
        "c.txt",
    ]
    with pytest.raises(StorageError, match=r"gone.txt"):
        load_documents(storage, keys=["a.txt", "gone.txt"])


def test_a_name_that_is_no_unicode_is_reported(tmp_path):
    Path(tmp_path, "good.txt").write_text("x")
    Path(tmp_path, "line\nbreak.txt").write_text("y")
    (tmp_path / b"b\xe4d.txt".decode(errors="surrogateescape")).write_text("z")
    report = load_documents(open_storage(str(tmp_path), NOWHERE)).report
    lines = [str(line).encode().decode() for line in report]
    assert any(line.startswith("skipped  b\\udce4d.txt") for line in lines)
    assert "read     line\\nbreak.txt, 1 page" in lines


def test_the_digest_is_of_the_content_alone():
    first = load_documents(MemoryStorage("m", {"a.pdf": GOOD, "b.txt": b"b"}))
    renamed = load_documents(MemoryStorage("n", {"z.pdf": GOOD, "a.txt": b"b"}))
    changed = load_documents(MemoryStorage("m", {"a.pdf": GOOD, "b.txt": b"c"}))
    assert first.digest == renamed.digest
    assert first.digest != changed.digest
    assert len(first.digest) == 64


def test_pages_are_joined_and_found_again():
    files_ = {"a.pdf": pdf(["first page", png(), "third page"]), "b.txt": b"other"}
    documents = load_documents(MemoryStorage("m", files_)).documents
    whole, other = merge_pages(list(reversed(documents)))[::-1]
    assert whole.text == "first page\n\n\nthird page\n"
    assert whole.id_ == whole.metadata["file_digest"][:16]
    assert whole.metadata["file_name"] == "a.pdf"
    assert whole.metadata["page_starts"] == [[0, "1"], [13, "3"]]
    assert [page_of(whole.metadata, offset) for offset in (0, 9, 12, 13, 999)] == ["1", "1", "1", "3", "3"]
    assert page_of(other.metadata, 3) == "1"


def test_many_pages_keep_their_order_and_their_places():
    pages = [f"page number {i}" for i in range(1, 13)]
    (whole,) = merge_pages(load_documents(MemoryStorage("m", {"a.pdf": pdf(pages)})).documents)
    assert whole.text == "\n\n".join(f"{page}\n" for page in pages)
    for i, page in enumerate(pages, start=1):
        assert page_of(whole.metadata, whole.text.index(f"{page}\n")) == str(i)


def test_page_of_a_single_page():
    (document,) = load_documents(MemoryStorage("m", {"a.txt": b"x"})).documents
    assert page_of(document.metadata, 0) == "1"
    assert page_of({}, 0) == ""
