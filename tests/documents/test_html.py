"""HTML pages: what a reader reads is kept with its structure, and nothing else."""

import pytest
from sample_files import text_of

from dream.documents.html import html_text

MAIN = "<main><h1>Pump A</h1><p>It delivers 42 l/s.</p></main>"
TEXT = "# Pump A\n\nIt delivers 42 l/s."


@pytest.mark.parametrize(
    "frame",
    [
        "<nav><ul><li>Products<li>About us</ul></nav>",
        "<header><a href='/'>Home</a></header>",
        "<footer>Imprint | Privacy</footer>",
        "<div role='navigation'>Menu</div>",
        "<div role=banner>Harlow</div>",
        "<aside>Read also</aside>",
        "<div class='cookie'>We use cookies. Accept all.</div>",
        "<div id='cookie-banner'><p>We use cookies.</p><button>Accept</button></div>",
        "<section class='gdpr-consent'>Consent</section>",
        "<ol class=breadcrumb><li>Home<li>Pumps</ol>",
        "<a class='skip-link' href='#main'>Skip to content</a>",
        "<div class='nav'><ul><li><a href=x>Home</a><li><a href=y>Pumps</a></ul></div>",
        "<ul class='main-menu'><li><a href=x>Home</a></ul>",
        "<div id='sidebar'><a href=x>Other pumps</a></div>",
        "<div class='page-footer'>(c) 2024</div>",
        "<a class='sr-only' href='#x'>opens in a new tab</a>",
        "<div hidden>Unseen</div>",
        "<div style='color: red; DISPLAY : none'>Unseen</div>",
        "<div style='visibility:hidden'>Unseen</div>",
        "<span aria-hidden='true'>★</span>",
        "<script>var a = 1</script><style>p {}</style><noscript>Enable</noscript><template>t</template><!-- note -->",
        "<select><option>Angola</select><textarea>text</textarea><button>Send</button><input value=x>",
        "<iframe src=x>fallback</iframe><object>fallback</object>",
        "<svg><title>icon</title><path d='M0'/></svg>",
        "<dialog>Closed</dialog>",
    ],
)
def test_what_stands_around_a_page_is_left_out(frame):
    assert html_text(f"<html><body>{frame}{MAIN}{frame}</body></html>") == TEXT


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h2>Two</h2><h3> Three </h3>text", "## Two\n\n### Three\n\ntext"),
        ("<p>a</p><p>b<br>c</p><div>d</div><div>e</div>", "a\n\nb\nc\n\nd\ne"),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", "- a\n- b\n  - c\n- d"),
        ("<ol start=3><li>a<li><p>b</p><p>b2</p></ol>", "3. a\n\n4. b\n\n   b2"),
        ("<table><tr><th>Pump<th>Flow<tr><td>A<td>42<tr><td>B<td></table>", "Pump | Flow\nA | 42\nB |"),
        ("<table><tr><td rowspan=2>A<td>1<tr><td>2<tr><td colspan=2>all</table>", "A | 1\nA | 2\nall |"),
        ("<table><caption>Flows</caption><tbody><tr><td><p>A</p><p>B</p><td>1</table>", "Flows\nA B | 1"),
        ("<table><tr><td><h2>Layout</h2><p>Text</p></td></tr></table>", "## Layout\n\nText"),
        ("<table><tr><td><table><tr><td>in<td>1</table></td></tr></table>", "in | 1"),
        (
            "<table><tr><td>A<td>B<td>C<tr><td>1<td>2<td><table><tr><td>in<td>side</table></table>",
            "A | B | C\n1 | 2 | in | side",
        ),
        ("H<sub>2</sub>O, 10<sup>3</sup> Pa, 2<sup>nd</sup>", "H2O, 10³ Pa, 2nd"),
        ("<pre>x\n    y</pre>after", "x\n    y\nafter"),
        ("soft&shy;hyphen &lt;tag&gt; &amp; <a href=x>link</a>", "softhyphen <tag> & link"),
        (
            "<p>Before <img src='data:image/png;base64,AAAA' alt='Cross section'> after</p>",
            "Before Cross section after",
        ),
        ("<svg><text>label</text></svg>", "label"),
        ("<dl><dt>Head</dt><dd>30 m</dd></dl>", "Head\n30 m"),
        ("<details><summary>More</summary>The answer.</details>", "More\nThe answer."),
    ],
)
def test_structure_survives(html, text):
    assert html_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<header><h1>Title</h1></header><p>Text</p>", "# Title\n\nText"),
        (
            "<article><header>By A. Smith</header><p>Text</p><footer>Notes</footer></article>",
            "By A. Smith\n\nText\n\nNotes",
        ),
        ("<div class='cookies'><h1>Cookies of the house</h1><p>Flour and butter</p></div>", None),
        (f"<div id='cookie-policy'>{'We set a cookie for the session. ' * 80}</div>", None),
        (f"<nav>{'All the text of this page is in the wrong place. ' * 20}</nav>", None),
        ("<header>All that there is.</header>" * 20, None),
        ("<div class='header'><p>A pump delivers water.</p></div><p>More.</p>", "A pump delivers water.\n\nMore."),
        (f"<div class='footer'>{'The notes of this page. ' * 50}</div><p>Text</p>", None),
        ("<p>short</p>", "short"),
        ("plain words", "plain words"),
        ("<p>broken <b>markup", "broken markup"),
        ("<p>a\0b</p><p>c</p>", "a\ufffdb\n\nc"),
    ],
)
def test_the_text_itself_is_never_lost(html, text):
    read = html_text(html)
    if text is None:
        words = " ".join(html.split("'")[-1].replace("</", "<").split(">")[1].split("<")[0].split()[:3])
        assert words in read
    else:
        assert read == text


