"""Problems on a page, however many rows have them."""

from dream.golden.sheet import SHOWN, Problems, bounded, names, numbered


def test_a_thousand_equal_problems_are_a_line():
    assert Problems(found=[(number, "no question") for number in range(5, 1005)]).lines() == [
        "rows 5-1004: no question"
    ]


def test_problems_stay_in_the_order_of_rows_where_they_are_few():
    found = [(3, "no question"), (4, "no truth"), (9, "no question")]
    assert Problems("line", found).lines() == ["line 3: no question", "line 4: no truth", "line 9: no question"]


def test_many_scattered_problems_are_told_by_kind():
    found = [(number, "no question" if number % 4 else "no truth") for number in range(2, 1000, 2)]
    assert Problems(found=found).lines() == [
        "rows 2, 6, 10, 14, 18 and 245 more: no question",
        "rows 4, 8, 12, 16, 20 and 244 more: no truth",
    ]


def test_never_more_than_a_page():
    lines = Problems(found=[(number, f"{number} fields") for number in range(1000)]).lines()
    assert len(lines) == SHOWN
    assert lines[-1] == f"and {1000 - SHOWN + 1} more"
    assert bounded(["a"] * SHOWN) == ["a"] * SHOWN


def test_numbers_and_names_in_few_words():
    assert numbered("row", [7]) == "row 7"
    assert names([]) == names([""]) == "none"
    assert len(names([f"column {i} " * 20 for i in range(300)])) < 2000
