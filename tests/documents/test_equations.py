"""Equations of Word documents as readable text."""

import pytest
from lxml import etree
from sample_files import SPACES, docx_of, text_of

from dream.documents.equations import equation_text


def run(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


FRACTION = f"<m:f><m:fPr/><m:num>{run('a+b')}</m:num><m:den>{run('2')}</m:den></m:f>"
SQUARE = f"<m:sSup><m:e>{run('x')}</m:e><m:sup>{run('2')}</m:sup></m:sSup>"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (run("E=m") + SQUARE, "E=mx^2"),
        (FRACTION, "(a+b)/2"),
        (f"<m:sSub><m:e>{run('v')}</m:e><m:sub>{run('max')}</m:sub></m:sSub>", "v_max"),
        (f"<m:rad><m:deg/><m:e>{run('x+1')}</m:e></m:rad>", "√(x+1)"),
        (f"<m:rad><m:deg>{run('3')}</m:deg><m:e>{run('x')}</m:e></m:rad>", "3-th √(x)"),
        (f"<m:d><m:e>{run('x')}</m:e></m:d>", "(x)"),
        (f'<m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr><m:e>{run("x")}</m:e></m:d>', "[x]"),
        (
            f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{run("i=1")}</m:sub><m:sup>{run("n")}</m:sup>'
            f"<m:e>{run('i')}</m:e></m:nary>",
            "∑_(i=1)^n i",
        ),
        (f"<m:func><m:fName>{run('sin')}</m:fName><m:e>{run('x')}</m:e></m:func>", "sin x"),
        (f"<m:m><m:mr><m:e>{run('1')}</m:e><m:e>{run('2')}</m:e></m:mr></m:m>", "[1, 2]"),
        (f"<m:unknown>{run('y')}</m:unknown>", "y"),
    ],
)
def test_an_equation_is_a_line(xml, text):
    assert equation_text(etree.fromstring(f"<m:oMath {SPACES}>{xml}</m:oMath>")) == text


def test_equations_stand_where_they_are_in_the_text():
    inside = f"<w:p><w:r><w:t>The mean is</w:t></w:r><m:oMath>{FRACTION}</m:oMath><w:r><w:t>in all.</w:t></w:r></w:p>"
    alone = f"<w:p><m:oMathPara><m:oMath>{SQUARE}</m:oMath></m:oMathPara></w:p>"
    assert text_of("a.docx", docx_of(inside + alone)) == "The mean is (a+b)/2 in all.\n\nx^2"
