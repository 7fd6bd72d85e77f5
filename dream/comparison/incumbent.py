"""The system in use against the recommended trial: is it worth replacing?"""

from collections.abc import Sequence

from dream.comparison.intervals import columns, critical_each, intervals, resamples
from dream.comparison.ranking import Standing
from dream.comparison.score_table import ScoreTable
from dream.records import INCUMBENT


def incumbent_note(
    ordered: Sequence[Standing], table: ScoreTable, recommended: str, level: float, seed: int = 0
) -> str:
    """The difference of the recommended trial to the incumbent, and what it means; empty if no trial is the incumbent.

    Args:
        ordered: all standings, in the order of the columns of `table`.
        recommended: the id of the recommended trial.
        level: the error level for each pair of trials, so that the interval holds although the recommended trial was
            chosen by its score.
        seed: of the resampling.
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
    block = columns((table.values[:, chosen] - table.values[:, place])[:, None], table.clusters)
    value = critical_each(block, resamples(block.sums.shape[0], seed), 1 - level)
    (difference,) = intervals(block, value)
    shown = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    if difference.low > 0:
        return f"{name} is worth replacing: the recommended trial is better by {shown}."
    if difference.high < 0:
        return f"{name} should stay: the recommended trial, which costs less, is worse by {shown}."
    return f"{name}: these questions do not show that replacing it is a gain ({shown} with the recommended trial)."
