"""PDFs that are awkward to read, made by hand."""

import io
from collections.abc import Mapping, Sequence

import pypdf
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DecodedStreamObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    NumberObject,
)
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from sample_files import pdf, png

EXTRA = 0x384  # the glyph number of the first letter that is no ASCII


def with_font(lines: Sequence[str], characters: Mapping[str, str] | None) -> bytes:
    """A page in a font whose glyph numbers are not letters.

    `characters` says what the file maps a letter to, by default itself; None leaves the character map out.
    """
    extra = sorted({letter for line in lines for letter in line if ord(letter) > 0x7E})
    glyphs = {letter: EXTRA + extra.index(letter) if letter in extra else ord(letter) - 29 for letter in "".join(lines)}
    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(595, 842)
    descendant = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/CIDFontType2"),
            NameObject("/BaseFont"): NameObject("/ABCDEF+Frut"),
            NameObject("/DW"): NumberObject(500),
        }
    )
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type0"),
            NameObject("/BaseFont"): NameObject("/ABCDEF+Frut"),
            NameObject("/Encoding"): NameObject("/Identity-H"),
            NameObject("/DescendantFonts"): ArrayObject([writer._add_object(descendant)]),
        }
    )
    if characters is not None:
        rows = "\n".join(
            f"<{glyph:04X}> <{characters.get(letter, letter).encode('utf-16-be').hex()}>"
            for letter, glyph in glyphs.items()
        )
        font[NameObject("/ToUnicode")] = writer._add_object(
            _stream(
                "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /A def /CMapType 2 def\n"
                f"1 begincodespacerange <0000> <FFFF> endcodespacerange {len(glyphs)} beginbfchar\n{rows}\n"
                "endbfchar endcmap end end"
            )
        )
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
    )
    shown = "\n0 -16 Td ".join(f"<{''.join(f'{glyphs[letter]:04X}' for letter in line)}> Tj" for line in lines)
    page[NameObject("/Contents")] = writer._add_object(_stream(f"BT /F1 12 Tf 50 700 Td {shown} ET"))
    return _written(writer)


def xfa_form(page_text: str, dynamic: bool) -> bytes:
    """A form whose fields are in XML; the page shows `page_text`."""
    writer = pypdf.PdfWriter(io.BytesIO(pdf([page_text])))
    form = DictionaryObject(
        {
            NameObject("/Fields"): ArrayObject([]),
            NameObject("/XFA"): writer._add_object(_stream("<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'/>")),
        }
    )
    writer.root_object[NameObject("/AcroForm")] = form
    if dynamic:
        writer.root_object[NameObject("/NeedsRendering")] = BooleanObject(True)
    return _written(writer)


def filled_form() -> bytes:
    """A form with a filled and an empty text field, a ticked and an empty box, and a chosen item."""
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True)
    canvas.drawString(50, 780, "Order form")
    form = canvas.acroForm
    form.textfield(name="customer", tooltip="Customer", value="Brightwater Council", x=150, y=720, width=200, height=20)
    form.textfield(name="remark", tooltip="Remark", value="", x=150, y=690, width=200, height=20)
    form.checkbox(name="approved", tooltip="Approved", checked=True, x=150, y=660)
    form.checkbox(name="refused", tooltip="Refused", checked=False, x=150, y=630)
    form.choice(
        name="delivery", tooltip="Delivery", value="Rail", options=["Rail", "Road"], x=150, y=600, width=90, height=20
    )
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def with_note(text: str, note: str) -> bytes:
    from pypdf.annotations import FreeText

    writer = pypdf.PdfWriter(io.BytesIO(pdf([text])))
    writer.add_annotation(0, FreeText(text=note, rect=(50, 550, 200, 600)))
    return _written(writer)


def scan_with_stamp(stamp: str) -> bytes:
    """A page that a picture covers, with a few words on it, and a page of text."""
    target = io.BytesIO()
    canvas = Canvas(target, invariant=True, pagesize=(595, 842))
    canvas.drawString(50, 800, "A page of text.")
    canvas.showPage()
    canvas.drawImage(ImageReader(io.BytesIO(png())), 0, 0, 595, 842)
    canvas.drawString(50, 20, stamp)
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def with_nested_parts(levels: int, times: int, endless: bool = False) -> bytes:
    """A page of text, and one that draws a part that draws a part `times` times, and so on."""
    writer = pypdf.PdfWriter(io.BytesIO(pdf(["A page of text.", ""])))
    page = writer.pages[1]
    font = writer.pages[0]["/Resources"]["/Font"]  # type: ignore[index]
    part = _part(writer, "BT /F1 12 Tf 50 700 Td (deep text) Tj ET", NameObject("/Font"), font)
    for _ in range(levels):
        names = DictionaryObject({NameObject("/X"): part})
        part = _part(writer, "/X Do " * times, NameObject("/XObject"), names)
        if endless:
            names[NameObject("/X")] = part
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/XObject"): DictionaryObject({NameObject("/X"): part})}
    )
    page[NameObject("/Contents")] = writer._add_object(_stream("/X Do"))
    return _written(writer)


def _part(writer: pypdf.PdfWriter, commands: str, kind: NameObject, named: DictionaryObject) -> IndirectObject:
    part = _stream(commands)
    part.update(
        {
            NameObject("/Type"): NameObject("/XObject"),
            NameObject("/Subtype"): NameObject("/Form"),
            NameObject("/BBox"): ArrayObject([NumberObject(n) for n in (0, 0, 595, 842)]),
            NameObject("/Resources"): DictionaryObject({kind: named}),
        }
    )
    return writer._add_object(part)


def _stream(text: str) -> DecodedStreamObject:
    stream = DecodedStreamObject()
    stream.set_data(text.encode("latin-1"))
    return stream


def _written(writer: pypdf.PdfWriter) -> bytes:
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()
