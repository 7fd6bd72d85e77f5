"""Text of Markdown files, without non-text markup, front matter and base64 pictures."""

import re
from collections.abc import Iterator

from dream.documents.file_types import Reading, plain_reading
from dream.documents.rows import one_line
from dream.documents.text_encoding import decode

# begins with a comment or a name and its value; otherwise the text is between two rules
_FRONT_MATTER = re.compile(
    r"\ufeff?(---|\+\+\+)[ \t]*\r?\n((?:#|\[|[^\s:=][^\r\n:=]*[:=]).*?\r?\n)?(?:\1|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL
)
_TITLE = re.compile(r"^title\s*[:=]\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_DATA_PICTURE = re.compile(r"!\[([^\]]*)\]\(\s*<?data:[^)]*\)", re.IGNORECASE)
_DATA_REFERENCE = re.compile(r"^[ \t]*\[[^\]]+\]:\s*<?data:\S+.*(?:\r?\n|\Z)", re.MULTILINE | re.IGNORECASE)
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.-]+)*;base64,[A-Za-z0-9+/=_-]{40,}", re.IGNORECASE)
_HTML_PICTURE = re.compile(r"<img\b[^>]*\bsrc\s*=\s*[\"']?data:[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*([\"'])(.*?)\1", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(```+|~~~+)")


def read_markdown(content: bytes) -> Reading:
    """The text of a file, as one page."""
    decoded = decode(content)
    return plain_reading(markdown_text(decoded.text), decoded.problem, decoded.remedy, decoded.is_certain)


def markdown_text(text: str) -> str:
    """Markdown with the front matter's title as the first line, and alternative texts instead of base64 pictures; code
    is unchanged."""
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
        text = "".join(_without_comments(text))
    is_repeated = not title or title.lower() in text[: len(title) + 200].lower()
    return text if is_repeated else f"{title}\n\n{text}"


def _without_comments(text: str) -> Iterator[str]:
    """The lines of a text without comments, except in code; an unterminated comment counts as text."""
    last_end, offset, fence, in_comment = text.rfind("-->"), 0, "", False
    for line in text.splitlines(keepends=True):
        opening = None if in_comment else _FENCE.match(line)
        if fence or opening:
            yield line
            if opening and (not fence or opening[1].startswith(fence)):
                fence = "" if fence else opening[1]
        else:
            kept, in_comment = _line_without_comments(line, in_comment, last_end - offset)
            if kept.strip() or kept == line:
                yield kept
        offset += len(line)


def _line_without_comments(line: str, in_comment: bool, last_end: int) -> tuple[str, bool]:
    """The rest of a line, and True if a comment goes on; the last end of a comment is at `last_end` from here."""
    parts, position, marks = [], 0, 0
    while True:
        if in_comment:
            end = line.find("-->", position)
            if end < 0:
                return "".join(parts), True
            position, in_comment = len(line) - len(line[end + 3 :].lstrip(" \t")), False
        start = line.find("<!--", position)
        marks += line.count("`", position, start if start >= 0 else len(line))
        if start < 0 or marks % 2 or last_end < start:
            return "".join([*parts, line[position:]]), False
        parts.append(line[position:start])
        position, in_comment = start, True
