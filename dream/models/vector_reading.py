"""Reads what a server answered to an embeddings request: one vector for each text, or why the response is no answer.

A vector is a text's own only where the server says so by `index`, or where it gives no index at all and as many vectors
as texts, which is then their order. Indices from 1 on are accepted; the same index twice is an error, also if all are
0, since the order is then unknown.
"""

import base64
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from dream.models.answer_reading import EMPTY_ATTEMPTS
from dream.models.no_answer import NoAnswer, of_error, of_stranger

# The field with the vectors of an embeddings answer that was read.
VECTORS = "vectors"
# Different texts with one vector for all of them: a model that is not loaded, or does not read its input.
MOST_EQUAL = 3
_COMPARED_CHARACTERS = 500
_NOT_A_WORD = re.compile(r"[\W_]+")


def read_vectors(texts: Sequence[Any], answer: Mapping[str, Any] | NoAnswer) -> list[bytes] | NoAnswer:
    """The vectors of an embeddings answer as float32 bytes in the order of the texts, or why it is none.

    Args:
        answer: the `answer_reading.body_of` a response with status 200.
    """
    if isinstance(answer, NoAnswer):
        return answer
    if (failure := of_error(answer)) is not None:
        return failure
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return of_stranger(answer, "list of embeddings")
    if len(rows) != len(texts):
        return _useless(f"gave {len(rows)} vectors for {len(texts)} texts")
    order = _order([row.get("index") for row in rows])
    if isinstance(order, NoAnswer):
        return order
    vectors = []
    for number, row in enumerate(order):
        try:
            vectors.append(float32(rows[row].get("embedding")))
        except (TypeError, ValueError, OverflowError) as error:
            return _useless(f"gave no usable vector for text {number + 1} of {len(texts)}: {error}")
    problem = problem_of(vectors, texts)
    return _useless(problem) if problem else vectors


def float32(vector: Any) -> bytes:
    """A vector as float32 bytes; a ValueError or TypeError says what is wrong with it."""
    if isinstance(vector, str):
        packed = base64.b64decode(vector, validate=True)
        if len(packed) % 4:
            raise ValueError(f"its base64 has {len(packed)} bytes, which are no 32-bit numbers")
        return packed
    if not isinstance(vector, list):
        raise TypeError(f"it has {vector!r} in place of a list of numbers")
    if vector and isinstance(vector[0], list):
        raise TypeError("it has a list of vectors, mostly one for each token: start the server with pooling")
    return array("f", vector).tobytes()


def problem_of(vectors: Sequence[bytes], texts: Sequence[Any]) -> str | None:
    """The problem of the vectors of some texts, in words that follow the name of their sender; None if nothing."""
    lengths = [len(vector) // 4 for vector in vectors]
    if not all(lengths):
        return f"gave an empty vector for text {lengths.index(0) + 1} of {len(texts)}"
    if len(set(lengths)) > 1:
        return f"gave vectors of different lengths: {', '.join(map(str, sorted(set(lengths))))}"
    table = numpy.frombuffer(b"".join(vectors), numpy.float32).reshape(len(vectors), lengths[0])
    finite, nonzero = numpy.isfinite(table).all(axis=1), table.any(axis=1)
    for good, what in ((finite, "numbers that are not finite (NaN or infinite)"), (nonzero, "only zeros")):
        if not good.all():
            return f"gave a vector with {what} for text {int(numpy.argmin(good)) + 1} of {len(texts)}"
    if len(set(vectors)) == 1 and (n := len(far_apart(texts))) > 1:
        return f"gave one and the same vector for {n} different texts"
    return None


def distinct(texts: Sequence[Any]) -> set[str]:
    """The texts that a model should tell apart: without case, punctuation and their ends, which it may not read."""
    return {_NOT_A_WORD.sub(" ", str(text)[:_COMPARED_CHARACTERS].casefold()).strip() for text in texts} - {""}


def far_apart(texts: Sequence[Any]) -> list[str]:
    """Texts of which no two share more than half of the shorter one's words, as an answer and its ground truth may: a
    small model can have one vector for both.

    Example:
        >>> far_apart(["The dam is 42 m high.", "the dam is 42 m high", "The dam is 42 m high, and old.", "Bees"])
        ['bees', 'the dam is 42 m high']
    """
    kept: list[str] = []
    for text in sorted(distinct(texts)):
        words = set(text.split())
        if all(2 * len(words & set(other.split())) <= min(len(words), len(set(other.split()))) for other in kept):
            kept.append(text)
    return kept


def _order(indices: list[Any]) -> list[int] | NoAnswer:
    """The row of each text."""
    if all(index is None for index in indices):
        return list(range(len(indices)))
    try:
        numbers = [_whole(index) for index in indices]
    except ValueError:
        numbers = []
    first = min(numbers, default=0)
    if first in (0, 1) and sorted(numbers) == list(range(first, first + len(indices))):
        return sorted(range(len(indices)), key=numbers.__getitem__)
    shown = ", ".join(map(repr, indices[:8])) + (", ..." if len(indices) > 8 else "")
    return _useless(f"numbered its {len(indices)} vectors {shown}, so that it is unknown which text each belongs to")


def _whole(index: Any) -> int:
    if isinstance(index, bool) or not isinstance(index, int | float | str) or int(index) != float(index):
        raise ValueError(index)
    return int(index)


def _useless(reason: str) -> NoAnswer:
    """The failure of vectors that cannot be used: it may pass once, as where a batch was cut."""
    return NoAnswer(reason, most_attempts=EMPTY_ATTEMPTS)


@dataclass
class KnownVectors:
    """Facts about the vectors that one model gave: all must have one length, and must not all be equal.

    `length` is 0 until the first.
    """

    length: int = 0
    _varied: bool = False
    _only: bytes = b""
    _texts: set[str] = field(default_factory=set)

    def problem(self, vectors: Sequence[bytes], texts: Sequence[Any]) -> str | None:
        """The problem of new vectors beside the earlier ones; None if there is none. Good ones are remembered."""
        length = len(vectors[0]) // 4
        if self.length not in (0, length):
            return (
                f"gave vectors of length {length} for {len(texts)} text(s), but of length {self.length} before. One "
                "model must have one length, for one text as for many"
            )
        if not self._varied and self._are_equal(vectors, texts):
            return f"gave one and the same vector for {len(self._texts)} different texts"
        self.length = length
        return None

    def _are_equal(self, vectors: Sequence[bytes], texts: Sequence[Any]) -> bool:
        """True once `MOST_EQUAL` different texts had the same vector, and no text another."""
        self._only = self._only or vectors[0]
        self._varied = any(vector != self._only for vector in vectors)
        self._texts |= distinct(texts)
        return not self._varied and len(self._texts) >= MOST_EQUAL
