"""Metrics of a ranking of passages, without a judge: hit, recall, precision, mrr, ndcg, each with or without a cutoff.

A passage is relevant if it covers some evidence (`dream.evaluation.evidence`). Where every passage covers at most one
evidence, and every evidence is covered by at most one passage, the values are those of trec_eval, except that precision
divides by the actual number of passages if that is below the cutoff.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dream.evaluation.evidence import Covered
from dream.evaluation.judgement import Judgement
from dream.metrics import Metric

Ranks = Sequence[Sequence[int]]


def hit(ranks: Ranks, n_passages: int) -> float:
    """1 if any passage covers some evidence.

    Args:
        ranks: for each evidence, the ranks (starting with 1) of the passages that cover it. Likewise in the other
            functions.
    """
    return float(any(ranks))


def recall(ranks: Ranks, n_passages: int) -> float:
    """The number of covered evidences / the number of all evidences.

    Example:
        >>> recall([[2, 3], []], 3)
        0.5
    """
    return sum(map(bool, ranks)) / len(ranks)


def precision(ranks: Ranks, n_passages: int) -> float:
    """The number of passages that cover some evidence / the number of all passages; 0 without passages.

    Example:
        >>> precision([[2, 3], [3]], 4)
        0.5
    """
    return len({rank for each in ranks for rank in each}) / n_passages if n_passages else 0.0


def mrr(ranks: Ranks, n_passages: int) -> float:
    """1 / the rank of the first passage that covers some evidence; 0 without one. Its mean over questions is the mean
    reciprocal rank.

    Example:
        >>> mrr([[4], [2, 3]], 5)
        0.5
    """
    first = min((rank for each in ranks for rank in each), default=0)
    return 1 / first if first else 0.0


def ndcg(ranks: Ranks, n_passages: int, cutoff: int | None = None) -> float:
    """Normalised discounted cumulative gain, where the gain of a passage is the number of evidences that no passage
    above it covers.

    The ideal order has the retrieved passages, and a passage for each evidence that was not retrieved; the next one is
    always one that covers the most new evidences. So repeated evidence gains nothing, and one passage that covers two
    evidences counts as much as two that cover one each. This is alpha-nDCG with alpha = 1 (Clarke et al. 2008, "Novelty
    and Diversity in Information Retrieval Evaluation"), and binary nDCG where nothing is repeated.

    Args:
        cutoff: only the first passages count, also in the ideal order.

    Example:
        >>> round(ndcg([[2], []], 3), 3)  # (1 / log2(3)) / (1 + 1 / log2(3))
        0.387
    """
    last = cutoff or max(n_passages, len(ranks))
    gained = _discounted(_gains_in_order(ranks, min(last, n_passages)))
    return min(gained / _discounted(_ideal_gains(ranks)[:last]), 1.0)


def _gains_in_order(ranks: Ranks, n_passages: int) -> list[int]:
    firsts = [min(each, default=0) for each in ranks]
    return [firsts.count(rank) for rank in range(1, n_passages + 1)]


def _ideal_gains(ranks: Ranks) -> list[int]:
    """The gains when the next passage is always one that covers the most evidences that are still open."""
    covered: dict[int, set[int]] = {}
    for number, each in enumerate(ranks):
        for rank in each:
            covered.setdefault(rank, set()).add(number)
    open_ = {number for number, each in enumerate(ranks) if each}
    gains: list[int] = []
    while open_:
        best = max(covered.values(), key=lambda numbers: len(numbers & open_))
        gains.append(len(best & open_))
        open_ -= best
    return sorted([*gains, *(1 for each in ranks if not each)], reverse=True)


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


_FUNCTIONS: dict[str, Callable[..., float]] = {
    "hit": hit,
    "recall": recall,
    "precision": precision,
    "mrr": mrr,
    "ndcg": ndcg,
}


@dataclass(frozen=True)
class RetrievalMetric:
    """A retrieval metric of `dream.metrics` with the `ascore` interface of ragas' metrics."""

    definition: Metric

    async def ascore(self, retrieved_contexts: Sequence[str], evidence: Sequence[Covered]) -> Judgement:
        name, cutoff = self.definition.name.partition("@")[0], self.definition.cutoff
        n = len(retrieved_contexts) if cutoff is None else min(cutoff, len(retrieved_contexts))
        if name == "ndcg":  # its ideal order may have passages from below the cutoff
            value = ndcg([covered.ranks for covered in evidence], len(retrieved_contexts), cutoff)
        else:
            ranks = [[rank for rank in covered.ranks if rank <= n] for covered in evidence]
            value = _FUNCTIONS[name](ranks, n)
        return Judgement(value, "; ".join(map(_told, evidence)))


def _told(covered: Covered) -> str:
    ranks = ", ".join(map(str, covered.ranks))
    return f"{covered.place}: {f'in passage {ranks}' if ranks else 'not retrieved'}"
