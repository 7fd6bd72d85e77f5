"""Allots questions to files: how many of which kind, for the whole dataset, before anything is generated. Pure
functions of the seed."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

SINGLE_HOP = "single_hop_specific_query_synthesizer"
MULTI_HOP_ABSTRACT = "multi_hop_abstract_query_synthesizer"
MULTI_HOP_SPECIFIC = "multi_hop_specific_query_synthesizer"
KINDS: tuple[str, ...] = (SINGLE_HOP, MULTI_HOP_ABSTRACT, MULTI_HOP_SPECIFIC)

PIECE_TOKENS = 600
# Each piece costs three LLM calls before any question is written. With four pieces per question, questions are still
# diverse and multi-hop ones find related pieces, while 3 questions on 137 pieces take 49 calls instead of 421.
PIECES_PER_QUESTION = 4
FILES_PER_BATCH = 3
# A file with more questions is split between batches, which can run concurrently.
QUESTIONS_PER_SHARE = 6
# To batches that replace missing questions, other files are added until there are this many pieces to combine.
PIECES_TO_COMBINE = 8

Kinds = Mapping[str, int]


@dataclass(frozen=True)
class FileText:
    """A file that is long enough for questions, with an estimate of its tokens."""

    file: str
    tokens: int

    @property
    def pieces(self) -> int:
        """The number of pieces into which it is cut."""
        return max(1, math.ceil(self.tokens / PIECE_TOKENS))


@dataclass(frozen=True)
class FileShare:
    """A file's part of a batch.

    Attributes:
        questions: the number of questions to generate from it; 0 for a file that is only combined with others.
        pieces: the number of its pieces to read, in an order that depends only on the seed.
        skip: the number of pieces of that order that other shares read; after the last piece, the first is read again.
        available: the number of pieces of the file; 0 if unknown.
    """

    file: str
    questions: int
    pieces: int
    skip: int = 0
    available: int = 0


@dataclass(frozen=True)
class Batch:
    """The questions that one task generates: from which files, and how many of each kind.

    `seed` is the dataset's. With the batch's unique `number`, it determines the random choices in the batch.
    """

    shares: tuple[FileShare, ...]
    kinds: Kinds
    seed: int
    number: int

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, each once."""
        return tuple(dict.fromkeys(share.file for share in self.shares))

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the files about which it generates questions."""
        return tuple(dict.fromkeys(share.file for share in self.shares if share.questions))

    @property
    def questions(self) -> int:
        """The number of questions of all kinds."""
        return sum(self.kinds.values())

    @property
    def pieces(self) -> int:
        """The number of pieces that are read, each once."""
        return count_pieces(self.shares)


def allot(files: Sequence[FileText], n_questions: int, seed: int) -> list[Batch]:
    """The batches of a dataset: questions in proportion to text, a third of each kind.

    Every file gets its proportional number of questions, rounded up or down at random with the probability that
    preserves the proportion. Each kind gets a third of all questions, rounded.
    """
    rng = random.Random(f"allot {seed}")
    shares = spread(n_questions, [text.tokens for text in files], rng)
    groups = _grouped([share for text, n in zip(files, shares, strict=True) for share in _shares(text, n)])
    wanted = dict(zip(KINDS, spread(n_questions, [1] * len(KINDS), rng), strict=True))
    return _with_kinds(groups, wanted, rng, seed)


def allot_again(
    files: Sequence[FileText], missing: Kinds, used: Mapping[str, int], seed: int, attempt: int
) -> list[Batch]:
    """Batches for the questions that earlier batches did not generate.

    Args:
        files: the files to use, without those that failed.
        missing: the number of missing questions by kind.
        used: the number of pieces of each file that have been read; unread pieces come first.
        attempt: the number of this round, starting with 1.
    """
    rng = random.Random(f"allot {seed} again {attempt}")
    unread = [text.tokens * max(0, text.pieces - used.get(text.file, 0)) / text.pieces for text in files]
    weights = unread if any(unread) else [text.tokens for text in files]
    shares = spread(sum(missing.values()), weights, rng)
    chosen = [
        replace(share, skip=share.skip + used.get(share.file, 0))
        for text, n in zip(files, shares, strict=True)
        for share in _shares(text, n)
    ]
    groups = [_with_companions(group, files, used) for group in _grouped(chosen)]
    return _with_kinds(groups, missing, rng, seed, attempt)


def allotment_notes(batches: Sequence[Batch]) -> list[str]:
    """Notes about questions that cannot be generated from the files: a line if there are too few multi-hop ones."""
    kinds = by_kind(batch.kinds for batch in batches)
    n_questions = sum(kinds.values())
    multi, wanted = n_questions - kinds.get(SINGLE_HOP, 0), n_questions - math.ceil(n_questions / len(KINDS))
    if multi >= wanted:
        return []
    reason = f"they combine pieces of about {PIECE_TOKENS} tokens, of which the text has too few"
    return [f"{multi} of {wanted} multi-hop questions: {reason}"]


def spread(total: int, weights: Sequence[float], rng: random.Random) -> list[int]:
    """Whole numbers with this total, each its weight's proportion rounded up or down.

    Systematic sampling: the probability of rounding up is the fractional part.

    Example:
        >>> spread(10, [1, 1], random.Random(0))
        [5, 5]
        >>> sum(spread(10, [1] * 60, random.Random(0)))
        10
    """
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    order = list(range(len(weights)))
    rng.shuffle(order)
    numbers, start, passed, allotted = [0] * len(weights), rng.random(), 0.0, 0
    for i in order:
        passed += weights[i]
        reached = min(total, math.floor(total * passed / whole + start + 1e-9))
        numbers[i], allotted = reached - allotted, reached
    numbers[order[-1]] += total - allotted
    return numbers


def pieces_in_order(n_pieces: int, file: str, seed: int) -> list[int]:
    """The order in which a file's pieces are read, which depends only on the seed. Neighbours stay in pairs, because
    they are often related, which multi-hop questions need.

    Example:
        >>> sorted(pieces_in_order(4, "a.pdf", 0))
        [0, 1, 2, 3]
    """
    pairs = [[i, i + 1] for i in range(0, n_pieces, 2)]
    random.Random(f"pieces {seed} {file}").shuffle(pairs)
    return [i for pair in pairs for i in pair if i < n_pieces]


def in_other_kinds(missing: Kinds, made: Kinds) -> dict[str, int]:
    """The numbers of each kind to generate instead of missing questions: multi-hop questions of the other kind, if any
    of it was generated before, else single-hop ones.

    Example:
        >>> in_other_kinds({MULTI_HOP_ABSTRACT: 2}, {MULTI_HOP_SPECIFIC: 1}) == {MULTI_HOP_SPECIFIC: 2}
        True
        >>> in_other_kinds({MULTI_HOP_ABSTRACT: 2}, {}) == {SINGLE_HOP: 2}
        True
    """
    others = {MULTI_HOP_ABSTRACT: MULTI_HOP_SPECIFIC, MULTI_HOP_SPECIFIC: MULTI_HOP_ABSTRACT}
    chosen = ((kind, others[kind] if kind in others and made.get(others[kind]) else SINGLE_HOP) for kind in missing)
    return by_kind({other: missing[kind]} for kind, other in chosen)


def kinds_text(kinds: Kinds) -> str:
    """Numbers of questions by short name of their kind, as text.

    Example:
        >>> kinds_text({SINGLE_HOP: 3, MULTI_HOP_ABSTRACT: 2})
        '3 single_hop_specific, 2 multi_hop_abstract'
    """
    return ", ".join(f"{n} {short_name(kind)}" for kind, n in kinds.items())


def short_name(kind: str) -> str:
    """A kind's name without the common suffix."""
    return kind.removesuffix("_query_synthesizer")


