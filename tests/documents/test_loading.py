"""Documents from real files, good and bad: every file gets its line, and one bad file costs only itself."""

import io
import json
import logging
import random
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pypdf
import pytest
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dream.documents.loading import load_documents, merge_pages, page_of, prepare_documents
from dream.errors import DataError, StorageError
from dream.settings import Settings
from dream.storage.objects import MemoryStorage, Storage, StoredObject, open_storage

NOWHERE = Settings.from_environment({})
SENTENCE = "The turbine blades were heated from within, at 4.5 kW each."


def pdf(pages: Sequence[str | bytes]) -> bytes:
    """A PDF with one page for each item: text, or a picture from bytes."""
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True)
    for page in pages:
        if isinstance(page, bytes):
            canvas.drawImage(ImageReader(io.BytesIO(page)), 50, 50, 200, 200)
        else:
            canvas.drawString(50, 700, page)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def png() -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(target, "PNG")
    return target.getvalue()


def encrypted(user_password: str, algorithm: str) -> bytes:
    writer, target = pypdf.PdfWriter(io.BytesIO(pdf([SENTENCE]))), io.BytesIO()
    writer.encrypt(user_password, "owner's", algorithm=algorithm)
    writer.write(target)
    return target.getvalue()


def docx(*paragraphs: str) -> bytes:
    target = io.BytesIO()
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {space}><w:body>{body}</w:body></w:document>")
    return target.getvalue()


def xlsx() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return target.getvalue()


GOOD = pdf([f"{SENTENCE} Page {i}." for i in (1, 2, 3)])
HTML = b"""<!doctype html><html><head><title>Icing</title><style>p {}</style><script>var secret = 1;</script></head>
<body><!-- unseen --><p>Hello <b>big</b>\n world</p><ul><li>one<li>two</ul>
<table><tr><th>key</th><td>value</td></tr></table><pre>x\n    y</pre>last<br>line</body></html>"""


@pytest.fixture
def storage(tmp_path) -> Storage:
    return open_storage(str(tmp_path / "documents"), NOWHERE)


def lines_of(contents: dict[str, bytes]) -> dict[str, str]:
    """The report of these files beside one that is good."""
    loaded = load_documents(MemoryStorage("memory", {**contents, "good.txt": b"a good file"}))
    assert len(loaded.report) == len(contents) + 1
    return {line.file: str(line) for line in loaded.report}


def text_of(name: str, content: bytes) -> str:
    loaded = load_documents(MemoryStorage("memory", {name: content}))
    return "|".join(document.text for document in loaded.documents)


# --- good files


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


@pytest.mark.parametrize("name", ["a.txt", "A.MD"])
def test_a_text_is_taken_as_it_is(name):
    text = "# Title\r\n\n  indented \ttab  \n漢字 é 😀\u2028 end  \n\n"
    assert text_of(name, text.encode()) == text


@pytest.mark.parametrize("name", ["a.html", "a.htm"])
def test_html_without_its_machinery(name):
    text = text_of(name, HTML)
    assert text == "Icing\n\nHello big world\n\none\ntwo\n\nkey value\n\nx\n    y\nlast\nline"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ('<meta charset="iso-8859-2"><p>Łódź'.encode("iso-8859-2"), ""),
        ('<meta charset="no-such"><p>Łódź'.encode(), ""),
        ("<p>Łódź".encode("utf-16"), ""),
        (b"<p>caf\xe9", "Windows-1252"),
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
        ("naïve – “quoted”".encode("cp1252"), "it is not UTF-8; read as Windows-1252"),
        ("\ufeffnaïve – “quoted”".encode(), ""),
        ("naïve – “quoted”".encode("utf-16"), ""),
        ("\ufeffnaïve – “quoted”".encode("utf-32-be"), ""),
    ],
)
def test_a_text_in_another_encoding_is_read_and_said(content, note):
    loaded = load_documents(MemoryStorage("memory", {"a.txt": content}))
    assert loaded.documents[0].text == "naïve – “quoted”"
    assert loaded.report[0].status == "read"
    assert note in str(loaded.report[0])
    assert bool(note) == bool(loaded.report[0].problem)


def test_what_is_neither_utf_8_nor_windows_is_latin_1():
    assert text_of("a.txt", b"caf\xe9 \x81") == "café \x81"


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_only_its_owner_may_change_is_read(algorithm):
    assert text_of("a.pdf", encrypted("", algorithm)) == f"{SENTENCE}\n"


def test_names_of_all_sorts(storage):
    names = ["with space.txt", 'qu\'ote "double".txt', "документ.txt", "資料.txt", "a+b%20c#d.txt"]
    for name in names:
        storage.write_text(name, f"text of {name}")
    loaded = load_documents(storage)
    assert {document.metadata["file_name"]: document.text for document in loaded.documents} == {
        name: f"text of {name}" for name in names
    }


