"""Text of e-mails (.eml): sender, recipients, subject and message, and readable attachments as further pages."""

import email
import re
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage, MIMEPart
from itertools import islice
from typing import cast

from dream.documents.file_types import Heading, Reading
from dream.documents.html import read_html
from dream.documents.rows import one_line
from dream.documents.text_encoding import decode

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
MOST_ATTACHMENTS = 100
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")
# A line that continues in the next one (RFC 3676): it ends in a space, and is not the signature separator.
_FLOWED = re.compile(r"^(?!-- $)(.*\S) \n(?=[^\s>])", re.MULTILINE)
ReadFile = Callable[[str, bytes], Reading]


def read_eml(content: bytes, read_attachment: ReadFile) -> Reading:
    """The message as the first page; `read_attachment` reads each attachment."""
    message = cast(EmailMessage, email.message_from_bytes(content, policy=policy.default))
    body, problems = _body(message)
    head = "\n".join(f"{name}: {one_line(_header(message, name))}" for name in _HEADERS if message[name])
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
    remedy = "save attachments as separate files, and upload these" if problems else ""
    return Reading(tuple(pages), pages[-1][0], not problems, "; ".join(problems), remedy, headings=tuple(headings))


def _header(message: EmailMessage, name: str) -> str:
    """A header; if it has undeclared non-ASCII bytes, they are decoded with a guessed encoding."""
    value = str(message[name])
    if "\ufffd" not in value:
        return value
    written = next((text for key, text in message.raw_items() if key.lower() == name.lower()), value)
    return decode(str(written).encode("ascii", "surrogateescape")).text


def _body(message: EmailMessage) -> tuple[str, list[str]]:
    parts = list(_bodies(message))
    if not parts and isinstance(payload := message.get_payload(), str):  # parts that are declared but missing
        return payload.replace("\r\n", "\n").strip(), []
    texts = [_text(part) for part in parts]
    return "\n\n".join(text for text, _ in texts if text), [problem for _, problem in texts if problem]


def _bodies(message: MIMEPart) -> Iterator[MIMEPart]:
    """The visible text parts in order; of alternatives, the plain text."""
    if message.get_content_type() == "multipart/mixed":
        for part in cast(Iterator[MIMEPart], message.iter_parts()):
            if not _is_file(part):
                yield from _bodies(part)
        return
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    if part := plain if plain is not None and (html is None or _text(plain)[0]) else html:
        yield part


def _text(part: MIMEPart) -> tuple[str, str]:
    """The text of a part of a message, and the assumptions made in decoding it."""
    payload = cast(bytes, part.get_payload(decode=True)) or b""
    if part.get_content_type() == "text/html":
        reading = read_html(payload, part.get_content_charset())
        return "".join(text for _, text in reading.pages).strip(), reading.problem if reading.pages else ""
    decoded = decode(payload, part.get_content_charset())
    text = decoded.text.replace("\r\n", "\n")
    if part.get_param("format") == "flowed":
        text = _FLOWED.sub(r"\1 ", text)
    return text.strip(), decoded.problem


def _files(message: MIMEPart) -> Iterator[MIMEPart]:
    """The attached files of a message and its parts."""
    parts = cast(Iterator[MIMEPart], message.iter_parts()) if message.is_multipart() else ()
    for part in parts:
        if _is_file(part):
            yield part
        elif part.get_content_maintype() == "multipart":
            yield from _files(part)


def _is_file(part: MIMEPart) -> bool:
    """True for an attachment, as opposed to inline pictures and signatures."""
    kind, main = part.get_content_type(), part.get_content_maintype()
    if kind in _SIGNATURES:
        return False
    named = bool(part.get_filename()) and main in ("application", "text") and kind not in ("text/plain", "text/html")
    return part.get_content_disposition() == "attachment" or named or kind == "message/rfc822"


def _attachments(message: EmailMessage) -> Iterator[tuple[str, bytes]]:
    """Name and content of each attachment."""
    for part in islice(_files(message), MOST_ATTACHMENTS):
        if part.get_content_type() == "message/rfc822":
            inner = cast(EmailMessage, part.get_payload(0))
            yield f"{(part.get_filename() or 'message').removesuffix('.eml')}.eml", inner.as_bytes()
        else:
            yield part.get_filename() or "attachment", cast(bytes, part.get_payload(decode=True)) or b""
