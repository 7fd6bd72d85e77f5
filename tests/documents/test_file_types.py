"""The type of a file by its content, against what its name says."""

import random

import pytest
from sample_files import GOOD, HTML, docx, odt, png

from dream.documents.file_types import EXTENSIONS, wrong_content
from dream.documents.readers import READERS


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pdf", GOOD), ("A.PDF", b"junk before %PDF-1.7"), ("a.html", HTML), ("a.txt", HTML), ("a.docx", docx("x"))],
)
def test_content_that_fits_its_name_is_accepted(name, content):
    assert wrong_content(name, content) is None


@pytest.mark.parametrize(
    ("name", "content", "problem", "remedy"),
    [
        (
            "a.pdf",
            png(),
            "its content is a PNG image, which does not match .pdf",
            "save it as one of: .pdf, .txt",
        ),
        ("a.txt", GOOD, "its content is a PDF, which does not match .txt", "rename it to end in .pdf"),
        (
            "a.docx",
            odt(),
            "its content is a ZIP archive or another Office document, which does not match .docx",
            "save it as",
        ),
        ("a.md", b"\x00\x01" * 99, "its content is binary data", "save it"),
    ],
)
def test_content_that_does_not_fit_says_what_it_is_and_what_to_do(name, content, problem, remedy):
    reading = wrong_content(name, content)
    assert reading is not None
    assert reading.problem.startswith(problem)
    assert reading.remedy.startswith(remedy)


def test_every_extension_has_its_reader():
    assert tuple(READERS) == EXTENSIONS


def test_an_archive_of_a_later_version_is_damaged_or_unknown():
    content = bytearray(docx("x"))
    content[content.index(b"PK\x01\x02") + 6] = 99
    reading = wrong_content("a.docx", bytes(content))
    assert reading is not None and "a damaged ZIP archive" in reading.problem


def test_what_is_packed_is_no_text():
    packed = random.Random(0).randbytes(5000)
    wrong = wrong_content("a.txt", packed)
    assert wrong is not None and wrong.problem.startswith("its content is binary data")