def count_pieces(shares: Iterable[FileShare]) -> int:
    """The number of distinct pieces that shares read together."""
    read: dict[str, int] = {}
    for share in shares:
        pieces = read.get(share.file, 0) + share.pieces
        read[share.file] = min(pieces, share.available) if share.available else pieces
    return sum(read.values())


def by_hops(kinds: Kinds) -> dict[str, int]:
    """Numbers of single-hop and of multi-hop questions.

    Example:
        >>> by_hops({SINGLE_HOP: 3, MULTI_HOP_ABSTRACT: 2, MULTI_HOP_SPECIFIC: 1})
        {'single-hop': 3, 'multi-hop': 3}
    """
    return by_kind({"single-hop" if kind == SINGLE_HOP else "multi-hop": n} for kind, n in kinds.items())


def by_short_name(kinds: Kinds) -> dict[str, int]:
    """Numbers of questions by the short names of kinds."""
    return {short_name(kind): n for kind, n in kinds.items()}


def by_kind(counts: Iterable[Kinds]) -> dict[str, int]:
    """The sums of questions by kind, for the kinds that have any."""
    sums: dict[str, int] = {}
    for kinds in counts:
        for kind, n in kinds.items():
            sums[kind] = sums.get(kind, 0) + n
    return {kind: n for kind, n in sums.items() if n}


