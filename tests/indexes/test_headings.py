"""The headings of a document: marked in the text, beside it, and none in code."""

from model_servers import pages

from dream.documents import merge_pages
from dream.indexes.headings import Heading, headings_of

MARKDOWN = "# Waterworks\n\nText.\n\n```sh\n# a comment\n```\n\n## Pumps ##\n#hash and # no heading\n####### too deep\n"


def test_marked_headings_without_those_in_code():
    (document,) = merge_pages(pages("a.md", MARKDOWN))
    assert headings_of(document) == [
        Heading(0, 1, "Waterworks"),
        Heading(MARKDOWN.index("## Pumps"), 2, "Pumps"),
    ]


def test_a_fence_that_does_not_close_hides_nothing():
    (document,) = merge_pages(pages("a.md", "```\n# Pumps\n"))
    assert [heading.words for heading in headings_of(document)] == ["Pumps"]


def test_headings_beside_the_text_of_pages_have_their_places_in_the_file():
    documents = pages("a.pdf", "The pumps\nand valves\nText.", "Staff\nText.")
    documents[0].metadata["headings"] = [[0, 20, 1]]
    documents[1].metadata["headings"] = [[0, 5, 2]]
    (whole,) = merge_pages(documents)
    assert headings_of(whole) == [
        Heading(0, 1, "The pumps and valves"),
        Heading(whole.text.index("Staff"), 2, "Staff"),
    ]
