"""Text of Word documents: mammoth converts them to HTML (including strict OOXML, text boxes, notes, and tracked changes
as accepted), which is read like any HTML. Elements that mammoth does not support (`docx_markup`), headers and footers
are added."""

import re
from collections.abc import Iterator

from dream.documents.docx_markup import n_inserted_files, readable
from dream.documents.file_types import Reading, plain_reading
from dream.documents.html import html_text
from dream.documents.office_parts import Package, is_fallback
from dream.documents.rows import one_line
from dream.documents.xml import local_name, parse

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_BACK_LINK = re.compile(r' ?<a href="#(?:footnote|endnote)-ref-[^"]*">↑</a>')
_CHECKBOX = re.compile(r'<input (checked="checked" )?type="checkbox" ?/?>')
_HEADER_OR_FOOTER = re.compile(r"word/(header|footer)\d*\.xml")
_PAGE_NUMBER = re.compile(
    r"[\W\d_]*(?:(?:page|seite|page|página|pagina|strona)\W*\d+(?:\W+\w+\W+\d+)?)?[\W\d_]*", re.IGNORECASE
)


def read_docx(content: bytes) -> Reading:
    """The text of a document, as one page."""
    import mammoth

    without_pictures = mammoth.images.img_element(lambda image: {})
    package = Package(content)
    with readable(package) as file:
        html = mammoth.convert_to_html(file, convert_image=without_pictures, style_map=_STYLES).value
    html = _CHECKBOX.sub(lambda box: "☒" if box[1] else "☐", _BACK_LINK.sub("", html))
    headers, footers = _headers_and_footers(package)
    parts = [*headers, html_text(html), *footers]
    text = "\n\n".join(part for part in parts if part)
    if n_inserted := n_inserted_files(package):
        problem = f"{n_inserted} file(s) that Word inserts on opening it were not read"
        return plain_reading(text, problem, "open it in Word and save it again", is_certain=False)
    return plain_reading(text)


def _headers_and_footers(package: Package) -> tuple[list[str], list[str]]:
    """The distinct lines of all headers, and of all footers; page numbers are left out."""
    lines: dict[str, dict[str, None]] = {"header": {}, "footer": {}}
    for name in sorted(package.names):
        if match := _HEADER_OR_FOOTER.fullmatch(name):
            lines[match[1]].update(dict.fromkeys(_paragraphs(package.read(name))))
    return list(lines["header"]), [line for line in lines["footer"] if line not in lines["header"]]


def _paragraphs(xml: bytes) -> Iterator[str]:
    for paragraph in parse(xml).iter("{*}p"):
        parts = [
            " " if local_name(node) in ("tab", "br") else node.text or ""
            for node in paragraph.iter("{*}t", "{*}tab", "{*}br")
            if not is_fallback(node) and next(node.iterancestors("{*}p")) is paragraph
        ]
        line = one_line("".join(parts))
        if not _PAGE_NUMBER.fullmatch(line):
            yield line