def test_a_page_that_is_nested_deeper_than_any():
    page = f"{'<div>' * 10_000}the <b>innermost</b> text{'</div>' * 10_000}"
    assert html_text(f"<title>Deep</title><script>x</script>{page}") == "Deep\nthe innermost text"


def test_the_title_comes_first_unless_it_is_the_heading():
    assert text_of("a.html", b"<title>Pumps</title><h1>Pumps</h1>x") == "# Pumps\n\nx"
    assert text_of("a.html", b"<title>All pumps</title><h1>Pumps</h1>x") == "All pumps\n\n# Pumps\n\nx"


def test_a_page_of_another_encoding():
    page = '<meta charset="iso-8859-1"><p>It’s “quoted” – 5 €'
    assert text_of("a.html", page.encode("cp1252")) == "It’s “quoted” – 5 €"
    assert text_of("a.html", page.encode()) == "It’s “quoted” – 5 €"


def test_parts_of_a_table_are_in_the_order_in_which_they_are_shown():
    rows = [f"<{part}><tr><td>{part}</td><td>1</td></tr></{part}>" for part in ("tfoot", "tbody", "thead")]
    assert html_text(f"<table>{''.join(rows)}</table>") == "thead | 1\ntbody | 1\ntfoot | 1"


def test_a_cell_over_all_rows_that_follow():
    rows = "".join(f"<tr><td>{i}</td></tr>" for i in (2, 3))
    assert html_text(f"<table><tr><td rowspan=0>A</td><td>1</td></tr>{rows}</table>") == "A | 1\nA | 2\nA | 3"


@pytest.mark.parametrize("name", ["CybotCookiebotDialog", "cc-window", "didomi-popup", "cookieNotice", "qc-cmp2-ui"])
def test_banners_of_programs_for_consent(name):
    text = html_text(f"<div class='{name}'>We value your privacy</div><p>{'A pump takes water. ' * 20}</p>")
    assert "privacy" not in text


def test_a_part_of_an_article_about_cookies_is_text():
    assert "flour" in html_text(
        f"<article><p>{'Bread. ' * 99}</p><section id=cookies><h2>Cookies</h2><p>Mix flour.</p></section></article>"
    )


@pytest.mark.parametrize("style", ["font-size:0", "position:absolute; left:-9999px", "text-indent: -9999px"])
def test_what_is_placed_out_of_sight(style):
    assert html_text(f"<p style='{style}'>Secret</p><p>Pumps</p>") == "Pumps"
    assert html_text("<p style='font-size:0.9em; left:-10px'>Shown</p>") == "Shown"
