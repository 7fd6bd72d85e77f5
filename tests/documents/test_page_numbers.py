"""Page numbers in the forms that people print are no text; last lines of lists and tables are."""

import pytest

from dream.documents.file_types import Reading
from dream.documents.page_numbers import numbered_pages
from dream.documents.repeated_lines import without_repeated_lines

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
BODY = "The first line of {0}.\nThe middle of page {0} says this.\nThe last line of {0}."
ROMAN = "i ii iii iv v vi vii viii ix x".split()


def left_of(pages: list[str]) -> list[str]:
    reading = Reading(tuple(enumerate((f"{page}\n" for page in pages), start=1)), len(pages))
    return [text.rstrip("\n") for _, text in without_repeated_lines(reading).pages]


@pytest.mark.parametrize(
    "form",
    [
        lambda n: ROMAN[n],
        lambda n: ROMAN[n].upper(),
        lambda n: f"- {ROMAN[n]} -",
        lambda n: f"Page {ROMAN[n]}",
        lambda n: ROMAN[n] if n < 4 else str(n - 3),
        lambda n: f"Page {n + 1} of 10",
        lambda n: f"Seite {n + 1} von 10",
        lambda n: f"– {n + 1} –",
        lambda n: f"第 {n + 1} 页",
        lambda n: f"{n + 1} ページ",
        lambda n: f"{n + 3} | Annual report 2024",
        lambda n: f"Annual report 2024 | {n + 3}",
        lambda n: f"{n + 3} Annual report" if n % 2 else f"Annual report {n + 3}",
        lambda n: f"{n + 3} | {'Letter to all' if n < 5 else 'Accounts'}",
        lambda n: "" if n in (0, 5) else f"{n + 1}",
        lambda n: f"{n + 1}" if n < 5 else f"{n - 4}",
    ],
    ids=[
        "roman", "capitals", "dashes", "page roman", "roman then arabic", "of", "von", "long dashes", "chinese",
        "japanese", "bar after", "bar before", "left and right", "chapters", "not on all", "two parts",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_top", [True, False])
def test_a_page_number_is_no_text(form, is_top):
    bodies = [BODY.format(word) for word in WORDS]
    lines = [form(n) for n in range(10)]
    pages = [
        "\n".join(filter(None, (line, body) if is_top else (body, line)))
        for body, line in zip(bodies, lines, strict=True)
    ]
    assert left_of(pages) == bodies


@pytest.mark.parametrize(
    "last",
    [
        lambda n: f"Total | {17 * n + 5}",
        lambda n: f"{n}. {WORDS[n]}",
        lambda n: str((7 * n + 2) % 10),
        lambda n: f"{2014 + n}" if n in (2, 3, 4) else WORDS[n],
        lambda n: f"Table {n + 1}" if n in (1, 2, 3) else WORDS[n],
        lambda n: f"{n + 1} {WORDS[n]} in numbers",
        lambda n: "ABCDEFGHIJ"[n],
        lambda n: f"{n + 1} | {WORDS[n]} | 4.5",
        lambda n: "12",
    ],
    ids=["sums", "list", "numbers", "years", "captions", "sections", "letters", "rows", "same"],
)
def test_text_that_ends_or_begins_with_a_number_stays(last):
    pages = [f"{BODY.format(word)}\n{last(n)}" for n, word in enumerate(WORDS)]
    expected = [BODY.format(word) for word in WORDS] if last(0) == "12" else pages
    assert left_of(pages) == expected


def test_few_roman_numbers_of_a_preface():
    assert numbered_pages({1: "cover", 2: "ii", 3: "iii", 5: "x", **dict.fromkeys(range(6, 40), "end")}, 40) == [2, 3]


def test_numbers_of_text_beside_page_numbers_stay():
    pages = [f"{BODY.format(word)}\nsum {n + 40}\n{n + 1}" for n, word in enumerate(WORDS)]
    assert left_of(pages) == [f"{BODY.format(word)}\nsum {n + 40}" for n, word in enumerate(WORDS)]
