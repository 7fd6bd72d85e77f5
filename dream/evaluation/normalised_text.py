"""Tokens of texts in any script, ignoring case, width, punctuation and spacing."""

import re
import unicodedata

# Scripts that are written without spaces between words, whose characters are tokens: Thai and Lao, Burmese, Khmer,
# kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{UNSPACED}]")
_BEFORE_OTHERS = re.compile(f"([{UNSPACED}])(?=[^{UNSPACED}\\s])")
_DASHES = frozenset("\u2012\u2013\u2014\u2015\u2e3a\u2e3b\u301c")
_ARTICLES = frozenset({"a", "an", "the"})


class _Table(dict[int, str | None]):
    """A table for `str.translate`, filled on demand."""

    def __missing__(self, code: int) -> str | None:
        self[code] = _translated(chr(code))
        return self[code]


def _translated(character: str) -> str | None:
    kind = unicodedata.category(character)
    if character in _DASHES or kind[0] == "Z" or character.isspace():
        return " "
    if kind[0] in "PSC":
        return None
    return f" {character}" if kind[0] != "M" and _CHARACTER.match(character) else character


_TABLE = _Table()


def tokens_of(text: str) -> list[str]:
    """The tokens of a text: words without punctuation and symbols, in lower case and in Unicode's form NFKC; in scripts
    without spaces between words each character, with its marks.

    Example:
        >>> tokens_of("The U.S. plan — “well-known”."), tokens_of("東京タワー、2024年")
        (['the', 'us', 'plan', 'wellknown'], ['東', '京', 'タ', 'ワ', 'ー', '2024', '年'])
    """
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_TABLE)
    return _BEFORE_OTHERS.sub(r"\1 ", folded).split()


def answer_tokens(text: str) -> list[str]:
    """`tokens_of` without English articles, as SQuAD compares answers; a text of articles alone keeps them.

    Example:
        >>> answer_tokens("The Eiffel Tower"), answer_tokens("A")
        (['eiffel', 'tower'], ['a'])
    """
    tokens = tokens_of(text)
    return [token for token in tokens if token not in _ARTICLES] or tokens