def _shares(text: FileText, questions: int) -> list[FileShare]:
    """A file's questions in parts of at most `QUESTIONS_PER_SHARE`, each with separate pieces if there are enough."""
    n_parts = math.ceil(questions / QUESTIONS_PER_SHARE)
    shares, skip = [], 0
    for i in range(n_parts):
        n = questions // n_parts + (i < questions % n_parts)
        pieces = min(text.pieces, n * PIECES_PER_QUESTION)
        shares.append(FileShare(text.file, n, pieces, skip, text.pieces))
        skip += pieces
    return shares


def _grouped(shares: Sequence[FileShare]) -> list[list[FileShare]]:
    """Neighbouring shares in groups of at most `FILES_PER_BATCH` and about the same length."""
    n_groups = math.ceil(len(shares) / FILES_PER_BATCH)
    bounds = [round(i * len(shares) / n_groups) for i in range(n_groups + 1)] if n_groups else []
    return [list(shares[start:end]) for start, end in itertools.pairwise(bounds)]


def _with_companions(group: Sequence[FileShare], files: Sequence[FileText], used: Mapping[str, int]) -> list[FileShare]:
    """A group with other files, with whose pieces its own are combined, but about which no questions are generated.
    Files with the most similar names come first, since files on one subject often have similar names."""
    names, pieces = {share.file for share in group}, count_pieces(group)
    places = [i for i, text in enumerate(files) if text.file in names]
    nearest = sorted(range(len(files)), key=lambda i: min(abs(i - place) for place in places))
    together = list(group)
    for text in (files[i] for i in nearest if files[i].file not in names):
        if pieces >= PIECES_TO_COMBINE:
            break
        added = min(text.pieces, PIECES_TO_COMBINE // 2)
        together.append(FileShare(text.file, 0, added, used.get(text.file, 0), text.pieces))
        pieces += added
    return together


def _with_kinds(
    groups: Sequence[Sequence[FileShare]], wanted: Kinds, rng: random.Random, seed: int, attempt: int = 0
) -> list[Batch]:
    """The groups with their questions divided into kinds; a group with a single piece gets no multi-hop questions."""
    sizes = [sum(share.questions for share in group) for group in groups]
    alone = [count_pieces(group) < 2 for group in groups]
    n_alone = sum(size for size, is_alone in zip(sizes, alone, strict=True) if is_alone)
    dealt = iter(_dealt(_without(wanted, n_alone), rng))
    batches = []
    for i, group in enumerate(groups):
        source = itertools.repeat(SINGLE_HOP) if alone[i] else dealt
        kinds = by_kind({kind: 1} for kind in itertools.islice(source, sizes[i]))
        batches.append(Batch(tuple(group), kinds, seed, attempt * 100_000 + i))
    return batches


def _without(wanted: Kinds, n: int) -> dict[str, int]:
    """The remaining numbers of each kind without `n` questions: single-hop ones are removed first, then the others in
    turn."""
    left = {kind: wanted.get(kind, 0) for kind in KINDS}
    for _ in range(n):
        left[SINGLE_HOP if left[SINGLE_HOP] else max(KINDS, key=lambda kind: left[kind])] -= 1
    return left


def _dealt(wanted: Kinds, rng: random.Random) -> list[str]:
    """The kinds of all questions in an order in which every section has about the same proportions."""
    order = [kind for kind in wanted if wanted[kind]]
    rng.shuffle(order)
    total, given = sum(wanted.values()), dict.fromkeys(order, 0)
    dealt = []
    for position in range(1, total + 1):
        kind = max(order, key=lambda kind: wanted[kind] * position / total - given[kind])
        given[kind] += 1
        dealt.append(kind)
    return dealt
