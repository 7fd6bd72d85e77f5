"""Text of e-mails (.eml): who wrote to whom about what, the message, and readable attachments as further pages."""

import email
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from typing import cast

from dream.documents.file_types import Heading, Reading
from dream.documents.html import html_text
from dream.documents.rows import one_line
from dream.documents.text_encoding import decode

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
MOST_ATTACHMENTS = 100
ReadFile = Callable[[str, bytes], Reading]


def read_eml(content: bytes, read_attachment: ReadFile) -> Reading:
    """The message as the first page; `read_attachment` reads each attachment."""
    message = cast(EmailMessage, email.message_from_bytes(content, policy=policy.default))
    body, problems = _body(message)
    head = "\n".join(f"{name}: {one_line(str(message[name]))}" for name in _HEADERS if message[name])
    text = f"{head}\n\n{body}".strip()
    if not text:
        return Reading(n_pages=1, problem="it contains no text", remedy="upload a version with text")
    pages = [(1, f"{text}\n")]
    headings: list[Heading] = []
    for name, attached in _attachments(message):
        reading = read_attachment(name, attached)
        for i, (number, page) in enumerate(reading.pages):
            head = f"Attachment: {name}\n\n" if i == 0 else ""
            pages.append((pages[-1][0] + 1, head + page))
            headings += [
                Heading(pages[-1][0], len(head) + start, len(head) + end, level)
                for in_page, start, end, level in reading.headings
                if in_page == number
            ]
        if reading.problem:
            problems.append(f"attachment {name}: {reading.problem}")
    remedy = "save attachments as files of their own, and upload these" if problems else ""
    return Reading(tuple(pages), pages[-1][0], not problems, "; ".join(problems), remedy, headings=tuple(headings))


def _body(message: EmailMessage) -> tuple[str, list[str]]:
    part = message.get_body(("plain", "html"))
    if part is None:
        return "", []
    payload = cast(bytes, part.get_payload(decode=True)) or b""
    decoded = decode(payload, part.get_content_charset())
    text = html_text(decoded.text) if part.get_content_type() == "text/html" else decoded.text.replace("\r\n", "\n")
    if not text.strip() and (html := message.get_body(("html",))) is not None and html is not part:
        decoded = decode(cast(bytes, html.get_payload(decode=True)) or b"", html.get_content_charset())
        text = html_text(decoded.text)
    return text.strip(), [decoded.problem] if decoded.problem else []


def _attachments(message: EmailMessage) -> Iterator[tuple[str, bytes]]:
    """Name and content of what is attached; pictures that belong to the text are not."""
    attached = [part for part in message.iter_attachments() if part.get_content_disposition() == "attachment"]
    for part in attached[:MOST_ATTACHMENTS]:
        if part.get_content_type() == "message/rfc822":
            inner = cast(EmailMessage, part.get_payload(0))
            yield f"{(part.get_filename() or 'message').removesuffix('.eml')}.eml", inner.as_bytes()
        else:
            yield part.get_filename() or "attachment", cast(bytes, part.get_payload(decode=True)) or b""
