"""Headers and footers are recognised by their place and their numbers; text is never taken for one."""

import pytest

from dream.documents.file_types import Reading
from dream.documents.repeated_lines import without_repeated_lines

BODY = "First line {0}.\nThe middle of page {0} says this.\nLast line of {0}."


def reading(pages: list[str]) -> Reading:
    return Reading(tuple(enumerate((f"{page}\n" for page in pages), start=1)), len(pages))


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        ("HANDBOOK v3.1\n{body}\nPage {n} of 6", "{body}"),
        ("HANDBOOK\nPage {n}\n{body}", "{body}"),
        ("{body}\nHarlow Works 2024\n{n_later}", "{body}"),
        ("Section {n}.1: valve V{n}00 opens\n{body}\nvalve V{n}11 closes", None),
        ("Pump | Flow\n{body}", None),
        ("{body}", None),
    ],
    ids=["header and footer", "both on top", "number only", "text with numbers", "head of a table", "none"],
)
def test_what_is_left_of_pages(page, kept):
    words = "alpha beta gamma delta epsilon zeta".split()
    bodies = [BODY.format(word) for word in words]
    pages = [page.format(body=body, n=n, n_later=n + 12) for n, body in enumerate(bodies, start=1)]
    left = without_repeated_lines(reading(pages))
    expected = pages if kept is None else bodies
    assert [text for _, text in left.pages] == [f"{text}\n" for text in expected]
    assert bool(left.left_out) == (kept is not None)


def test_the_report_shows_what_was_left_out():
    pages = [f"HANDBOOK\n{BODY.format(word)}\nPage {n}" for n, word in enumerate("abcd", start=7)]
    assert without_repeated_lines(reading(pages)).left_out == ("headers and footers ('HANDBOOK', 'Page 7')",)


def test_headers_of_left_and_right_pages():
    pages = [f"{'HANDBOOK' if n % 2 else 'Harlow Works'}\n{BODY.format(word)}" for n, word in enumerate("abcdef")]
    left = without_repeated_lines(reading(pages))
    assert [text for _, text in left.pages] == [f"{BODY.format(word)}\n" for word in "abcdef"]


@pytest.mark.parametrize("pages", [["Same.\nAnother.\nText."] * 2, ["One line."] * 9, ["One line.\nTwo."] * 9])
def test_few_or_short_pages_stay_whole(pages):
    assert without_repeated_lines(reading(pages)) == reading(pages)
