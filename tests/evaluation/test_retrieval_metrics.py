"""Metrics of a ranking: numbers computed by hand, and those of trec_eval where the definitions coincide."""

import itertools
import math
import random

import ir_measures
import pytest
from ir_measures import RR, P, R, Success, nDCG

from dream.evaluation.evidence import Covered, Place
from dream.evaluation.retrieval_metrics import RetrievalMetric, hit, mrr, ndcg, precision, recall
from dream.metrics import find_metric

LOG3 = math.log2(3)


async def value(name: str, ranks: list[list[int]], n_passages: int) -> float:
    metric = RetrievalMetric(find_metric(name))
    evidence = [Covered(Place(str(number)), tuple(each)) for number, each in enumerate(ranks)]
    return (await metric.ascore(["text"] * n_passages, evidence)).value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # five passages; evidence A is in the 2nd and 4th, B in the 4th, C was not retrieved
        ("hit", 1), ("hit@1", 0), ("hit@2", 1),
        ("recall", 2 / 3), ("recall@1", 0), ("recall@2", 1 / 3), ("recall@3", 1 / 3), ("recall@4", 2 / 3),
        ("precision", 2 / 5), ("precision@1", 0), ("precision@2", 1 / 2), ("precision@4", 2 / 4),
        ("precision@9", 2 / 5),
        ("mrr", 1 / 2), ("mrr@1", 0), ("mrr@9", 1 / 2),
        # A is new at rank 2, B at rank 4; best is the passage with both first, then C
        ("ndcg", (1 / LOG3 + 1 / math.log2(5)) / (2 + 1 / LOG3)),
        ("ndcg@1", 0), ("ndcg@2", (1 / LOG3) / (2 + 1 / LOG3)),
    ],
)  # fmt: skip
async def test_by_hand(name: str, expected: float):
    assert await value(name, [[2, 4], [4], []], 5) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["hit", "recall", "precision", "mrr", "ndcg", "ndcg@3"])
async def test_nothing_retrieved_is_0_and_all_of_it_first_is_1(name: str):
    assert await value(name, [[], []], 0) == 0
    assert await value(name, [[1], [1]], 1) == 1
    assert await value(name, [[2], [1]], 2) == 1


async def test_the_explanation_names_each_evidence():
    metric = RetrievalMetric(find_metric("recall@1"))
    evidence = [Covered(Place("a.pdf", pages=("3",)), (2, 4)), Covered(Place(text="The  well\nis deep."), ())]
    found = await metric.ascore(["x"] * 4, evidence)
    assert found.reason == 'a.pdf, page 3: in passage 2, 4; "The well is deep.": not retrieved'


def test_repeated_evidence_gains_nothing():
    assert ndcg([[1, 2], [3]], 3) == pytest.approx((1 + 1 / 2) / (1 + 1 / LOG3))
    assert ndcg([[1], [2]], 3) == 1


@pytest.mark.parametrize("cutoff", [1, 3, 5, 10])
def test_as_trec_eval_where_a_passage_covers_one_evidence_and_each_is_in_one(cutoff: int):
    random_ = random.Random(cutoff)
    qrels, run, ours = {}, {}, []
    for number in range(40):
        n_passages, n_evidences = random_.randint(10, 20), random_.randint(1, 6)
        places = random_.sample(range(1, 31), n_evidences)  # those below the last passage were not retrieved
        ranks = [[place] if place <= n_passages else [] for place in places]
        qrels[f"q{number}"] = {f"d{place}": 1 for place in places}
        run[f"q{number}"] = {f"d{rank}": 1 / rank for rank in range(1, n_passages + 1)}
        first = [[rank for rank in each if rank <= cutoff] for each in ranks]
        values = [function(first, cutoff) for function in (hit, recall, precision, mrr)]
        ours.append([*values, ndcg(ranks, n_passages, cutoff)])
    measures = [Success @ cutoff, R @ cutoff, P @ cutoff, RR @ cutoff, nDCG @ cutoff]
    theirs = {(row.query_id, row.measure): row.value for row in ir_measures.iter_calc(measures, qrels, run)}
    for number, values in enumerate(ours):
        assert values == pytest.approx([theirs[f"q{number}", measure] for measure in measures], abs=1e-9)


def test_ndcg_is_at_most_1_in_every_ranking_of_small_coverings():
    """Against the best of all orders, computed by trying them: the greedy one is the best here."""
    for sets in itertools.product([(), (0,), (1,), (0, 1), (0, 1, 2), (2,)], repeat=3):
        ranks = [[rank for rank, covered in enumerate(sets, 1) if number in covered] for number in range(3)]
        own = [(number,) for number, each in enumerate(ranks) if not each]
        best = max(_gain(order) for order in itertools.permutations([*sets, *own]))
        assert ndcg(ranks, 3) == pytest.approx(_gain(sets) / best)
        assert 0 <= ndcg(ranks, 3) <= 1


def _gain(order: tuple[tuple[int, ...], ...]) -> float:
    seen: set[int] = set()
    total = 0.0
    for rank, covered in enumerate(order, 1):
        total += len(set(covered) - seen) / math.log2(rank + 1)
        seen |= set(covered)
    return total
