"""`Told`: what a search in rounds knows of a trial of an earlier round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dream.records import Trial


@dataclass(frozen=True)
class Told:
    """A trial of an earlier round with its outcome.

    Args:
        values: what is to be maximised, the quality first; None for a trial that could not be ranked.
        may_be_best: not shown to be worse than the best.
    """

    trial: Trial
    values: tuple[float, ...] | None = None
    may_be_best: bool = False


def unseen(trials: Iterable[Trial], told: Sequence[Told]) -> Iterator[Trial]:
    """The trials that were in no round before.

    Example:
        >>> first, second = Trial("bm25", "gpt-4o", ""), Trial("bm25", "gpt-4o-mini", "")
        >>> list(unseen([first, second], [Told(first)])) == [second]
        True
    """
    known = {each.trial.id for each in told}
    return (trial for trial in trials if trial.id not in known)
