"""Markdown: front matter and pictures in base64 are no text; all else stays."""

import pytest
from sample_files import text_of

from dream.documents.markdown import markdown_text

PICTURE = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAA" * 20


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("---\ntitle: Pumps\ntags: [a, b]\n---\n# Pumps\n", "# Pumps\n"),
        ("---\ntitle: 'All pumps'\n---\nText\n", "All pumps\n\nText\n"),
        ('+++\ntitle = "All pumps"\n+++\nText\n', "All pumps\n\nText\n"),
        ("---\ntags: []\n---\nText\n", "Text\n"),
        ("---\n---\nText\n", "Text\n"),
        ("Text\n---\nmore: text\n---\n", "Text\n---\nmore: text\n---\n"),
        ("---\n# a comment\ntags: []\n---\nText\n", "Text\n"),
        ("---\n\nText after a rule.\n\n---\n\nMore.\n",) * 2,
        ("---\nText after a rule.\n---\nMore.\n",) * 2,
        ("---\nno end: of it\n", "---\nno end: of it\n"),
        (f"![fig]({PICTURE}) after", "fig after"),
        (f"![fig]({PICTURE} 'a title') after", "fig after"),
        (f"see ![fig][1]\n\n[1]: {PICTURE}\n", "see ![fig][1]\n\n"),
        (f'<img alt="A pump" src="{PICTURE}"> after', "A pump after"),
        (f"url({PICTURE})", "url()"),
        ("![fig](picture.png) and data: of no picture", "![fig](picture.png) and data: of no picture"),
        ("a <!-- hidden\nnote --> b", "a b"),
        ("```\n<!-- code -->\nprint('---')\n```\n<!-- gone -->\nx", "```\n<!-- code -->\nprint('---')\n```\nx"),
        ("`<!-- code -->` stays", "`<!-- code -->` stays"),
        ("one <!-- without end\ntwo\n", "one <!-- without end\ntwo\n"),
        ("a <!-- b --> c <!-- d\n\n--> e <!-- f", "a c e <!-- f"),
        ("~~~\n```\n<!-- code -->\n~~~\n<!-- gone -->", "~~~\n```\n<!-- code -->\n~~~\n"),
    ],
)
def test_what_is_left_of_a_file(source, text):
    assert markdown_text(source) == text


def test_a_file_is_read_with_its_encoding():
    assert text_of("a.md", "# Größe\n".encode("utf-16")) == "# Größe\n"


def test_a_picture_whose_data_goes_over_several_lines():
    text = markdown_text(f"![A pump](data:image/png;base64,{'eXl5' * 20}\n{'eXl5' * 20})\n\nText")
    assert text == "A pump\n\nText"
