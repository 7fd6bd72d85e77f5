"""Token counts with one tokenizer for all models, so that trials can be compared."""

from functools import lru_cache
from typing import TYPE_CHECKING

from dream.runtime.libraries import prepare_libraries

if TYPE_CHECKING:
    from tiktoken import Encoding

ENCODING = "cl100k_base"


@lru_cache(maxsize=4096)
def count_tokens(text: str) -> int:
    """The number of cl100k_base tokens in a text, whatever the model.

    A model's own tokenizer may give other counts. `llama_index.core.set_global_tokenizer` has no influence.

    Example:
        >>> count_tokens("hello world")
        2
    """
    return len(tokenize(text))


def tokenize(text: str) -> list[int]:
    """The cl100k_base tokens of a text; special tokens such as `<|endoftext|>` count as one token each."""
    return _encoding().encode(text, allowed_special="all")


def first_tokens(text: str, most: int) -> str:
    """The beginning of a text, with at most `most` tokens.

    Example:
        >>> first_tokens("hello wide world", 2)
        'hello wide'
    """
    tokens = tokenize(text)
    return text if len(tokens) <= most else _encoding().decode(tokens[:most], errors="ignore")


@lru_cache(maxsize=1)
def _encoding() -> "Encoding":
    prepare_libraries()  # names the folder of LlamaIndex that has the vocabulary, so that nothing is downloaded
    import tiktoken

    return tiktoken.get_encoding(ENCODING)
