"""Damage that PDFium passes over in silence is told, and pages that would take hours are not read; sound files are not
doubted."""

import io
import re

import pypdf
import pytest
from made_pdfs import with_nested_parts
from sample_files import GOOD, SENTENCE, encrypted, lines_of, pdf, png

from dream.documents import load_documents, pdf_checks
from dream.documents.pdf_checks import Checks, check
from dream.documents.sample_documents import sample_documents
from dream.storage import MemoryStorage


def compressed(pages: list[str | bytes]) -> bytes:
    target = io.BytesIO()
    writer = pypdf.PdfWriter(io.BytesIO(pdf(pages)))
    for page in writer.pages:
        page.compress_content_streams()
    writer.write(target)
    return target.getvalue()


def test_a_damaged_page_is_doubted_aloud():
    whole = compressed([SENTENCE, " ".join(f"word{i}" for i in range(400)), SENTENCE])
    streams = [match.end() for match in re.finditer(rb"FlateDecode[^s]*stream\n", whole)]
    longest = max(streams, key=lambda start: whole.index(b"endstream", start) - start)
    at = longest + 300
    damaged = whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 10]) + whole[at + 10 :]
    line = lines_of({"a.pdf": damaged})["a.pdf"]
    assert line.startswith("partly   a.pdf, 3 pages: ")
    assert "page(s) 2: their data is damaged, so text may be missing" in line


@pytest.mark.parametrize("content", [GOOD, compressed([SENTENCE, png()]), encrypted("", "AES-256")])
def test_a_sound_file_is_not_doubted(content):
    assert check(content) == Checks()


def test_the_sample_documents_are_sound():
    for path in sample_documents().glob("*.pdf"):
        assert check(path.read_bytes()) == Checks()


def test_a_page_that_would_take_hours_is_named_and_the_others_are_read():
    loaded = load_documents(MemoryStorage("m", {"a.pdf": with_nested_parts(levels=40, times=2)}))
    assert [document.text for document in loaded.documents] == ["A page of text.\n"]
    assert "page(s) 2 cannot be read (too heavy: it draws more than 50,000 parts of parts)" in str(loaded.report[0])


def test_a_page_with_a_few_parts_in_parts_is_read():
    content = with_nested_parts(levels=3, times=2)
    assert check(content) == Checks()
    assert load_documents(MemoryStorage("m", {"a.pdf": content})).documents[1].text.startswith("deep text")


def test_a_part_that_holds_itself_ends():
    assert check(with_nested_parts(levels=3, times=9, endless=True)) == Checks()


def test_commands_without_end_are_not_unpacked(monkeypatch):
    content = compressed([SENTENCE, "word " * 300_000])
    monkeypatch.setattr(pdf_checks, "MAX_COMMANDS_MB", 1)
    monkeypatch.setattr("pypdf.filters.ZLIB_MAX_OUTPUT_LENGTH", 1 << 20)
    line = lines_of({"a.pdf": content})["a.pdf"]
    assert "page(s) 2 cannot be read (too heavy: its commands are longer than 1 MB)" in line
