"""Text of HTML pages: the visible content, with headings, lists and tables as in Markdown.

Hidden parts, navigation, page headers and footers, cookie banners and form controls are left out; if almost nothing
remains, only hidden content is left out. (trafilatura lost lists and flattened tables on short pages.)
"""

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

from dream.documents.file_types import Reading, plain_reading
from dream.documents.html_styles import hidden_by_styles
from dream.documents.rows import one_line, row_lines
from dream.documents.text_encoding import decode

_SPACE = re.compile(r"[ \t\r\n\f]+")
_NOT_SHOWN = frozenset(
    "script style template noscript head meta link iframe object embed canvas audio video map select datalist textarea"
    " button input annotation annotation-xml rp".split()
)
_NOT_SHOWN_CLASSES = {"visually-hidden", "sr-only", "screen-reader-text", "d-none"}
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|(?:left|top|text-indent)\s*:\s*-\d{4}",
    re.IGNORECASE,
)
_FRAME_ROLES = {"navigation", "banner", "contentinfo", "search", "menu", "menubar", "alertdialog", "dialog"}
_FRAME_NAMES = re.compile(
    r"(?:^|[\s_-])(?:cookie-?(?:banner|bar|box|consent|info|law|modal|notice|popup|wall)\w*|cybot\w*|cookiebot\w*|didomi"
    r"|osano|truste|iubenda|klaro|borlabs|cmplz|axeptio|tarteaucitron\w*|qc-cmp2|sp_message\w*|cc-(?:window|banner)"
    r"|cookies?|consent|gdpr|cookiebanner|cookieconsent|onetrust|usercentrics|breadcrumbs?|navbar|skip-?link"
    r"|skip-?nav|sr-only-focusable|site-?(?:header|footer|nav|menu)|global-?(?:header|footer|nav)"
    r"|share-?(?:bar|buttons|links)|social-?(?:share|links|media))(?:$|[\s_-])",
    re.IGNORECASE,
)
# Names that are also given to parts of the text: they count outside of it only, for what is mostly links, or short.
_FRAME_WORDS = re.compile(
    r"(?:main|page|top|primary|secondary|left|right|side|bottom|nav|sub)?[_-]?"
    r"(?:nav|navi|navigation|menu|sidebar|side-?nav|header|footer|toc-?bar|top-?bar|related|newsletter)[_-]?"
    r"(?:menu|links|container|wrapper|bar|list|1|2)?",
    re.IGNORECASE,
)
LINK_SHARE, FOOTER_LETTERS = 0.5, 600
_CONTENT = ("main", "article", "section", "blockquote", "figure", "td")
# What is named after cookies is a banner only if it is short and a small part of the page.
BANNER_LETTERS = 1500
LEAST_SHARE, FEW_LETTERS = 0.1, 200
LAYOUT_CELL_LETTERS = 800
MOST_ROWS = 1000
# A table with tables in it holds data if it has so many columns.
DATA_COLUMNS = 3
# The parts of a table are shown in this order; those that are not named in between.
_PARTS = {"thead": 0, "tfoot": 2}
MOST_NESTED = 240  # lxml drops what is nested deeper than 255
_PARAGRAPHS = {"p", "blockquote", "figure", "dl", "section", "article", "main", "hr", "form", "fieldset"}
_BLOCKS = {
    *_PARAGRAPHS,
    *("address aside body caption dd details div dt figcaption footer header html legend nav option summary".split()),
    *("table tbody td tfoot th thead tr title center".split()),
}
_SUPERSCRIPTS = str.maketrans("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ")


def read_html(content: bytes, charset: str | None = None) -> Reading:
    """The text of an HTML page, as one page; `charset` is an externally declared encoding."""
    from bs4.dammit import EncodingDetector

    decoded = decode(content, charset or EncodingDetector.find_declared_encoding(content, is_html=True))
    return plain_reading(html_text(decoded.text), decoded.problem, decoded.remedy, decoded.is_certain)


def html_text(html: str) -> str:
    """The text of an HTML page or fragment."""
    html = html.replace("\0", "\ufffd")  # at which lxml would end
    try:
        soup, title = _soup(html)
        n_letters = len(one_line(soup.get_text()))
        _remove_frame(soup, n_letters)
        text = _written(soup, title)
        return _written(*_soup(html)) if len(text) < FEW_LETTERS and len(text) < LEAST_SHARE * n_letters else text
    except (_TooDeep, RecursionError):
        return _flat_text(html)


class _TooDeep(Exception):
    """A page is nested so deeply that lxml drops a part of it."""


