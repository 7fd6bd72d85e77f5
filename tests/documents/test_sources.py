"""Downloads from a real web server, good and bad."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sample_files import GOOD, HTML, pdf, png

from dream.documents import load_documents, prepare_documents

PATHS = {
    "/pdf/2401.00001": (200, {"Content-Type": "application/pdf"}, GOOD),
    "/a/paper.pdf": (200, {"Content-Type": "application/pdf"}, pdf(["paper a"])),
    "/b/paper.pdf": (200, {"Content-Type": "application/pdf"}, pdf(["paper b"])),
    "/get": (200, {"Content-Disposition": "attachment; filename*=UTF-8''b%C3%BCch%2F..%2F.er.pdf"}, pdf(["book"])),
    "/t%C3%BCr%20e.txt": (200, {"Content-Type": "text/plain; charset=utf-8"}, b"gate"),
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
    assert {"paper a", "paper b", "book", "gate", "# moved"} <= texts
    assert {line.status for line in prepare_documents([site + path for path in paths], storage)} == {"already there"}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/missing.pdf", "HTTP 404 Not Found"),
        ("/broken", "HTTP 503"),
        ("/login.pdf", "login.pdf: its content is an HTML page, which does not match .pdf"),
        ("/picture", "a file without extension is not supported"),
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
