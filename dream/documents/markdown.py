"""Text of Markdown files: without the markup that is no text, front matter and pictures in base64."""

import re

from dream.documents.file_types import Reading, plain_reading
from dream.documents.rows import one_line
from dream.documents.text_encoding import decode

_FRONT_MATTER = re.compile(r"\ufeff?(---|\+\+\+)[ \t]*\r?\n(.*?\r?\n)?(?:\1|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title\s*[:=]\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_DATA_PICTURE = re.compile(r"!\[([^\]]*)\]\(\s*<?data:[^)\s]*>?(?:\s+[\"'][^)]*)?\s*\)", re.IGNORECASE)
_DATA_REFERENCE = re.compile(r"^[ \t]*\[[^\]]+\]:\s*<?data:\S+.*(?:\r?\n|\Z)", re.MULTILINE | re.IGNORECASE)
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.-]+)*;base64,[A-Za-z0-9+/=_-]{40,}", re.IGNORECASE)
_HTML_PICTURE = re.compile(r"<img\b[^>]*\bsrc\s*=\s*[\"']?data:[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*([\"'])(.*?)\1", re.IGNORECASE)
# Code, which stays, or a comment.
_CODE_OR_COMMENT = re.compile(
    r"(^[ \t]*(```+|~~~+).*?^[ \t]*\2|`[^`\n]+`)|<!--.*?-->[ \t]*\n?", re.DOTALL | re.MULTILINE
)


def read_markdown(content: bytes) -> Reading:
    """The text of a file, as one page."""
    decoded = decode(content)
    return plain_reading(markdown_text(decoded.text), decoded.problem, decoded.remedy, decoded.is_certain)


def markdown_text(text: str) -> str:
    """Markdown with the title of its front matter as the first line, and alternative texts in place of pictures in
    base64; code stays."""
    title = ""
    if match := _FRONT_MATTER.match(text):
        found = _TITLE.search(match[2] or "")
        title = one_line(found[1].strip("\"'")) if found else ""
        text = text[match.end() :]
    if "data:" in text.lower():
        text = _HTML_PICTURE.sub(lambda match: alt[2] if (alt := _ALT.search(match[0])) else "", text)
        text = _DATA_PICTURE.sub(r"\1", text)
        text = _DATA_URI.sub("", _DATA_REFERENCE.sub("", text))
    if "<!--" in text:
        text = _CODE_OR_COMMENT.sub(lambda match: match[1] or "", text)
    is_repeated = not title or title.lower() in text[: len(title) + 200].lower()
    return text if is_repeated else f"{title}\n\n{text}"
