"""The chunker that cuts where the meaning of sentences changes, by their embeddings."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy

from dream.indexes.sentence_splitting import whole_sentences
from dream.indexes.structure_chunkers import of_pieces
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import Document
    from llama_index.core.schema import BaseNode

Embed = Callable[[list[str]], numpy.ndarray]
# The number of sentences before and after a boundary that are compared, as single sentences differ by chance.
NEIGHBOURS = 3
# The minimum distance of a cut from the ends of a text, as a share of the chunk size.
LEAST_SHARE = 0.25
# Differences within this tolerance count as equal; the cut nearest to the middle is chosen.
EQUAL = 0.01
# The mean fill of chunks, for plans; cuts at equal distances would give between half and all of the size.
FULLNESS = 0.6


def semantic(
    documents: Sequence["Document"], *, chunk_size: int, embed: Embed
) -> tuple[list["BaseNode"], list["BaseNode"]]:
    """Chunks of related sentences: a text of more than `chunk_size` tokens is cut where the sentences before and after
    differ most in meaning, and so are its parts, until all fit. Chunks do not overlap.

    Args:
        embed: returns unit vectors of texts, one row each.
    """
    sentences = [whole_sentences(document.text) for document in documents]
    vectors = iter(embed([sentence for of_document in sentences for sentence in of_document if sentence.strip()]))
    pieces = [(document, _pieces(of_document, [next(vectors) if sentence.strip() else None for sentence in of_document],
                                 chunk_size))
              for document, of_document in zip(documents, sentences, strict=True)]  # fmt: skip
    return of_pieces(pieces, chunk_size, chunk_overlap=0)


def _pieces(sentences: Sequence[str], vectors: Sequence[numpy.ndarray | None], most_tokens: int) -> list[str]:
    """The sentences of a document, joined into pieces."""
    places = numpy.cumsum([0, *(count_tokens(sentence) for sentence in sentences)])
    differences = _differences(vectors)
    pieces, left = [], [(0, len(sentences))]
    while left:
        start, end = left.pop()
        if end - start < 2 or places[end] - places[start] <= most_tokens:
            pieces.append("".join(sentences[start:end]))
            continue
        borders = numpy.arange(start + 1, end)
        at_ends = numpy.minimum(places[borders] - places[start], places[end] - places[borders])
        far = borders[at_ends >= min(LEAST_SHARE * most_tokens, at_ends.max())]
        best = far[differences[far] >= differences[far].max() - EQUAL]
        border = int(best[numpy.argmin(numpy.abs(2 * places[best] - places[start] - places[end]))])
        left += [(border, end), (start, border)]
    return pieces


def _differences(vectors: Sequence[numpy.ndarray | None]) -> numpy.ndarray:
    """1 - cosine of the sums of the vectors before and after each border; the border before sentence i is at i."""
    example = next((vector for vector in vectors if vector is not None), numpy.zeros(1))
    rows = numpy.array([numpy.zeros_like(example) if vector is None else vector for vector in vectors]).reshape(
        len(vectors), -1
    )
    sums = numpy.concatenate([numpy.zeros((1, rows.shape[1])), numpy.cumsum(rows, axis=0, dtype=float)])
    borders = numpy.arange(len(vectors))
    before = sums[borders] - sums[numpy.maximum(borders - NEIGHBOURS, 0)]
    after = sums[numpy.minimum(borders + NEIGHBOURS, len(vectors))] - sums[borders]
    lengths = numpy.linalg.norm(before, axis=1) * numpy.linalg.norm(after, axis=1)
    products = numpy.einsum("ij,ij->i", before, after)
    return 1 - products / numpy.where(lengths == 0, 1, lengths)
