"""Which passages cover which evidence, by what is known of both; the chunking does not matter."""

import pytest

from dream.errors import DataError
from dream.evaluation.evidence import Place, coverage, covers, text_overlap
from dream.records import Passage

WELL = "The ice well is 17 metres deep and was dug in 1931 by the men of the salt mill."


def passage(start: int, end: int, digest: str = "d") -> Passage:
    return Passage("some text", "a.pdf", "1", file_digest=digest, start=start, end=end)


@pytest.mark.parametrize(
    ("start", "end", "is_covered"),
    [
        (100, 200, True),
        (0, 1000, True),  # a large chunk around it
        (120, 140, True),  # a sentence in it
        (150, 300, True),  # half of the evidence, the shorter of the two
        (151, 300, False),
        (0, 100, False),  # it ends where the evidence begins
        (60, 120, False),  # a third of the passage
        (190, 200, True),
    ],
)
def test_characters_of_the_same_document_decide(start: int, end: int, is_covered: bool):
    place = Place("a.pdf", "d", 100, 200, ("1",), "some text")
    assert covers(passage(start, end), place) is is_covered
    assert not covers(passage(start, end, "another file of the same name"), place)


def test_text_decides_where_characters_are_unknown():
    place = Place("a.pdf", "d", 100, 200, ("1",), WELL)
    assert covers(Passage(f"Before. {WELL} After.", "a.pdf"), place)
    assert covers(Passage("THE ICE WELL\nis 17 metres   deep", ""), place)
    assert not covers(Passage(WELL, "b.pdf"), place)
    assert not covers(Passage("The ice cream is sold by the men of the north mast.", "a.pdf"), place)


@pytest.mark.parametrize(
    ("text", "is_covered"),
    [
        ("氷の井戸の深さは十七メートルである。", True),
        ("塩の工場は一九三一年に再建された。", False),
        ("港のオルガン", False),
    ],
)
def test_text_without_spaces(text: str, is_covered: bool):
    assert covers(Passage(text), Place(text="氷の井戸の深さは 十七メートルである")) is is_covered


def test_pages_and_files():
    assert covers(Passage("x", "a.pdf", "3"), Place("a.pdf", pages=("3", "4")))
    assert not covers(Passage("x", "a.pdf", "5"), Place("a.pdf", pages=("3", "4")))
    assert not covers(Passage("x", "b.pdf", "3"), Place("a.pdf", pages=("3",)))
    assert covers(Passage("x", "a.pdf", "5"), Place("a.pdf"))
    assert not covers(Passage("x", "b.pdf", "5"), Place("a.pdf"))


@pytest.mark.parametrize(
    ("retrieved", "place", "reason"),
    [
        (Passage("x"), Place("a.pdf", pages=("3",)), "names no file, so it cannot be compared with a.pdf, page 3"),
        (Passage("x", "a.pdf"), Place("a.pdf", pages=("3",)), "a passage of a.pdf names no page"),
    ],
)
def test_what_cannot_be_compared_is_an_error_and_not_a_miss(retrieved: Passage, place: Place, reason: str):
    with pytest.raises(DataError, match=reason):
        covers(retrieved, place)


def test_one_passage_covers_several_places_and_several_passages_cover_one():
    places = [Place("a.pdf", "d", 100, 200), Place("a.pdf", "d", 250, 300), Place("a.pdf", "d", 900, 990)]
    found = coverage([passage(0, 90), passage(90, 310), passage(140, 200)], places)
    assert [each.ranks for each in found] == [(2, 3), (2,), ()]


def test_overlap_is_the_share_of_the_shorter_text():
    assert text_overlap("a b c d e", "x a b c y") == pytest.approx(1 / 3)
    assert text_overlap("one two", "so one two three") == 1
    assert text_overlap("", "so one two three") == 0
