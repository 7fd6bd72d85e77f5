"""Golden questions: ids and digests that stay, and sources that no name can confuse."""

import json
from dataclasses import replace

import pytest

from dream.records import (
    Answer,
    EvidenceSpan,
    GoldenDataset,
    GoldenQuestion,
    Passage,
    Source,
    digest,
    page_label,
    pages_of,
    source_columns,
    sources_of,
)


def test_a_question_keeps_its_id_and_a_dataset_its_digest():
    assert GoldenQuestion.make_id("q", "a") == GoldenQuestion.make_id("q", "a")
    assert len({GoldenQuestion.make_id(*pair) for pair in (("q", "a"), ("q", "b"), ("qa", ""), ("", "qa"))}) == 4
    questions = (GoldenQuestion("1", "q", "a"), GoldenQuestion("2", "r", "b"))
    dataset = GoldenDataset(questions, "somewhere")
    assert dataset.digest == GoldenDataset(questions, "elsewhere").digest
    assert dataset.digest != GoldenDataset(questions[::-1]).digest
    assert (
        dataset.digest != GoldenDataset((replace(questions[0], sources=(Source("a.pdf", "2"),)), questions[1])).digest
    )


def test_digest_keeps_what_is_different_apart():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert len({digest(value) for value in (1, "1", [1], {"1": 1}, None, "µ", "m", 1.5)}) == 8


@pytest.mark.parametrize(
    ("sources", "columns"),
    [
        ((), ("", "")),
        ((Source("a.pdf", "3"),), ("a.pdf", "3")),
        ((Source("a.pdf", "3"), Source("b.pdf", "7")), ("a.pdf; b.pdf", "3; 7")),
        ((Source("a.pdf", "3"), Source("notes.md")), ("a.pdf; notes.md", "3; ")),
        ((Source("notes.md"), Source("more.md")), ("notes.md; more.md", "")),
        ((Source("notes.md"), Source("a.pdf", "3")), ("notes.md; a.pdf", "; 3")),
        ((Source("a; b.pdf", "3"),), ('["a; b.pdf"]', "3")),
        ((Source("a; b.pdf", "ii; 3"), Source("c.pdf", "1")), ('["a; b.pdf", "c.pdf"]', '["ii; 3", "1"]')),
        ((Source('["a.pdf"]', "1"),), ('["[\\"a.pdf\\"]"]', "1")),
        ((Source("[draft] a.pdf", "1"),), ("[draft] a.pdf", "1")),
        ((Source("ύψος; 高さ.pdf", "1"),), ('["ύψος; 高さ.pdf"]', "1")),
        ((Source("", "7"),), ('[""]', "7")),
    ],
)
def test_sources_stay_apart_in_two_columns_whatever_they_are_called(sources, columns):
    assert source_columns(sources) == columns
    assert sources_of(*columns) == sources


@pytest.mark.parametrize(
    ("columns", "sources"),
    [
        (("a.pdf; b.pdf", "3"), (Source("a.pdf", "3"), Source("b.pdf"))),
        (("a.pdf", "3; 4"), (Source("a.pdf", "3"), Source("", "4"))),
        (("[broken", ""), (Source("[broken"),)),
        (("[1, 2]", ""), (Source("[1, 2]"),)),  # a list, but not one of names
    ],
)
def test_columns_that_people_wrote_are_read_as_far_as_they_go(columns, sources):
    assert sources_of(*columns) == sources


def test_a_question_comes_back_from_its_row_and_a_short_row_is_enough():
    whole = GoldenQuestion("7", "How deep?", "17 m", ("It is deep.",), (Source("a; b.pdf", "3"),), "single_hop")
    assert GoldenQuestion.from_row(whole.to_row()) == whole
    assert "evidence_spans" not in whole.to_row()  # so that digests of datasets without it stay as they are
    located = replace(whole, evidence=(EvidenceSpan("a; b.pdf", "a digest", 20, 37, ("3", "4")),))
    assert GoldenQuestion.from_row(json.loads(json.dumps(located.to_row()))) == located
    short = GoldenQuestion.from_row({"question": "How deep?", "ground_truth": "17 m", "reference_contexts": None})
    assert short == GoldenQuestion(GoldenQuestion.make_id("How deep?", "17 m"), "How deep?", "17 m")


def test_a_question_belongs_to_the_document_that_its_first_source_names():
    assert GoldenQuestion("1", "q", "a", sources=(Source("b.pdf", "7"), Source("a.pdf"))).document == "b.pdf"
    assert GoldenQuestion("1", "q", "a").document == ""


@pytest.mark.parametrize(
    ("pages", "label"),
    [
        (["3"], "3"),
        (["3", "4", "5"], "3-5"),
        (["3", "5"], "3, 5"),
        (["1", "2", "4", "7", "8"], "1-2, 4, 7-8"),
        (["iv", "v"], "iv, v"),
        (["A-3", "4"], "A-3, 4"),
        ([], ""),
    ],
)
def test_a_label_names_each_page(pages, label):
    assert page_label(pages) == label
    assert pages_of(label) == tuple(pages)


@pytest.mark.parametrize(
    ("label", "pages"),
    [("3–5", ("3", "4", "5")), ("5-3", ("5-3",)), ("1-99999999999", ("1-99999999999",)), (" 3 ,, 3", ("3",))],
)
def test_labels_that_people_wrote_are_read_as_far_as_they_go(label, pages):
    assert pages_of(label) == pages


def test_passages_and_evidence_are_compared_page_by_page():
    passage = Passage("The weir was built in May.", "mill.pdf", "3-5")
    assert passage.sources == {Source("mill.pdf", "3"), Source("mill.pdf", "4"), Source("mill.pdf", "5")}
    assert passage.sources & set(Source("mill.pdf", "5-6").pages) == {Source("mill.pdf", "5")}
    assert passage.location == "mill.pdf#page=3-5"
    assert Passage("Rye.", "notes.md").sources == {Source("notes.md")}
    assert str(Source("mill.pdf", "3, 5")) == "mill.pdf, pages 3, 5"
    old = {"text": "Rye.", "file_name": "mill.pdf", "page_label": "3", "score": None, "tokens": 2}
    answer = Answer.from_json({"question_id": "q", "text": "Rye.", "contexts": [old]})
    assert answer.contexts == (Passage("Rye.", "mill.pdf", "3", None, 2),)
