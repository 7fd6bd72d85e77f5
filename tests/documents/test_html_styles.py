"""What style sheets hide is not read; what they show again, or hide on some screens only, is."""

import pytest

from dream.documents.html import html_text

PROSE = "<p>The pump station takes its water from the river at the old weir, where a crew looks at it.</p>"


def text(styles: str, body: str) -> str:
    return html_text(f"<html><head><style>{styles}</style></head><body>{body}{PROSE}</body></html>")


@pytest.mark.parametrize(
    ("styles", "body"),
    [
        (".ad{display:none}", "<div class='ad big'>Secret</div>"),
        ("/* x */ #x, .y { color: red; DISPLAY : none !important }", "<p id=x>Secret</p><p class=y>Secret</p>"),
        (".a .b{visibility:hidden}", "<div class=a><b class=b>Secret</b></div>"),
        ("@import 'a.css'; @media print{p{color:red}} .z{display:none}", "<span class=z>Secret</span>"),
    ],
)
def test_hidden(styles, body):
    assert "Secret" not in text(styles, body)
    assert "river" in text(styles, body)


@pytest.mark.parametrize(
    ("styles", "body"),
    [
        ("@media print{.a{display:none}}", "<p class=a>Shown</p>"),
        (".a:hover{display:none}", "<p class=a>Shown</p>"),
        (".js .a{display:none}", "<p class=a>Shown</p>"),
        (".a{display:none} .a.open{display:block}", "<p class='a open'>Shown</p>"),
        ("body{display:none}", "<p>Shown</p>"),
        (".a{display:none}", f"<main class=a><p>Shown</p>{PROSE}</main>"),
        ("p{display:none}", "".join(f"<p>Shown: pump {number} was looked at.</p>" for number in range(9))),
        (".[{display:none} ...{display:none}", "<p>Shown</p>"),
    ],
)
def test_shown(styles, body):
    assert "Shown" in text(styles, body)
