"""Lines of a page as text: table rows, columns of running text, lines with a gap."""

import pytest

from dream.documents.pdf_layout import Line, arranged

ROWS = [Line(("Pump", "Flow", "Head"), (80, 130)), Line(("A", "42 l/s", "30 m"), (60, 135))]
LEFT = [
    "The pump station was built",
    "in the year 1987 and takes",
    "its water from the river at",
    "the old weir of Harlow town.",
]
RIGHT = [
    "Every six months a crew",
    "looks at the main rotor and",
    "writes down what it has",
    "found in the station's book.",
]


def columns(left: list[str], right: list[str]) -> list[Line]:
    return [Line((a, b), (280 - 3 * i,)) for i, (a, b) in enumerate(zip(left, right, strict=True))]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], ""),
        ([Line((" ",))], ""),
        ([Line(("One line.",)), Line(("And another. ",))], "One line.\nAnd another.\n"),
        (ROWS, "Pump | Flow | Head\nA | 42 l/s | 30 m\n"),
        (
            [Line(("Table 1.",)), *ROWS, Line(("The end.",))],
            "Table 1.\nPump | Flow | Head\nA | 42 l/s | 30 m\nThe end.\n",
        ),
        ([Line(("Handbook", "page 3"), (80,)), Line(("Text.",))], "Handbook page 3\nText.\n"),
        (columns(LEFT, RIGHT), "\n".join([*LEFT, *RIGHT, ""])),
        (columns(LEFT[:3], RIGHT[:3]), "".join(f"{a} | {b}\n" for a, b in zip(LEFT[:3], RIGHT[:3], strict=True))),
        (
            columns(["Opens", "Closes", "Stops", "Falls"], RIGHT),
            "".join(f"{a} | {b}\n" for a, b in zip(["Opens", "Closes", "Stops", "Falls"], RIGHT, strict=True)),
        ),
    ],
)
def test_lines_become_text(lines, text):
    assert arranged(lines) == text