# --- bad files


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", b"", "it is empty (0 bytes); put the whole file there again"),
        ("a.txt", b"", "it is empty (0 bytes)"),
        ("a.txt", b" \n\t\n", "it holds no text"),
        ("a.html", b"<html><script>app()</script></html>", "it holds no text"),
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
        ("a.pdf", png(), "its content is a PNG image, not what .pdf says; save it as one of: .pdf, .txt"),
        ("a.pdf", b"just words", "its content is plain text, not what .pdf says; rename it to end in .txt"),
        ("a.pdf", HTML, "its content is an HTML page, not what .pdf says; rename it to end in .html"),
        ("a.txt", GOOD, "its content is a PDF, not what .txt says; rename it to end in .pdf"),
        ("a.txt", xlsx(), "its content is a ZIP archive or another Office document"),
        ("a.txt", "utf-16 without a mark".encode("utf-16-le"), "UTF-16 text without a byte-order mark"),
        ("a.md", docx("x"), "rename it to end in .docx"),
        ("a.docx", xlsx(), "a ZIP archive or another Office document, not what .docx says"),
        ("a.docx", docx("x")[:-40], "a damaged ZIP archive or Office document"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "an old or password-protected Office document"),
        ("a.docx", docx("<broken"), "it is damaged (ParseError"),
        ("a.xlsx", xlsx(), ".xlsx is not read; save it as one of: .pdf, .txt, .md, .html, .htm, .docx"),
        ("README", b"text", "a name without extension is not read"),
        ("back\\slash.txt", b"text", "cannot be a key"),
    ],
)
def test_a_bad_file_gets_a_line_and_the_rest_goes_on(name, content, expected):
    lines = lines_of({name: content})
    assert lines[name].startswith(f"skipped  {name.replace(chr(92), chr(92))}")
    assert expected in lines[name]
    assert lines["good.txt"] == "read     good.txt, 1 page"


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


def test_broken_characters_are_replaced_and_said(monkeypatch):
    text = "a\0b \ud835\udc00 \ud800 c"
    monkeypatch.setattr(pypdf.PageObject, "extract_text", lambda page: text)
    loaded = load_documents(MemoryStorage("m", {"a.pdf": GOOD, "b.txt": b"x\0" + b"y" * 50}))
    assert loaded.documents[0].text == "a\ufffdb \U0001d400 \ufffd c"
    assert str(loaded.report[0]).startswith("partly   a.pdf, 3 pages: 6 broken character(s) (NUL or half of a pair)")
    assert str(loaded.report[1]).startswith("partly   b.txt, 1 page: 1 broken character(s)")
    json.dumps([document.text for document in loaded.documents], ensure_ascii=False).encode()


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
    storage.write_text("b.xlsx", "text")
    with pytest.raises(DataError) as caught:
        load_documents(storage)
    assert "skipped  a.pdf: its content is plain text" in str(caught.value)
    assert "skipped  b.xlsx: .xlsx is not read" in str(caught.value)


def test_chosen_files_and_a_chosen_file_that_is_gone(storage):
    for name in ("a.txt", "b.txt", "c.txt"):
        storage.write_text(name, name)
    assert [document.text for document in load_documents(storage, keys=["c.txt", "a.txt"]).documents] == [
        "a.txt",
        "c.txt",
    ]
    with pytest.raises(StorageError, match=r"gone.txt"):
        load_documents(storage, keys=["a.txt", "gone.txt"])


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


def test_a_name_that_is_no_unicode_is_reported(tmp_path):
    Path(tmp_path, "good.txt").write_text("x")
    Path(tmp_path, "line\nbreak.txt").write_text("y")
    (tmp_path / b"b\xe4d.txt".decode(errors="surrogateescape")).write_text("z")
    report = load_documents(open_storage(str(tmp_path), NOWHERE)).report
    lines = [str(line).encode().decode() for line in report]
    assert any(line.startswith("skipped  b\\udce4d.txt") for line in lines)
    assert "read     line\\nbreak.txt, 1 page" in lines


# --- digests, whole files and their pages


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


# --- putting documents into storage


