"""PDFs, good and damaged: what is missing is named."""

import io
from collections.abc import Callable

import pypdf
import pytest
from sample_files import GOOD, SENTENCE, encrypted, lines_of, pdf, png, text_of

from dream.documents import load_documents
from dream.storage import MemoryStorage


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_only_its_owner_may_change_is_read(algorithm):
    assert text_of("a.pdf", encrypted("", algorithm)) == f"{SENTENCE}\n"


def test_pages_without_text_are_named():
    loaded = load_documents(MemoryStorage("m", {"a.pdf": pdf(["one", png(), "three", png(), png(), "", "seven"])}))
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "3", "7"]
    assert str(loaded.report[0]).startswith("partly   a.pdf, 7 pages: no text on page(s) 2, 4-6 (blank or scanned)")


def test_a_page_that_cannot_be_read_costs_only_itself(monkeypatch):
    original: Callable = pypdf.PageObject.extract_text

    def extract_text(page, *arguments):
        if page.page_number == 1:
            raise RecursionError("too deep")
        return original(page, *arguments)

    monkeypatch.setattr(pypdf.PageObject, "extract_text", extract_text)
    loaded = load_documents(MemoryStorage("m", {"a.pdf": GOOD}))
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "3"]
    assert "page 2 cannot be read (RecursionError: too deep)" in str(loaded.report[0])


def test_a_damaged_page_is_doubted_aloud():
    long_text, target = " ".join(f"word{i}" for i in range(400)), io.BytesIO()
    writer = pypdf.PdfWriter(io.BytesIO(pdf([long_text, SENTENCE])))
    for page in writer.pages:
        page.compress_content_streams()
    writer.write(target)
    whole = target.getvalue()
    at = whole.index(b"stream\n", whole.index(b"/FlateDecode")) + 300
    damaged = whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 10]) + whole[at + 10 :]
    line = lines_of({"a.pdf": damaged})["a.pdf"]
    assert line.startswith("partly   a.pdf, 2 pages: ")
    assert "pypdf says: Error -3 while decompressing data" in line


def test_missing_pages_are_counted():
    assert b"/Count 3" in GOOD
    line = lines_of({"a.pdf": GOOD.replace(b"/Count 3", b"/Count 5")})["a.pdf"]
    assert line.startswith("partly   a.pdf, 3 pages: 2 of its 5 pages are missing")
