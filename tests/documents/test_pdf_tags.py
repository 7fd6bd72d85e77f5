"""Headings that the structure tags of a PDF name, whatever they look like."""

from dream.documents.file_types import ReadingOptions
from dream.documents.readers import read_file

TEXT = [("P", f"The pump station takes its water from the river at weir {i}.") for i in "ABC"]


def headings(content: bytes) -> list[tuple[int, str]]:
    reading = read_file("a.pdf", content, ReadingOptions("keep"))
    texts = dict(reading.pages)
    return [(heading.level, texts[heading.page][heading.start : heading.end]) for heading in reading.headings]


def tagged(*elements: tuple[str, str]) -> bytes:
    """A PDF of lines of one size, each a structure element of a type of its own."""
    lines = "".join(
        f"/{kind} <</MCID {i}>> BDC BT /F 10 Tf 50 {800 - 15 * i} Td ({text}) Tj ET EMC\n"
        for i, (kind, text) in enumerate(elements)
    )
    first = 7
    numbers = range(first, first + len(elements))
    objects = [
        "<</Type /Catalog /Pages 2 0 R /MarkInfo <</Marked true>> /StructTreeRoot 5 0 R>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /StructParents 0"
        " /Resources <</Font <</F <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>>>>>>>",
        f"<</Length {len(lines)}>>\nstream\n{lines}\nendstream",
        "<</Type /StructTreeRoot /K 6 0 R /RoleMap <</Chapter /H1>> /ParentTree <</Nums [0 ["
        + " ".join(f"{number} 0 R" for number in numbers)
        + "]]>>>>",
        f"<</Type /StructElem /S /Document /P 5 0 R /K [{' '.join(f'{number} 0 R' for number in numbers)}]>>",
        *(f"<</Type /StructElem /S /{kind} /P 6 0 R /Pg 3 0 R /K {i}>>" for i, (kind, _) in enumerate(elements)),
    ]
    body = "".join(f"{number} 0 obj\n{content}\nendobj\n" for number, content in enumerate(objects, start=1))
    return f"%PDF-1.7\n{body}trailer <</Root 1 0 R /Size {len(objects) + 1}>>\n%%EOF\n".encode()


def test_tags_name_headings_and_their_levels():
    content = tagged(
        ("Chapter", "Pumps"), *TEXT, ("H3", "A rotor turns."), *TEXT, ("H2", "Valves"), *TEXT, ("Note", "End")
    )
    assert headings(content) == [(1, "Pumps"), (3, "A rotor turns."), (2, "Valves")]


def test_levels_that_no_heading_has_are_skipped_and_a_number_alone_is_no_heading():
    assert headings(tagged(("H2", "Pumps"), *TEXT, ("H1", "17"), *TEXT, ("H6", "Valves"))) == [
        (1, "Pumps"),
        (2, "Valves"),
    ]


def test_a_tree_without_an_end_hides_nothing():
    content = tagged(("H1", "Pumps"), *TEXT).replace(b"/P 5 0 R /K [7 0 R", b"/P 5 0 R /K [6 0 R")
    assert "takes its water" in read_file("a.pdf", content).pages[0][1]
