"""Tokens in many scripts."""

import pytest

from dream.evaluation.normalised_text import answer_tokens, tokens_of


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The U.S. plan — “well-known”, isn’t it?", ["the", "us", "plan", "wellknown", "isnt", "it"]),
        ("Straße ＡＢＣ １２", ["strasse", "abc", "12"]),
        ("東京タワー、2024年", ["東", "京", "タ", "ワ", "ー", "2024", "年"]),
        ("ABC東京DEF", ["abc", "東", "京", "def"]),
        ("서울은 크다.", ["서울은", "크다"]),
        ("हिन्दी में है।", ["हिन्दी", "में", "है"]),
        ("مرحبا، بالعالم؟", ["مرحبا", "بالعالم"]),
        ("ดิน ที่", ["ดิ", "น", "ที่"]),
        ("e\u0301té \u00e9t\u00e9", ["été", "été"]),
        ("1,000.5 %", ["10005"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("", []),
        ("?!…", []),
    ],
)
def test_tokens(text: str, tokens: list[str]):
    assert tokens_of(text) == tokens


def test_articles_are_left_out_unless_nothing_else_is_there():
    assert answer_tokens("The Eiffel Tower, a landmark") == ["eiffel", "tower", "landmark"]
    assert answer_tokens("A") == ["a"]
