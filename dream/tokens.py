"""Counting tokens, the same way for every model, so that trials can be compared."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def count_tokens(text: str) -> int:
    """The number of tokens of a text by tiktoken's cl100k_base, the same tokenizer for every model and trial."""
    from llama_index.core.utils import get_tokenizer

    return len(get_tokenizer()(text))