def _soup(html: str) -> tuple[Any, str]:
    """The page without invisible elements, and its title."""
    from bs4 import BeautifulSoup
    from bs4.element import PreformattedString

    soup = BeautifulSoup(html, "lxml")
    title = next((tag.get_text() for tag in soup.find_all("title") if tag.find_parent("svg") is None), "")
    depths: dict[int, int] = {}
    hidden = []
    for node in soup.descendants:
        if isinstance(node, PreformattedString):  # comments and the like
            hidden.append(node)
        elif (name := getattr(node, "name", None)) is not None:
            depths[id(node)] = depth = depths.get(id(node.parent), 0) + 1
            if depth >= MOST_NESTED:
                raise _TooDeep
            is_closed = name == "dialog" and "open" not in node.attrs  # type: ignore[union-attr]
            if name in _NOT_SHOWN or is_closed or (node.attrs and _is_hidden(node)):  # type: ignore[union-attr]
                hidden.append(node)
    for node in (*hidden_by_styles(soup), *hidden):
        node.extract()
    return soup, one_line(title)


def _is_hidden(tag: Any) -> bool:
    attributes = tag.attrs
    return (
        "hidden" in attributes
        or str(attributes.get("aria-hidden")).lower() == "true"
        or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
        or not _NOT_SHOWN_CLASSES.isdisjoint(attributes.get("class") or ())
    )


