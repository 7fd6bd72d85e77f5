"""Files of every format, made in memory, and what becomes of them."""

import io
import zipfile
from collections.abc import Mapping, Sequence

import pypdf
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dream.documents import load_documents
from dream.storage import MemoryStorage

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
    return docx_of("".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs))


SPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)


def docx_of(body: str, **parts: str) -> bytes:
    """A Word document of a body in XML; `parts` are the contents of footnotes, header1 and others."""
    files = {"document": f"<w:body>{body}</w:body>", **parts}
    roots = {"footnotes": "footnotes", "endnotes": "endnotes", "comments": "comments"}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, xml in files.items():
            root = roots.get(name) or {"d": "document", "h": "hdr", "f": "ftr"}[name[0]]
            archive.writestr(f"word/{name}.xml", f"<w:{root} {SPACES}>{xml}</w:{root}>")
    return target.getvalue()


def with_parts(content: bytes, parts: Mapping[str, str]) -> bytes:
    """An Office document with parts replaced or added."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name not in parts:
                copy.writestr(name, source.read(name))
        for name, xml in parts.items():
            copy.writestr(name, xml)
    return target.getvalue()


def odt() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("content.xml", "<office/>")
    return target.getvalue()


def lines_of(contents: dict[str, bytes]) -> dict[str, str]:
    """The report of these files beside one that is good."""
    loaded = load_documents(MemoryStorage("memory", {**contents, "good.txt": b"a good file"}))
    assert len(loaded.report) == len(contents) + 1
    return {line.file: str(line) for line in loaded.report}


def text_of(name: str, content: bytes) -> str:
    loaded = load_documents(MemoryStorage("memory", {name: content}))
    return "|".join(document.text for document in loaded.documents)


GOOD = pdf([f"{SENTENCE} Page {i}." for i in (1, 2, 3)])
HTML = b"""<!doctype html><html><head><title>Icing</title><style>p {}</style><script>var secret = 1;</script></head>
<body><!-- unseen --><p>Hello <b>big</b>\n world</p><ul><li>one<li>two</ul>
<table><tr><th>key</th><td>value</td></tr></table><pre>x\n    y</pre>last<br>line</body></html>"""
