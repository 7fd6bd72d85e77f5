"""Tokens are counted with cl100k_base."""

import llama_index.core
import pytest
from llama_index.core import Document

from dream.indexes.chunkers import CHUNKERS
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


@pytest.mark.parametrize(
    ("chunker", "parameters"),
    [
        ("overlapping_chunks", {"chunk_size": 64, "chunk_overlap": 8}),
        ("sentences", {}),
        ("hierarchy", {"chunk_sizes": [128, 32]}),
    ],
)
def test_a_users_global_tokenizer_changes_neither_counts_nor_chunks(monkeypatch, chunker: str, parameters: dict):
    document = Document(text=" ".join(f"Well number {n} in the northern field is {n} m deep." for n in range(200)))
    chunks = [node.get_content() for node in CHUNKERS[chunker]([document], **parameters)[0]]
    assert len(chunks) > 1
    monkeypatch.setattr(llama_index.core, "global_tokenizer", list)  # a token for each character
    count_tokens.cache_clear()
    assert count_tokens("hello world") == 2
    assert [node.get_content() for node in CHUNKERS[chunker]([document], **parameters)[0]] == chunks