def _flat_text(html: str) -> str:
    """The text without structure, for pages that are nested too deeply."""
    parser = _FlatParser()
    parser.feed(html)
    parser.close()
    lines = (one_line(line) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _FlatParser(HTMLParser):
    """Collects the text of a page, with a line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._inside: str | None = None  # of an element that is not shown

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("script", "style", "template", "noscript") and self._inside is None:
            self._inside = tag
        if tag in _BLOCKS or tag in ("br", "li"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.parts.append(data.replace("\n", " "))


def _remove_frame(soup: Any, n_letters: int) -> None:
    """Remove navigation, banners and the like around the content of a page."""
    has_main = soup.find(["main", "article"]) is not None or soup.find(attrs={"role": "main"}) is not None
    for tag in soup.find_all(lambda tag: bool(tag.attrs) or tag.name in ("nav", "header", "footer", "aside")):
        if tag.decomposed or tag.name in ("html", "body", "main", "article"):
            continue
        if _is_frame(tag, n_letters, has_main) and tag.find(["main", "article"]) is None:
            tag.decompose()


def _is_frame(tag: Any, n_letters: int, has_main: bool) -> bool:
    if tag.name == "nav" or (tag.get("role") or "").strip().lower() in _FRAME_ROLES:
        return True
    if tag.name in ("header", "footer") and _is_outside(tag):
        # A header with the only heading of the page, and no navigation, is the beginning of the text.
        return tag.name == "footer" or has_main or tag.find("h1") is None
    if tag.name == "aside" and has_main and _is_outside(tag):
        return True
    names = [*(tag.get("class") or ()), str(tag.get("id") or "")]
    return any(names) and _is_named_as_frame(tag, names, n_letters)


def _is_named_as_frame(tag: Any, names: Sequence[str], n_letters: int) -> bool:
    """True for an element whose class or id names a banner, a menu or the like, unless it may be content."""
    is_banner = _FRAME_NAMES.search(" ".join(names)) is not None
    words = [name for name in names if _FRAME_WORDS.fullmatch(name)]
    if not (is_banner or (words and _is_outside(tag))) or tag.find("h1") is not None:
        return False
    length = len(one_line(tag.get_text()))
    if is_banner:
        if tag.find_parent(["main", "article"]) and tag.find(["h2", "h3", "h4"]):
            return False  # a part of a text about these
        return length < min(BANNER_LETTERS, max(n_letters / 2, FEW_LETTERS))
    in_links = sum(len(one_line(link.get_text())) for link in tag.find_all("a"))
    is_footer = any("footer" in word.lower() for word in words)
    return in_links > LINK_SHARE * length or (is_footer and length < min(FOOTER_LETTERS, n_letters / 3))


def _is_outside(tag: Any) -> bool:
    """True for an element outside of the page's content."""
    return all(above.name not in _CONTENT for above in tag.parents)


def _written(soup: Any, title: str) -> str:
    writer = _Writer()
    first = soup.find("h1")
    if title and not (first and one_line(first.get_text()) == title):
        writer.line(title)
        writer.blank()
    _write(soup, writer)
    writer.flush()
    return writer.text()


class _Writer:
    """Collects the text of a line, and lines with blank ones between paragraphs."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._parts: list[str] = []
        self.bullets: list[str] = []  # of the lists that are open; written once, then as many spaces

    def add(self, text: str) -> None:
        self._parts.append(text)

    def flush(self) -> None:
        text = re.sub(r" *\n *", "\n", re.sub(r"[ ]{2,}", " ", "".join(self._parts)))
        self._parts.clear()
        for line in filter(None, (line.strip(" ") for line in text.split("\n"))):
            self.line(line)

    def line(self, text: str) -> None:
        self._lines.append("".join(self.bullets) + text)
        self.bullets = [" " * len(bullet) for bullet in self.bullets]

    def blank(self) -> None:
        self.flush()
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def text(self) -> str:
        return "\n".join(self._lines).strip("\n").replace("\u00ad", "")


def _write(parent: Any, writer: _Writer) -> None:
    from bs4.element import NavigableString

    for node in list(parent.children):
        if isinstance(node, NavigableString):
            writer.add(_SPACE.sub(" ", node))
        else:
            _write_tag(node, writer)


def _write_tag(tag: Any, writer: _Writer) -> None:
    name = tag.name
    if re.fullmatch("h[1-6]", name):
        if title := one_line(_inline(tag)):
            writer.blank()
            writer.line(f"{'#' * int(name[1])} {title}")
            writer.blank()
    elif name in ("ul", "ol", "menu"):
        _write_list(tag, writer)
    elif name == "table" and not _is_layout(tag):
        writer.blank()
        for line in row_lines(_rows(tag)):
            writer.line(line)
        writer.blank()
    elif name == "pre":
        writer.flush()
        for line in tag.get_text().strip("\n").split("\n"):
            writer.line(line.rstrip())
    elif name in _BLOCKS:
        edge = writer.blank if name in _PARAGRAPHS else writer.flush
        edge()
        _write(tag, writer)
        edge()
    else:
        _write_inline(tag, writer)


def _write_inline(tag: Any, writer: _Writer) -> None:
    if tag.name == "br":
        writer.add("\n")
    elif tag.name == "img":
        writer.add(f" {one_line(tag.get('alt') or '')} ")
    elif tag.name == "svg":
        writer.add(" " + " ".join(one_line(label.get_text()) for label in tag.find_all("text")) + " ")
    elif tag.name == "sup":
        text = one_line(tag.get_text())
        writer.add(text.translate(_SUPERSCRIPTS) if all(ord(letter) in _SUPERSCRIPTS for letter in text) else text)
    else:
        _write(tag, writer)


def _write_list(tag: Any, writer: _Writer) -> None:
    outermost = not writer.bullets
    (writer.blank if outermost else writer.flush)()
    start = tag.get("start") or "1"
    number = int(start) if re.fullmatch(r"-?\d{1,9}", start) else 1
    for item in tag.find_all(True, recursive=False):
        if item.name != "li":
            _write_tag(item, writer)
            continue
        before = list(writer.bullets)
        writer.bullets = [*before, f"{number}. " if tag.name == "ol" else "- "]
        _write(item, writer)
        writer.flush()
        writer.bullets = [" " * len(bullet) for bullet in before] if writer.bullets[:-1] != before else before
        number += 1
    (writer.blank if outermost else writer.flush)()


def _inline(tag: Any) -> str:
    """The text of a cell or heading in one line."""
    writer = _Writer()
    _write(tag, writer)
    writer.flush()
    return " ".join(filter(None, writer.text().split("\n")))


def _is_layout(table: Any) -> bool:
    """True for a table that is only used for layout."""
    if table.get("role") in ("presentation", "none"):
        return True
    if table.find("table") is not None and max(map(len, map(_cells, _own_rows(table))), default=0) < DATA_COLUMNS:
        return True
    if table.find(["h1", "h2", "h3", "h4"]) is not None:
        return True
    return any(len(cell.get_text()) > LAYOUT_CELL_LETTERS for cell in table.find_all(["td", "th"]))


def _rows(table: Any) -> Iterator[Sequence[str]]:
    """The cells of each row; a cell over several rows is in each of them."""
    if (caption := table.find("caption")) is not None:
        yield [_inline(caption)]
    above: dict[int, tuple[int, str]] = {}  # by column: rows to go, and the text
    for row in _own_rows(table):
        cells: list[str] = []
        for cell in _cells(row):
            _take_above(above, cells)
            text, columns = _inline(cell), _span(cell, "colspan")
            if (rows := _span(cell, "rowspan")) > 1:
                above[len(cells)] = (rows - 1, text)
            cells += [text, *[""] * (columns - 1)]
        _take_above(above, cells)
        yield cells


def _own_rows(table: Any) -> list[Any]:
    """The rows of a table, without those of tables in its cells."""
    rows = [row for row in table.find_all("tr") if row.find_parent("table") is table]
    return sorted(rows, key=lambda row: _PARTS.get(row.parent.name, 1))


def _cells(row: Any) -> list[Any]:
    return row.find_all(["td", "th"], recursive=False)


def _take_above(above: dict[int, tuple[int, str]], cells: list[str]) -> None:
    while (column := len(cells)) in above:
        rows, text = above.pop(column)
        cells.append(text)
        if rows > 1:
            above[column] = (rows - 1, text)


def _span(cell: Any, name: str) -> int:
    text = str(cell.get(name) or "1")
    if text == "0" and name == "rowspan":  # to the last row
        return MOST_ROWS
    return min(max(int(text), 1), 100) if re.fullmatch(r"\d{1,4}", text) else 1
