"""Compares the system in use with the recommended trial: is it worth replacing?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy

from dream.comparison.intervals import Interval
from dream.comparison.ranking import Standing
from dream.comparison.score_table import ScoreTable
from dream.comparison.sign_flips import best_set, spread_of_scores
from dream.records import INCUMBENT


def incumbent_note(ordered: Sequence[Standing], table: ScoreTable, recommended: str, seed: int = 0) -> str:
    """A sentence about the difference of the recommended trial to the incumbent; empty if no trial is the incumbent.

    Args:
        ordered: all standings, in the order of the columns of `table`.
        recommended: the id of the recommended trial.
        seed: of the sign flips.
    """
    incumbents = [place for place, standing in enumerate(ordered) if standing.trial.parameters.get(INCUMBENT)]
    if not incumbents:
        return ""
    place = incumbents[0]
    incumbent, name = ordered[place], f"The incumbent `{ordered[place].trial.query_engine_identifier}`"
    if incumbent.trial.id == recommended:
        return f"{name} is itself the recommended trial: nothing is shown to be worth replacing it."
    if incumbent.rank is None:
        return f"{name} cannot be compared: {incumbent.why_not_ranked}."
    chosen = next(each for each, standing in enumerate(ordered) if standing.trial.id == recommended)
    difference = _between(ordered, table, chosen, place, seed)
    shown = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    if difference.low > 0:
        return f"{name} is worth replacing: the recommended trial is better by {shown}."
    if difference.high < 0:
        return f"{name} should stay: the recommended trial, which costs less, is worse by {shown}."
    return f"{name}: these questions do not show that replacing it would be a gain (recommended trial: {shown})."


def _between(ordered: Sequence[Standing], table: ScoreTable, chosen: int, place: int, seed: int) -> Interval:
    """The recommended trial minus the incumbent, with an interval that is simultaneous over all pairs of trials,
    because the recommended trial was chosen by its score. If one of the two is the best trial, the interval of the
    table."""
    shown = ordered[place].difference
    if chosen == 0 and shown:
        return replace(shown, mean=-shown.mean, low=-shown.high, high=-shown.low)
    shown = ordered[chosen].difference
    if place == 0 and shown:
        return shown
    ranked = table.only([each for each, standing in enumerate(ordered) if standing.rank is not None])
    half = best_set(spread_of_scores(ranked.values, ranked.clusters, ranked.reach), seed).widest
    low, high = (ordered[chosen].lowest - ordered[place].highest, ordered[chosen].highest - ordered[place].lowest)
    values = table.values[:, chosen] - table.values[:, place]
    mean, n = float(numpy.nanmean(values)), int((~numpy.isnan(values)).sum())
    return Interval(mean, max(low - half, -table.span), min(high + half, table.span), None, n)
