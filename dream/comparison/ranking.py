"""The ranking of trials on one metric, their paired differences to the best, and the tie set.

The tie set holds the best trial and every trial whose confidence interval of the difference to it includes 0. The
intervals are simultaneous over all pairs of trials, so they stay valid although the best was selected by its score:
with at least 95 % confidence the truly best trial is in the set, and no trial equal to it is left out.

Subset selection: Gupta 1965, "On Some Multiple Decision Rules"; Hsu 1984, "Constrained Simultaneous Confidence
Intervals for Multiple Comparisons with the Best". All pairs: Tukey's range, with max-T instead of normal theory (see
`dream.comparison.intervals`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from dream.comparison.intervals import (
    CONFIDENCE,
    Columns,
    Floats,
    Interval,
    columns,
    critical,
    critical_each,
    intervals,
    resamples,
)
from dream.comparison.running_cost import Cost, running_cost
from dream.comparison.score_table import ScoreTable
from dream.records import Trial, TrialResult, full_name, telling_parameters

_PAIRS_AT_ONCE = 1000


@dataclass(frozen=True)
class Standing:
    """One trial in a comparison.

    Attributes:
        rank: 1 for the highest mean; None for a trial that is not ranked, with the reason in `why_not_ranked`.
        mean: over the `n_scored` of `n_questions`; `lowest` and `highest` are the means if all missing scores were 0,
            or 1.
        means: the mean of every metric; None without a score.
        difference: to the best trial, with an interval that is simultaneous over all pairs of trials; `alone` has the
            interval without that correction. Both are None for the best trial and for unranked trials.
        in_set: true for the trials of the tie set.
        same_scores: true if every score equals the best trial's.
        on_front: true for the trials on the Pareto front of quality, cost and latency.
        parameters: those that tell the trial apart from others of its name, e.g. "top_k=3".
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

    @property
    def name(self) -> str:
        """The trial's name, with the parameters that tell it apart from others of that name."""
        return full_name(self.trial, self.parameters)


def ranking(table: ScoreTable, failure_share: float) -> list[int]:
    """The columns of the trials that can be ranked, the highest mean first; equal means keep the order of the grid."""
    means, missing = table.means, 1 - table.scored / max(len(table.question_ids), 1)
    usable = [n for n in range(len(means)) if table.scored[n] and missing[n] <= failure_share + 1e-12]
    return sorted(usable, key=lambda column: -means[column])


def standings(table: ScoreTable, failure_share: float, seed: int = 0) -> tuple[tuple[Standing, ...], float]:
    """The standing of every trial, and the error level per pair of trials.

    Args:
        failure_share: a trial with a larger share of missing scores is not ranked (0 to 1).

    Returns:
        The ranked trials, best first, then the others, most scores first; and the two-sided error level that the
        multiplicity correction leaves for each pair, 0.05 if there is only one pair.
    """
    order = ranking(table, failure_share)
    others = sorted(set(range(len(table.results))) - set(order), key=lambda column: (-table.scored[column], column))
    plain = _plain(table)
    unranked = [replace(plain[column], why_not_ranked=_why(table, column, failure_share)) for column in others]
    if not order:
        return tuple(unranked), 1 - CONFIDENCE
    differences, alone, level = _against_the_best(table.only(order), seed)
    ranked = [replace(plain[order[0]], rank=1, in_set=True)] + [
        replace(
            plain[column],
            rank=rank,
            difference=corrected,
            alone=single,
            in_set=corrected.high >= 0,
            same_scores=bool(numpy.array_equal(table.values[:, column], table.values[:, order[0]], equal_nan=True)),
        )
        for rank, (column, corrected, single) in enumerate(zip(order[1:], differences, alone, strict=True), 2)
    ]
    return (*mark_front(ranked), *unranked), level


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
            means=_means(result),
            parameters=parameters[result.trial.id],
        )
        for column, result in enumerate(table.results)
    ]


def _means(result: TrialResult) -> dict[str, float | None]:
    return {summary.metric: summary.mean for summary in result.evaluation.summaries()} if result.evaluation else {}


def _why(table: ScoreTable, column: int, failure_share: float) -> str:
    failed, n = len(table.question_ids) - int(table.scored[column]), len(table.question_ids)
    error = table.results[column].error
    if error and table.results[column].stopped_by_hand:
        return error
    if failed == n:
        return f"no score: {error or 'every question failed'}"
    return f"{failed} of {n} scores are missing ({failed / n:.0%}), more than the {failure_share:.0%} allowed"


def _against_the_best(ranked: ScoreTable, seed: int) -> tuple[list[Interval], list[Interval], float]:
    """Each other trial minus the first: simultaneous intervals, single intervals, and the error level per pair."""
    block = columns(ranked.values[:, 1:] - ranked.values[:, :1], ranked.clusters)
    weights = resamples(len(block.sums), seed)
    value = critical(all_pairs(ranked.values, ranked.clusters), weights)
    alone = intervals(block, critical_each(block, weights))
    return intervals(block, value), alone, value.level(len(block.sums))


def all_pairs(values: Floats, clusters: NDArray[numpy.int64]) -> Iterator[Columns]:
    """The differences of every pair of trials, first minus second, in blocks of at most `_PAIRS_AT_ONCE` columns."""
    first, second = numpy.triu_indices(values.shape[1], 1)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        block = slice(start, start + _PAIRS_AT_ONCE)
        yield columns(values[:, first[block]] - values[:, second[block]], clusters)


def _goods(standing: Standing, unit: str) -> tuple[float | None, ...]:
    """Quality, cheapness and speed; larger is better."""
    cost, seconds = standing.cost.usd if unit == "USD" else standing.cost.tokens, standing.cost.seconds
    return standing.mean, None if cost is None else -cost, None if seconds is None else -seconds


def _is_beaten(goods: Floats, row: int) -> bool:
    unknown = numpy.isnan(goods) | numpy.isnan(goods[row])
    as_good = ((goods >= goods[row]) | unknown).all(1)
    better = ((goods > goods[row]) & ~unknown).any(1)
    return bool((as_good & better).any())
