"""Counting tokens, the same way for every model, so that trials can be compared."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def count_tokens(text: str) -> int:
    """Tokens of a text by tiktoken's cl100k_base, whatever the model: one ruler for all trials."""
    from llama_index.core.utils import get_tokenizer

    return len(get_tokenizer()(text))
