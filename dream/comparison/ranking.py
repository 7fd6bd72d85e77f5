"""The ranking of trials on one metric, their paired differences to the best, and the set of the best.

The set of the best contains the best trial and every trial that is not shown to be worse. With at least 95 %
confidence, it contains the truly best trial. It is a model confidence set, and the intervals come from the same sign
flips, so that a trial is in the set if and only if its interval includes 0 (`dream.comparison.differences`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy

from dream.comparison.differences import differences_to_the_first
from dream.comparison.intervals import CONFIDENCE, Floats, Interval
from dream.comparison.running_cost import Cost, running_cost
from dream.comparison.score_table import ScoreTable, means_of
from dream.records import Trial, full_name, telling_parameters

SAME_SCORES = "the same scores"


@dataclass(frozen=True)
class Standing:
    """One trial in a comparison.

    Attributes:
        rank: 1 for the highest `lowest` mean, which is the mean if no score is missing; None for a trial that is not
            ranked, with the reason in `why_not_ranked`.
        mean: the mean over `n_scored` of `n_questions`, including `n_failed` that the RAG system itself failed, which
            count 0; `lowest` and `highest` are the means if all missing scores were the worst, or the best.
        means: the mean of every metric; None without a score.
        difference: to the best trial, with an interval that is simultaneous over all trials; `alone` has the interval
            without that correction. Both are None for the best trial and for unranked trials.
        interval_by: the method for `difference`: "sign flips"; "Student's t" with fewer than 6 documents; "betting"
            with the reason if sign flips should not be trusted; "the same scores" if every score equals the best
            trial's.
        in_set: true for the trials of the set of the best; then, and only then, `difference` includes 0 or more.
        may_lose: the largest loss against any trial of the set that the intervals allow; None for unranked trials.
        shrunken: the mean, shrunken towards that of all ranked trials by its noise (`dream.comparison.shrinkage`); None
            for fewer than 4 trials or 2 documents.
        same_scores: true if every score equals the best trial's.
        on_front: true for the trials on the Pareto front of quality, cost and latency.
        parameters: those that distinguish the trial from others of the same name, e.g. "top_k=3".
    """

    trial: Trial
    rank: int | None
    mean: float | None
    n_scored: int
    n_questions: int
    lowest: float
    highest: float
    cost: Cost
    means: Mapping[str, float | None]
    difference: Interval | None = None
    alone: Interval | None = None
    in_set: bool = False
    same_scores: bool = False
    on_front: bool = False
    why_not_ranked: str = ""
    parameters: str = ""
    n_failed: int = 0
    interval_by: str = ""
    may_lose: float | None = None
    shrunken: float | None = None

    @property
    def name(self) -> str:
        """The trial's name, with the parameters that distinguish it from others of the same name."""
        return full_name(self.trial, self.parameters)


def ranking(table: ScoreTable, failure_share: float) -> list[int]:
    """The columns of the trials that can be ranked, the best first; equal means keep the order of the grid.

    A missing score counts as the worst, so that no trial gains from missing scores.
    """
    missing = 1 - table.scored / max(len(table.question_ids), 1)
    judged, (lowest, _) = table.scored - table.n_failed, table.bounds()
    usable = [n for n in range(len(judged)) if judged[n] and missing[n] <= failure_share + 1e-12]
    return sorted(usable, key=lambda column: -round(lowest[column], 12))


def standings(
    table: ScoreTable, failure_share: float, seed: int = 0, confidence: float = CONFIDENCE
) -> tuple[tuple[Standing, ...], float]:
    """The standing of every trial, and the error level per pair of trials.

    Args:
        failure_share: a trial with a larger share of missing scores is not ranked (0 to 1).

    Returns:
        The ranked trials, best first, then the others, most scores first; and the two-sided error level at which
        Student's t test of a single pair would be as strict as the set of the best is, 0.05 if there is only one pair.
    """
    order = ranking(table, failure_share)
    others = sorted(set(range(len(table.results))) - set(order), key=lambda column: (-table.scored[column], column))
    plain = _plain(table)
    unranked = [replace(plain[column], why_not_ranked=_why(table, column, failure_share)) for column in others]
    if not order:
        return tuple(unranked), 1 - confidence
    ranked = table.only(order)
    differences, level = differences_to_the_first(ranked, seed, confidence)
    same = {place for place in range(1, len(order)) if _all_same(ranked.values[:, place], ranked.values[:, 0])}
    stood = [
        replace(
            plain[column],
            rank=rank,
            difference=each.difference,
            alone=each.alone,
            in_set=each.in_set,
            interval_by=SAME_SCORES if rank - 1 in same else each.interval_by,
            may_lose=each.may_lose,
            same_scores=rank - 1 in same,
        )
        for rank, (column, each) in enumerate(zip(order, differences, strict=True), 1)
    ]
    return (*mark_front(stood), *unranked), level


def mark_front(ordered: Sequence[Standing]) -> list[Standing]:
    """Mark the Pareto front: the trials that no other trial dominates in quality, cost and latency.

    Cost is in the unit of `cost_unit`. A measure that is unknown for one of two trials is left out of their comparison.
    """
    goods = numpy.array([_goods(standing, cost_unit(ordered)) for standing in ordered], float)
    return [replace(standing, on_front=not _is_beaten(goods, row)) for row, standing in enumerate(ordered)]


def cost_unit(ordered: Sequence[Standing]) -> str:
    """ "USD" if the cost per question of every ranked trial is known and not all are 0, else "tokens"."""
    costs = [standing.cost.usd for standing in ordered if standing.rank]
    return "USD" if None not in costs and any(costs) else "tokens"


def _plain(table: ScoreTable) -> list[Standing]:
    (low, high), means, scored = table.bounds(), table.means, table.scored
    parameters = telling_parameters(result.trial for result in table.results)
    return [
        Standing(
            trial=result.trial,
            rank=None,
            mean=float(means[column]) if scored[column] else None,
            n_scored=int(scored[column]),
            n_questions=len(table.question_ids),
            lowest=float(low[column]),
            highest=float(high[column]),
            cost=running_cost(result),
            means=means_of(result),
            parameters=parameters[result.trial.id],
            n_failed=int(table.n_failed[column]),
        )
        for column, result in enumerate(table.results)
    ]


def _all_same(first: Floats, second: Floats) -> bool:
    return bool(numpy.array_equal(first, second, equal_nan=True))


def _why(table: ScoreTable, column: int, failure_share: float) -> str:
    n, scored = len(table.question_ids), int(table.scored[column])
    error = table.results[column].error
    if error and table.results[column].ended_early:
        return error
    if scored == table.n_failed[column]:
        return f"no score: {error or 'every question failed'}"
    return f"{n - scored} of {n} scores are missing ({1 - scored / n:.0%}), more than the {failure_share:.0%} allowed"


def _goods(standing: Standing, unit: str) -> tuple[float | None, ...]:
    """Quality, cheapness and speed; larger is better."""
    cost, seconds = standing.cost.usd if unit == "USD" else standing.cost.tokens, standing.cost.seconds
    return standing.mean, None if cost is None else -cost, None if seconds is None else -seconds


def _is_beaten(goods: Floats, row: int) -> bool:
    unknown = numpy.isnan(goods) | numpy.isnan(goods[row])
    as_good = ((goods >= goods[row]) | unknown).all(1)
    better = ((goods > goods[row]) & ~unknown).any(1)
    return bool((as_good & better).any())
