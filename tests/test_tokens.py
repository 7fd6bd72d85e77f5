"""Tokens are counted with cl100k_base."""

import pytest

from dream.tokens import count_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("tokenization", 2),  # token|ization
        ("0123456789", 4),  # digits in threes, which is cl100k_base's own rule
        ("antidisestablishmentarianism", 6),
    ],
)
def test_the_number_is_that_of_cl100k_base(text: str, tokens: int):
    assert count_tokens(text) == tokens
