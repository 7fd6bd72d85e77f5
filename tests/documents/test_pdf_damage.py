"""Damage that PDFium passes over in silence is told, with its pages; sound files are not doubted."""

import io
import re

import pypdf
import pytest
from sample_files import GOOD, SENTENCE, encrypted, lines_of, pdf, png

from dream.documents.pdf_damage import damaged_parts
from dream.documents.sample_documents import sample_documents


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
    assert list(damaged_parts(content)) == []


def test_the_sample_documents_are_sound():
    for path in sample_documents().glob("*.pdf"):
        assert list(damaged_parts(path.read_bytes())) == []
