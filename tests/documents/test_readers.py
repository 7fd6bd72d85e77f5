"""Files of every format and encoding become text; bad ones say what is wrong, and nothing reaches the terminal."""

import json
import logging
import random
import warnings

import pytest
from sample_files import GOOD, HTML, docx, encrypted, lines_of, odt, pdf, png, text_of

from dream.documents import load_documents
from dream.storage import MemoryStorage


@pytest.mark.parametrize("name", ["a.txt", "A.MD"])
def test_a_text_is_taken_as_it_is(name):
    text = "# Title\r\n\n  indented \ttab  \n漢字 é 😀\u2028 end  \n\n"
    assert text_of(name, text.encode()) == text


@pytest.mark.parametrize("name", ["a.html", "a.htm"])
def test_html_without_its_machinery(name):
    text = text_of(name, HTML)
    assert text == "Icing\n\nHello big world\n\n- one\n- two\n\nkey | value\n\nx\n    y\nlast\nline"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ('<meta charset="iso-8859-2"><p>Łódź'.encode("iso-8859-2"), ""),
        ('<meta charset="no-such"><p>Łódź'.encode(), ""),
        ("<p>Łódź".encode("utf-16"), ""),
        (b"<p>caf\xe9", "its encoding was guessed, and read as Windows-1252"),
    ],
)
def test_html_in_the_encoding_it_declares(content, note):
    (line, _) = load_documents(MemoryStorage("m", {"a.html": content, "b.txt": b"b"})).report
    assert text_of("a.html", content) in ("Łódź", "café")
    assert note in line.problem
    assert bool(note) == bool(line.problem)


def test_docx():
    assert text_of("a.docx", docx("One é", "Two")).split() == ["One", "é", "Two"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("naïve – “quoted”".encode("cp1252"), "it is not UTF-8; its encoding was guessed, and read as Windows-1252"),
        ("\ufeffnaïve – “quoted”".encode(), ""),
        ("naïve – “quoted”".encode("utf-16"), ""),
        ("\ufeffnaïve – “quoted”".encode("utf-32-be"), ""),
    ],
)
def test_a_text_in_another_encoding_is_read_and_said(content, note):
    loaded = load_documents(MemoryStorage("memory", {"a.txt": content}))
    assert loaded.documents[0].text == "naïve – “quoted”"
    assert loaded.report[0].status == ("partly" if note else "read")
    assert note in str(loaded.report[0])
    assert bool(note) == bool(loaded.report[0].problem)


def test_a_byte_of_no_encoding_costs_one_character():
    assert text_of("a.txt", b"caf\xe9 \x81") == "café \ufffd"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", b"", "it is empty (0 bytes); upload the whole file again"),
        ("a.txt", b"", "it is empty (0 bytes)"),
        ("a.txt", b" \n\t\n", "it contains no text"),
        ("a.html", b"<html><script>app()</script></html>", "it contains no text"),
        ("a.pdf", GOOD[: len(GOOD) // 2], "it is cut off: its end is missing"),
        ("a.pdf", GOOD[:-400], "it is cut off: its end is missing"),
        ("a.pdf", b"%PDF-1.7\n%%EOF", "it is damaged"),
        ("a.pdf", encrypted("secret", "AES-256"), "it needs a password; remove it, e.g. `qpdf --decrypt"),
        ("a.pdf", encrypted("secret", "RC4-40"), "it needs a password"),
        (
            "a.pdf",
            pdf([png(), png()]),
            "a.pdf, 2 pages: no text on any of its 2 pages: it looks scanned; run OCR first",
        ),
        ("a.pdf", png(), "its content is a PNG image, which does not match .pdf; save it as one of: .pdf, .txt"),
        ("a.pdf", b"just words", "its content is plain text, which does not match .pdf; rename it to end in .txt"),
        ("a.pdf", HTML, "its content is an HTML page, which does not match .pdf; rename it to end in .html"),
        ("a.txt", GOOD, "its content is a PDF, which does not match .txt; rename it to end in .pdf"),
        ("a.txt", odt(), "its content is a ZIP archive or another Office document"),
        ("a.txt", b"\x00\x01" * 99, "its content is binary data, which does not match .txt"),
        ("a.md", docx("x"), "rename it to end in .docx"),
        ("a.docx", odt(), "a ZIP archive or another Office document, which does not match .docx"),
        ("a.docx", docx("x")[:-40], "a damaged ZIP archive or Office document"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "an old or password-protected Office document"),
        ("a.docx", docx("<broken"), "it is damaged (ExpatError"),
        ("a.odt", odt(), ".odt is not supported; save it as one of: .pdf, .txt, .md, .html, .htm, .docx, .pptx,"),
        ("a.xlsx", docx("x"), "its content is a Word document, which does not match .xlsx; rename it to end in .docx"),
        ("a.xlsx", docx("x")[:-40], "a damaged ZIP archive or Office document"),
        ("a.eml", GOOD, "its content is a PDF, which does not match .eml"),
        ("README", b"text", "a file without extension is not supported"),
        ("back\\slash.txt", b"text", "cannot be a key"),
    ],
)
def test_a_bad_file_gets_a_line_and_the_rest_goes_on(name, content, expected):
    lines = lines_of({name: content})
    assert lines[name].startswith(f"skipped  {name.replace(chr(92), chr(92))}")
    assert expected in lines[name]
    assert lines["good.txt"] == "read     good.txt, 1 page"


def test_broken_characters_are_replaced_and_said():
    loaded = load_documents(MemoryStorage("m", {"b.txt": b"x\0" + b"y" * 50, "c.html": b"<p>pair &#xD800; half"}))
    assert loaded.documents[0].text == "x\ufffd" + "y" * 50
    assert str(loaded.report[0]).startswith("partly   b.txt, 1 page: 1 broken character(s)")
    json.dumps([document.text for document in loaded.documents], ensure_ascii=False).encode()


def test_nothing_reaches_the_terminal(capfd, caplog):
    rng, contents = random.Random(5), {}
    for i in range(60):
        damaged = bytearray(GOOD)
        for _ in range(rng.choice((1, 5, 30))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        contents[f"{i:02}.pdf"] = bytes(damaged)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lines = lines_of({**contents, "url.html": b"http://example.com/", "x.html": b"<?xml version='1.0'?><a>b</a>"})
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert [str(warning.message) for warning in warned] == []
    assert {line.split()[0] for line in lines.values()} == {"read", "partly", "skipped"}
    assert logging.getLogger("pypdf").handlers == []
