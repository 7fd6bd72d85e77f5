"""Names of columns elsewhere, and what cells hold."""

from typing import Any

import pytest

from dream.golden.columns import (
    fields_of,
    files_of,
    is_nothing,
    metadata_sources,
    page_of,
    text_of,
    texts_of,
    truths_of,
)


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (["QUESTION", " Ground Truth "], {"question": "QUESTION", "ground_truth": " Ground Truth "}),
        (
            ["question", "contexts", "ground_truth", "evolution_type", "metadata", "episode_done"],  # ragas 0.1, made
            {"question": "question", "ground_truth": "ground_truth", "reference_contexts": "contexts",
             "synthesizer": "evolution_type"},
        ),
        (
            ["question", "answer", "contexts", "ground_truths"],  # ragas 0.0, scored: what the system retrieved
            {"question": "question", "ground_truth": "ground_truths"},
        ),
        (
            ["user_input", "retrieved_contexts", "reference_contexts", "response", "reference", "synthesizer_name"],
            {"question": "user_input", "ground_truth": "reference", "reference_contexts": "reference_contexts",
             "synthesizer": "synthesizer_name"},
        ),
        (
            ["query", "query_by", "reference_contexts", "reference_answer", "reference_answer_by"],
            {"question": "query", "ground_truth": "reference_answer", "reference_contexts": "reference_contexts",
             },
        ),
        (["question", "user_input", "ground_truth"], {"question": "question", "ground_truth": "ground_truth"}),
        (
            ["Question", "GroundTruth", "File Name", "Page-Number"],
            {"question": "Question", "ground_truth": "GroundTruth", "source_file": "File Name",
             "source_page": "Page-Number"},
        ),
        (["question", "answer"], {"question": "question"}),
        (["", "Unnamed: 0"], {}),
    ],
)  # fmt: skip
def test_the_names_of_other_tools(columns: list[str], fields: dict[str, str]):
    assert fields_of(columns) == fields


@pytest.mark.parametrize(
    "value", ["", " ", "nan", "NaN", "None", "null", "NULL", "N/A", "n/a", "#N/A", "NA", "<NA>", None, [], float("nan")]
)
def test_what_programs_write_for_nothing_is_nothing(value: Any):
    assert is_nothing(value)
    assert text_of(value) == ""
    assert texts_of(value) == []


@pytest.mark.parametrize("value", ["0", "Nano", "Na", "None of them", "-", 0, False])
def test_what_is_a_text_is_not_nothing(value: Any):
    assert not is_nothing(value)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (["a", None, "b"], ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("['The head is 42 m.']", ["The head is 42 m."]),
        ("['it\\'s', \"two\\nlines\"]", ["it's", "two\nlines"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("[nan]", None),
        ([{"page_content": "a", "metadata": {}}, {"text": "b"}], ["a", "b"]),
        ([{"title": "a"}], None),
        ("[null]", []),
        ("[]", []),
        ("a text", None),
        ('{"a": 1}', None),
        ("[1, 2]", None),
        ("['a', len('b')]", None),
        ("['a'", None),
    ],
)
def test_lists_of_texts(value: Any, texts: list[str] | None):
    assert texts_of(value) == texts


@pytest.mark.parametrize(
    ("value", "truths"),
    [
        ("42 m", ["42 m"]),
        (["42 m", "42 metres", "42 m"], ["42 m", "42 metres"]),
        ('["42 m"]', ["42 m"]),
        ("['42 m', '42 metres']", ["42 m", "42 metres"]),
        ({"text": ["42 m"], "answer_start": [3]}, ["42 m"]),
        ([{"text": "42 m", "answer_start": 3}], ["42 m"]),
        ([], []),
        ("[sic] 42 m", ["[sic] 42 m"]),
        ("nan", [""]),
    ],
)
def test_correct_answers(value: Any, truths: list[str]):
    assert truths_of(value) == truths


@pytest.mark.parametrize(
    ("value", "page"),
    [("3.0", "3"), (3, "3"), (3.0, "3"), ("3; 7.0", "3; 7"), ("1.10", "1.10"), ("nan", ""), ([3, 4], '["3", "4"]')],
)
def test_pages(value: Any, page: str):
    assert page_of(value) == page


def test_files():
    assert files_of("['a.pdf', 'b.pdf']") == '["a.pdf", "b.pdf"]'
    assert files_of("a.pdf; b.pdf") == "a.pdf; b.pdf"
    assert files_of("a.pdf,b.docx | c.txt\nd.md") == "a.pdf; b.docx; c.txt; d.md"
    for one in ("a; b.pdf", "Minutes, final.pdf", "no. 1, 2.5.pdf", '["a; b.pdf"]', "a|b"):
        assert files_of(one) == one
    assert metadata_sources("[{'source': 'a.pdf'}, {'filename': 'b.pdf', 'page': 3}, {}]") == ["a.pdf", "b.pdf"]
    assert metadata_sources("nothing of this kind") == []
