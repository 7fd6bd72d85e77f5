"""Word documents: everything that a reader sees, once, with its structure."""

import io
import zipfile

import pytest
from sample_files import docx_of, text_of

RUN = "<w:r><w:t>{}</w:t></w:r>"


def paragraph(text: str, style: str = "") -> str:
    style = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{style}{RUN.format(text)}</w:p>"


def cell(*texts: str) -> str:
    return f"<w:tc>{''.join(map(paragraph, texts))}</w:tc>"


TABLE = (
    f"<w:tbl><w:tr>{cell('Pump')}{cell('Flow')}</w:tr><w:tr>{cell('A', 'new')}{cell('42')}</w:tr>"
    f"<w:tr>{cell('B')}{cell('')}</w:tr></w:tbl>"
)
BOX = (
    '<w:p><w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
    '<mc:Choice Requires="wps"><w:drawing><w:txbxContent>{0}</w:txbxContent></w:drawing></mc:Choice>'
    '<mc:Fallback><w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:textbox><w:txbxContent>{0}'
    "</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
).format(paragraph("In the box."))
FOOTNOTE = f'<w:footnote w:id="2">{paragraph("Measured in 2019.")}</w:footnote>'
COMMENT = '<w:commentRangeStart w:id="0"/>{}<w:commentRangeEnd w:id="0"/><w:r><w:commentReference w:id="0"/></w:r>'


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (docx_of(paragraph("One é") + paragraph("Two")), "One é\n\nTwo"),
        (docx_of(paragraph("Title", "Heading1") + paragraph("Text")), "# Title\n\nText"),
        (docx_of(paragraph("Before") + TABLE + paragraph("After")), "Before\n\nPump | Flow\nA new | 42\nB |\n\nAfter"),
        (docx_of(paragraph("Before") + BOX), "Before\n\nIn the box."),
        (
            docx_of(f'<w:p>{RUN.format("Flow")}<w:r><w:footnoteReference w:id="2"/></w:r></w:p>', footnotes=FOOTNOTE),
            "Flow[1]\n\n1. Measured in 2019.",
        ),
        (
            docx_of(f"<w:p>{COMMENT.format(RUN.format('Text'))}</w:p>", comments='<w:comment w:id="0"/>'),
            "Text",
        ),
        (
            docx_of(
                f"<w:p>{RUN.format('It costs ')}<w:del>{RUN.format('200').replace('w:t>', 'w:delText>')}</w:del>"
                f"<w:ins>{RUN.format('250')}</w:ins></w:p>"
            ),
            "It costs 250",
        ),
        (docx_of(f"<w:sdt><w:sdtContent>{paragraph('In a control.')}</w:sdtContent></w:sdt>"), "In a control."),
        (docx_of(f"<w:p><w:hyperlink>{RUN.format('a link')}</w:hyperlink></w:p>"), "a link"),
        (docx_of(paragraph("&lt;tag&gt; &amp; co")), "<tag> & co"),
    ],
    ids=["text", "heading", "table", "text box", "footnote", "comment", "changes", "control", "link", "signs"],
)
def test_what_is_read(content, text):
    assert text_of("a.docx", content) == text


def test_headers_and_footers_are_read_once_and_without_page_numbers():
    header, footer = paragraph("CONFIDENTIAL"), paragraph("Page 3 of 9")
    content = docx_of(
        paragraph("Text"),
        header1=header,
        header2=header + paragraph("Harlow Works"),
        footer1=footer,
        footer2=paragraph("12") + paragraph("Imprint"),
    )
    assert text_of("a.docx", content) == "CONFIDENTIAL\n\nHarlow Works\n\nText\n\nImprint"


def test_strict_ooxml():
    content, target = docx_of(paragraph("Title", "Heading1") + TABLE), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            xml = source.read(name).replace(
                b"http://schemas.openxmlformats.org/wordprocessingml/2006/main",
                b"http://purl.oclc.org/ooxml/wordprocessingml/main",
            )
            copy.writestr(name, xml)
    assert text_of("a.docx", target.getvalue()) == "# Title\n\nPump | Flow\nA new | 42\nB |"


def test_hidden_text_is_not_read_and_boxes_are_ticked_or_not():
    word14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
    boxes = "".join(
        f'<w:sdt><w:sdtPr><w14:checkbox {word14}><w14:checked w14:val="{i}"/></w14:checkbox></w:sdtPr>'
        "<w:sdtContent><w:r><w:t>x</w:t></w:r></w:sdtContent></w:sdt>"
        for i in (1, 0)
    )
    runs = "".join(
        f"<w:r><w:rPr><w:vanish{value}/></w:rPr><w:t>{text}</w:t></w:r>"
        for value, text in (("", "Secret"), (' w:val="0"', "Shown"))
    )
    assert text_of("a.docx", docx_of(f"<w:p>{runs}</w:p><w:p>{boxes}</w:p>")) == "Shown\n\n☒☐"
