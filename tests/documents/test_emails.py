"""E-mails: heads, bodies of either kind, and attachments."""

import io
from email.message import EmailMessage

import pytest
from reportlab.pdfgen.canvas import Canvas
from sample_files import GOOD, SENTENCE, lines_of, text_of

from dream.documents.readers import read_file

HEAD = "Subject: Größe der Pumpe\nFrom: Ann <ann@example.com>\nTo: bob@example.com"


def message(plain: str = "", html: str = "", charset: str = "utf-8") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Größe der Pumpe", "Ann <ann@example.com>", "bob@example.com"
    if plain:
        mail.set_content(plain, charset=charset)
    if html and plain:
        mail.add_alternative(html, subtype="html")
    elif html:
        mail.set_content(html, subtype="html")
    return mail


@pytest.mark.parametrize(
    ("mail", "body"),
    [
        (message("Sie ist 5 µm groß.\n"), "Sie ist 5 µm groß."),
        (message("Sie ist 5 µm groß.\n", charset="iso-8859-1"), "Sie ist 5 µm groß."),
        (message(html="<p>In <b>HTML</b></p><table><tr><td>a<td>b</table>"), "In HTML\n\na | b"),
        (message("The plain text", "<p>The HTML</p>"), "The plain text"),
        (message(" \n", "<p>The HTML</p>"), "The HTML"),
    ],
)
def test_the_message_is_read_with_its_head(mail, body):
    assert text_of("a.eml", mail.as_bytes()) == f"{HEAD}\n\n{body}\n"


def test_attachments_are_further_pages_and_others_are_told():
    mail = message("See the report.")
    mail.add_attachment(GOOD, maintype="application", subtype="pdf", filename="report.pdf")
    mail.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="tool.exe")
    mail.add_attachment(message("The first message."))
    pages = text_of("a.eml", mail.as_bytes()).split("|")
    assert pages[1] == f"Attachment: report.pdf\n\n{SENTENCE} Page 1.\n"
    assert "Attachment: message.eml" in pages[4] and "The first message." in pages[4]
    line = lines_of({"a.eml": mail.as_bytes()})["a.eml"]
    assert line.startswith("partly   a.eml, 5 pages: attachment tool.exe: .exe is not supported")


def test_headings_of_an_attached_file_stay_headings():
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True)
    for line, (text, size) in enumerate([("Pumps", 16), (SENTENCE, 10), (SENTENCE, 10)]):
        canvas.setFont("Helvetica", size)
        canvas.drawString(50, 700 - 20 * line, text)
    canvas.save()
    mail = message("Please read this.")
    mail.add_attachment(target.getvalue(), maintype="application", subtype="pdf", filename="pumps.pdf")
    reading = read_file("a.eml", mail.as_bytes())
    (heading,) = reading.headings
    assert (heading.page, heading.level) == (2, 1)
    assert dict(reading.pages)[2][heading.start : heading.end] == "Pumps"


def mixed(*parts: str, kind: str = "mixed") -> bytes:
    """A message of parts, each written with its head."""
    head = f"Subject: S\nMIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=b\n\n"
    return (head + "".join(f"--b\n{part}\n" for part in parts) + "--b--\n").encode()


PLAIN, HTML_PART = "Content-Type: text/plain\n\n", "Content-Type: text/html\n\n"
FILE = "Content-Type: application/octet-stream\nContent-Disposition: inline; filename=a.txt\n\nIn a file"
SIGNATURE = "Content-Type: application/pgp-signature; name=signature.asc\n\nXXX"


@pytest.mark.parametrize(
    ("content", "pages"),
    [
        (mixed(f"{PLAIN}First", FILE, f"{HTML_PART}<p>Second</p>"), ["First\n\nSecond", "In a file"]),
        (mixed(f"{HTML_PART}<p>Mail</p>", f"{PLAIN}Of a list"), ["Mail\n\nOf a list"]),
        (mixed(f"{PLAIN}Outer", "Content-Type: message/rfc822\n\nSubject: Inner\n\nBody"), ["Outer", "Body"]),
        (mixed(f"{PLAIN}Signed", SIGNATURE, kind="signed"), ["Signed"]),
        (b"Subject: S\nContent-Type: multipart/mixed; boundary=z\n\nNo parts\n", ["No parts"]),
        (
            b"Subject: S\nContent-Type: text/plain; format=flowed\n\nA long \nline.\n-- \nAnn\n",
            ["A long line.\n-- \nAnn"],
        ),
        (
            b"Subject: S\nContent-Type: text/html\n\n<meta charset=koi8-r><p>" + "Насос".encode("koi8-r"),
            ["Насос"],
        ),
    ],
    ids=["inline", "list", "forwarded", "signed", "no parts", "flowed", "declared inside"],
)
def test_parts_that_a_reader_sees(content, pages):
    reading = read_file("a.eml", content)
    assert [text.rpartition("S\n\n")[2].rpartition(".txt\n\n")[2].rpartition("Inner\n\n")[2].strip() for _, text in
            reading.pages] == pages  # fmt: skip
    assert not reading.problem


def test_a_head_in_an_encoding_that_is_not_declared():
    assert "Subject: Übersicht" in text_of("a.eml", "Subject: Übersicht\n\nText\n".encode("latin-1"))
