"""Text from PDFs, words and support: the rules by example."""

import doctest

import pytest

from dream.offline import grammar, phrasing, questions, words
from dream.offline.judge import statements
from dream.offline.support import support
from dream.offline.text import analyse, analyse_sentence, blocks, split_sentences
from dream.offline.words import number, numbers, tokens


@pytest.mark.parametrize("module", [words, grammar, questions, phrasing])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_pdf_text_becomes_sentences():
    text = (
        "page_label: 3\nfile_path: /x.pdf\n\nA Report\nResults\nThe company in-\ncreased its revenue by 12.5 % in\n"
        "2023. Dr. Smith, e.g., did not agree.\nPage 3 of 10\n• First item\n• Second item"
    )
    assert [kind for kind, _ in blocks(text)] == ["heading", "heading", "text", "text", "text"]
    found = analyse(text)
    assert [sentence.text for sentence in found] == [
        "The company increased its revenue by 12.5 % in 2023.",
        "Dr. Smith, e.g., did not agree.",
        "First item",
        "Second item",
    ]
    assert found[0].heading == "Results"
    assert found[0].numbers == {"12.5", "2023"}


def test_abbreviations_do_not_end_sentences():
    assert len(split_sentences("See Fig. 3 by J. Doe et al. (2020) vs. others. It is new. No. 5 is old.")) == 3


def test_numbers_have_one_spelling():
    assert numbers(tokens("1,200 men, 3.50 euros, twelve cats and 1.2 million birds")) == {
        "1200",
        "3.5",
        "12",
        "1200000",
    }
    assert number("v2") is None


@pytest.mark.parametrize(
    ("statement", "passage", "holds"),
    [
        ("The firm purchased 12 cars.", "In May the company bought twelve vehicles.", True),
        ("The firm purchased 13 cars.", "In May the company bought twelve vehicles.", False),
        ("The key is not required.", "No key is required.", True),
        ("A key is required.", "No key is required.", False),
        ("The price increased in May.", "The price decreased in May.", False),
        ("The pump is old. ", "The pump was built in 1908. It is old.", True),
        ("The pump is so.", "The pump is old.", True),
        ("Yes.", "The pump is old.", False),
        ("The pump is made of copper and zinc.", "The pump is old.", False),
    ],
)
def test_support(statement, passage, holds):
    assert support(analyse_sentence(statement), analyse(passage)).holds is holds


def test_statements_stand_alone():
    text = (
        "According to the text, the park opened in 2018; it has 21,500 panels. It feeds the town, and the sheep "
        "graze there."
    )
    assert statements(text) == [
        "The park opened in 2018.",
        "The park has 21,500 panels.",
        "The park feeds the town.",
        "The sheep graze there.",
    ]
