"""`Told`: the outcome of a trial, as a search in rounds receives it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dream.records import Trial


@dataclass(frozen=True)
class Told:
    """A trial of an earlier round with its outcome.

    Args:
        values: the values to maximise, quality first; None for a trial that could not be ranked.
        may_be_best: True unless the trial is shown to be worse than the best.
    """

    trial: Trial
    values: tuple[float, ...] | None = None
    may_be_best: bool = False


def unseen(trials: Iterable[Trial], told: Sequence[Told]) -> Iterator[Trial]:
    """The trials that no earlier round had.

    Example:
        >>> first, second = Trial("bm25", "gpt-4o", ""), Trial("bm25", "gpt-4o-mini", "")
        >>> list(unseen([first, second], [Told(first)])) == [second]
        True
    """
    seen = {each.trial.id for each in told}
    return (trial for trial in trials if trial.id not in seen)