def test_a_folder_goes_up_once(storage, tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b.pdf").write_bytes(GOOD)
    (folder / "sub" / "ü.txt").write_text("text")
    (folder / ".DS_Store").write_text("x")
    (folder / "table.xlsx").write_bytes(xlsx())
    first = prepare_documents(folder, storage)
    assert [(line.status, line.file) for line in first] == [
        ("uploaded", "a b.pdf"),
        ("uploaded", "sub/ü.txt"),
        ("skipped", ""),
    ]
    assert "table.xlsx: .xlsx is not read; save it as one of: .pdf" in str(first[2])
    assert [line.status for line in prepare_documents([str(folder)], storage)] == ["already there"] * 2 + ["skipped"]
    (folder / "a b.pdf").write_bytes(pdf(["new"]))
    assert prepare_documents([folder / "a b.pdf"], storage)[0].status == "replaced"
    assert load_documents(storage).documents[0].text == "new\n"


def test_files_that_share_a_name_do_not_overwrite_one_another(storage, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.txt").write_text(f"from {name}")
    sources = [tmp_path / "one" / "report.txt", tmp_path / "two", tmp_path / "one"]
    lines = prepare_documents(sources, storage)
    assert [line.status for line in lines] == ["uploaded", "uploaded", "already there"]
    assert {document.text for document in load_documents(storage).documents} == {"from one", "from two"}
    assert [line.status for line in prepare_documents(sources, storage)] == ["already there"] * 3


def test_sources_that_fail_are_reported_and_the_rest_goes_on(storage, tmp_path):
    (tmp_path / "good.txt").write_text("x")
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "data.csv").write_text("x")
    with open(tmp_path / "big.pdf", "wb") as big:
        big.truncate(100_000_000)
    names = ["nothing.pdf", "empty folder", "data.csv", "big.pdf", "x" * 5000, "good.txt"]
    lines = prepare_documents([*(tmp_path / name for name in names), "ftp://host/a.pdf"], storage)
    assert [line.status for line in lines] == ["failed"] * 5 + ["uploaded", "failed"]
    said = "\n".join(map(str, lines))
    for problem in (
        "no such file or folder",
        "holds no files",
        ".csv is not read",
        "100.0 MB is over the limit of 50 MB",
    ):
        assert problem in said
    assert [item.key for item in storage.list()] == ["good.txt"]


PATHS = {
    "/pdf/2401.00001": (200, {"Content-Type": "application/pdf"}, GOOD),
    "/a/paper.pdf": (200, {"Content-Type": "application/pdf"}, pdf(["paper a"])),
    "/b/paper.pdf": (200, {"Content-Type": "application/pdf"}, pdf(["paper b"])),
    "/get": (200, {"Content-Disposition": "attachment; filename*=UTF-8''b%C3%BCch%2F..%2F.er.pdf"}, pdf(["book"])),
    "/t%C3%BCr%20e.txt": (200, {"Content-Type": "text/plain; charset=utf-8"}, b"door"),
    "/": (200, {"Content-Type": "text/html"}, HTML),
    "/moved": (302, {"Location": "/moved/to.md"}, b""),
    "/moved/to.md": (200, {}, b"# moved"),
    "/login.pdf": (200, {"Content-Type": "text/html"}, HTML),
    "/picture": (200, {"Content-Type": "image/png"}, png()),
    "/round": (302, {"Location": "/round"}, b""),
    "/big.pdf": (200, {"Content-Length": "99000000"}, GOOD),
    "/endless.pdf": (200, {}, b"%PDF-" + bytes(3_000_000)),
    "/short.pdf": (200, {"Content-Length": "999999"}, GOOD),
    "/broken": (503, {}, b"try later"),
}


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, content = PATHS.get(self.path.partition("?")[0], (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls_become_files_with_sensible_names(storage, site):
    paths = ["/pdf/2401.00001", "/a/paper.pdf?download=1", "/b/paper.pdf", "/get", "/t%C3%BCr%20e.txt", "/", "/moved"]
    lines = prepare_documents([site + path for path in paths], storage)
    assert [line.status for line in lines] == ["uploaded"] * len(paths)
    names = [line.file for line in lines]
    assert names[0] == "2401.00001.pdf"
    assert names[1] == "paper.pdf"
    assert names[2].startswith("paper-")
    assert names[3:] == ["er.pdf", "tür e.txt", "127.0.0.1.html", "to.md"]
    texts = {document.text.strip() for document in load_documents(storage).documents}
    assert {"paper a", "paper b", "book", "door", "# moved"} <= texts
    assert {line.status for line in prepare_documents([site + path for path in paths], storage)} == {"already there"}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/missing.pdf", "HTTP 404 Not Found"),
        ("/broken", "HTTP 503"),
        ("/login.pdf", "login.pdf: its content is an HTML page, not what .pdf says"),
        ("/picture", "a name without extension is not read"),
        ("/round", "TooManyRedirects"),
        ("/big.pdf", "over the limit of 2 MB"),
        ("/endless.pdf", "over the limit of 2 MB"),
        ("/short.pdf", "RemoteProtocolError"),
    ],
)
def test_a_url_that_fails_is_reported_without_its_secrets(storage, site, path, problem):
    url = f"{site.replace('//', '//me:geheim@')}{path}?token=geheim"
    (line,) = prepare_documents(url, storage, max_file_mb=2)
    assert line.status == "failed"
    assert problem in line.problem
    assert "geheim" not in str(line)
    assert storage.list() == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.pdf", "http://", "http://[bad/a.pdf", "https://nowhere.invalid/a.pdf"]
)
def test_a_url_that_leads_nowhere_is_reported(storage, url):
    (line,) = prepare_documents([url], storage)
    assert line.status == "failed"
    assert "check the URL" in line.problem
