"""Rows of tables as lines."""

from dream.documents.rows import row_lines


def test_rows_without_text_are_left_out_and_cells_are_one_line_each():
    assert list(row_lines([["a\n b", "c"], [" ", ""], ["", "d"]])) == ["a b | c", "| d".rjust(4)]
