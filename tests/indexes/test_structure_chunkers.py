"""Chunkers by structure: every character is in a chunk and has its place; tables are cut between rows."""

import pytest
from model_servers import pages

from dream.indexes.chunkers import CHUNKERS, chunk
from dream.tokens import count_tokens

ROWS = [f"| Pump {number} | {number * 3} l/s |" for number in range(40)]
MARKDOWN = "\n".join(
    [
        "# Waterworks",
        "The works serve the town.",
        "",
        "## Pumps",
        *ROWS[:0],
        "| name | flow |",
        "| --- | --- |",
        *ROWS,
        "",
        "They run at night.",
        "## History",
        " ".join(f"In {1900 + year} the well was cleaned." for year in range(30)),
        "## Staff",
        "Nine people.",
        "## Address",
        "Quay 4.",
    ]
)
SIZES = {"chunk_size": 100, "chunk_overlap": 10}


def rows_of(chunker: str, text: str = MARKDOWN):
    return chunk(pages("a.md", text), chunker, SIZES).to_pylist()


@pytest.mark.parametrize("chunker", ["tokens", "headings", "tables"])
def test_all_text_is_in_chunks_of_the_size_with_their_places(chunker):
    covered = bytearray(len(MARKDOWN))
    for row in rows_of(chunker):
        assert count_tokens(row["text"]) <= SIZES["chunk_size"] + 5
        assert row["embedded"] and row["page_label"] == "1" and row["start"] >= 0
        assert MARKDOWN[row["start"] : row["end"]].strip() in row["text"]
        covered[row["start"] : row["end"]] = b"x" * (row["end"] - row["start"])
    assert "".join(c for c, seen in zip(MARKDOWN, covered, strict=True) if not seen).strip() == ""


def test_a_section_begins_with_its_heading_and_small_ones_go_together():
    texts = [row["text"] for row in rows_of("headings")]
    assert texts[0].startswith("# Waterworks") and "## Pumps" not in texts[0]
    assert sum(text.startswith("## ") for text in texts) == 3
    assert texts[-1] == "## Staff\nNine people.\n## Address\nQuay 4."


def test_headings_beside_the_text_are_those_of_a_file_with_pages():
    text = "Pumps\n" + "The pump runs at night. " * 20 + "\nValves\n" + "Valves are shut by hand. " * 20
    documents = pages("a.pdf", text, text)
    for document in documents:
        document.metadata["headings"] = [[0, 5, 1], [text.index("Valves"), text.index("Valves") + 6, 1]]
    rows = chunk(documents, "headings", {"chunk_size": 200, "chunk_overlap": 0}).to_pylist()
    assert [(row["text"].split()[0], row["page_label"]) for row in rows] == [
        ("Pumps", "1"),
        ("Valves", "1"),
        ("Pumps", "2"),
        ("Valves", "2"),
    ]


def test_comments_in_code_are_no_headings():
    text = "# Use\n" + "Words of a text. " * 20 + "\n```sh\n# a comment\nrun\n```\n" + "More words. " * 20
    assert [row["text"][:5] for row in rows_of("headings", text) if row["text"].startswith("#")] == ["# Use"]


def test_each_piece_of_a_table_has_the_header_and_whole_rows():
    pieces = [row["text"] for row in rows_of("tables") if "Pump " in row["text"]]
    assert len(pieces) > 2
    assert all(piece.startswith("| name | flow |\n| --- | --- |\n| Pump ") for piece in pieces)
    assert [line for piece in pieces for line in piece.splitlines() if "Pump " in line] == ROWS
    after = next(row["text"] for row in rows_of("tables") if "at night" in row["text"])
    assert "Pump" not in after


def test_rows_without_a_rule_and_a_single_row():
    table = "Name | Flow\nA | 1\nB | 2\n"
    assert [row["text"] for row in rows_of("tables", f"Text.\n{table}More text.")] == ["Text.", table, "More text."]
    assert [row["text"] for row in rows_of("tables", "Read a | b here.\nAnd on.")] == ["Read a | b here.\nAnd on."]


def test_a_row_that_is_larger_than_a_chunk_stays_whole():
    wide = "| " + " | ".join(f"cell {number}" for number in range(80)) + " |"
    texts = [row["text"] for row in rows_of("tables", f"| a |\n{wide}\n{wide}\n")]
    assert [text.count("cell 79") for text in texts] == [1, 1]


@pytest.mark.parametrize(
    "text", ["No heading and no table.", "#hashtag\n#!shebang", "표 | 값\n가 | 1\n", "# 标题\n内容。"]
)
@pytest.mark.parametrize("chunker", ["tokens", "headings", "tables"])
def test_plain_texts_of_any_language_are_one_chunk(chunker, text):
    assert [row["text"].strip() for row in rows_of(chunker, text)] == [text.strip()]


def test_documents_are_whole():
    whole = chunk([*pages("a.md", MARKDOWN, "Page two."), *pages("b.md", " ")], "whole_documents", {}).to_pylist()
    assert len(whole) == 1
    assert whole[0]["text"].endswith("Page two.") and whole[0]["page_label"] == "1-2"
    assert {"tokens", "headings", "tables", "whole_documents"} <= set(CHUNKERS)
