"""Splits text of any language into sentences of bounded length, without losing a character."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import regex

from dream.tokens import count_tokens, tokenize

# Shorter sentences are joined with the next one, longer ones are cut. (With the default window of three sentences on
# either side, 7 * 128 tokens are within the default budget for the context.)
LEAST_WORDS = 5
MOST_TOKENS = 128
# the minimum length of a truncated text, as a share of the limit, if possible
FULL = 0.75
BLOCK_CHARACTERS = 20_000
# longer texts are halved before their tokens are counted, as `MOST_TOKENS` tokens rarely have this many characters
_CHARACTERS_A_TOKEN = 20

# scripts without spaces: two or four characters count as a word
_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]{2}|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{4}|[\p{L}\p{M}]{2,}")
# What ends a sentence beside the . ! ? of the Latin alphabet that LlamaIndex's tokenizer knows, by the Unicode
# Standard (UAX 29): with closing quotes and brackets, and the white space that follows.
_END = regex.compile(
    r"""(?: [\p{Sentence_Break=STerm}．--[!?]]+ [\p{Sentence_Break=STerm}．.]*
          | [!?]+ (?=[\p{Han}\p{Hiragana}\p{Katakana}])
          | (?<=[\p{Han}\p{Hiragana}\p{Katakana}]) [.] (?=[\p{Han}\p{Hiragana}\p{Katakana}])
        ) [\p{Pe}\p{Pf}"']* \s*""",
    flags=regex.VERBOSE | regex.VERSION1,
)
_LAST = regex.compile(r"""[\p{Sentence_Terminal}][\p{Pe}\p{Pf}"'\s]*\Z""")
# the preferred places to cut a long sentence: blank lines, lines, clauses, commas, spaces, characters with their
# accents
_CUTS = [
    regex.compile(pattern)
    for pattern in (
        r"\n\s*\n",
        r"\n",
        r"[;:–—](?=\s)\s|[；：；؛፤፥]",
        r",\s|[，、､،፣]",
        r"\s+",
        r"\X",
        r"(?s:.)",  # within a character with very many combining marks
    )
]


def split_sentences(text: str, most_tokens: int = MOST_TOKENS) -> list[str]:
    """The sentences of a text in any language, with the white space after them, so that they add up to the text.

    Texts without full stops (lists, tables, listings, Thai) are cut into pieces of at most `most_tokens` tokens, at the
    best places.

    Example:
        >>> split_sentences("雨が降る。風が吹く。 Ice melts. Bees fly.")
        ['雨が降る。', '風が吹く。 ', 'Ice melts. ', 'Bees fly.']
    """
    return [piece for sentence in split_at_ends(text) for piece in _cut(sentence, most_tokens)]


def split_at_ends(text: str) -> list[str]:
    """Sentences of any length: LlamaIndex's sentences, also split at the sentence ends of other scripts."""
    return [sentence for part in _llama_index_sentences(text) for sentence in _split_at_other_ends(part)]


def whole_sentences(text: str) -> list[str]:
    """`split_sentences`, with sentences of fewer than `LEAST_WORDS` words joined to the next.

    Otherwise, leader dots in a table of contents and numbers of headings would be sentences.
    """
    whole: list[str] = []
    words = LEAST_WORDS
    for sentence in split_sentences(text):
        if words < LEAST_WORDS:
            whole[-1] += sentence
            words += count_words(sentence)
        else:
            whole.append(sentence)
            words = count_words(sentence)
    return [piece for sentence in whole for piece in _cut(sentence, MOST_TOKENS)]


def count_words(text: str) -> int:
    """The number of words of two letters or more; of text without spaces, an estimate.

    Example:
        >>> count_words("3.2 The rain, in mm"), count_words("春天来了")
        (4, 2)
    """
    return sum(1 for _ in _WORD.finditer(text))


def ends_sentence(text: str) -> bool:
    """True if a text ends with a sentence end of any script.

    Example:
        >>> ends_sentence("Ice melts. "), ends_sentence("「雨が降る。」"), ends_sentence("May | 17 mm\\n")
        (True, True, False)
    """
    return bool(_LAST.search(text))


def beginning(text: str, most_tokens: int) -> str:
    """The beginning of a text with at most `most_tokens` tokens, usually at least the share `FULL` of them: cut at a
    sentence end if possible, else at the best place in a sentence; empty if even the first character has more
    tokens."""
    kept, left = "", split_sentences(text[: most_tokens * _CHARACTERS_A_TOKEN], most_tokens)[::-1]
    while left:
        piece = left.pop()
        if count_tokens((kept + piece).strip()) <= most_tokens:
            kept += piece
        elif count_tokens(kept) < FULL * most_tokens and (cut := _place_to_cut(piece)):
            left += [piece[cut:], piece[:cut]]
        else:
            break
    return kept.strip()


def _llama_index_sentences(text: str) -> Iterator[str]:
    """The sentences of LlamaIndex's tokenizer. Because it gives up on a text after five seconds, it receives blocks;
    the last two sentences of a block begin the next one."""
    from llama_index.core.node_parser.text.utils import split_by_sentence_tokenizer

    import dream.runtime.light_nltk  # noqa: F401 - before LlamaIndex imports nltk

    split, start = split_by_sentence_tokenizer(), 0
    while start < len(text):
        block = text[start : start + BLOCK_CHARACTERS]
        parts = split(block) or [block]
        parts[0] = block[: len(block) - sum(map(len, parts))] + parts[0]  # the white space before the first
        is_last = start + len(block) == len(text)
        done = parts if is_last or len(parts) < 3 else parts[:-2]
        yield from done
        start += sum(map(len, done))


def _split_at_other_ends(text: str) -> Iterator[str]:
    ends = [match.end() for match in _END.finditer(text)]
    for start, end in pairwise(dict.fromkeys([0, *ends, len(text)])):
        yield text[start:end]


def _cut(text: str, most_tokens: int) -> Sequence[str]:
    """The text in pieces of at most `most_tokens` tokens, repeatedly halved near the middle."""
    if len(text.encode()) <= most_tokens:  # a token has a byte or more
        return [text]
    if len(text) <= most_tokens * _CHARACTERS_A_TOKEN and len(tokenize(text)) <= most_tokens:
        return [text]
    cut = _place_to_cut(text)
    return [*_cut(text[:cut], most_tokens), *_cut(text[cut:], most_tokens)] if cut else [text]


def _place_to_cut(text: str) -> int:
    """The best place in the middle half of a text, near its middle; 0 for a text of one character."""
    first, last = len(text) // 4, len(text) - len(text) // 4
    for cut in _CUTS:
        ends = [match.end() for match in cut.finditer(text, first, last)]
        if ends and ends[-1] == last:  # may continue after it
            ends.pop()
        if ends:
            return min(ends, key=lambda end: abs(2 * end - len(text)))
    return 0
