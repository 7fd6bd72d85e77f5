"""A race: trials that are shown to be worse than another stop before they have answered all questions.

`dream.experiments.racing` runs it, `dream.comparison.racing` decides.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dream.records.fields import fields_in


@dataclass(frozen=True)
class LeftRace:
    """A trial that left the race at a look, and the evidence.

    Attributes:
        comparator: the id of the trial that it was compared with, which had the highest mean at the look.
        difference: its mean minus the comparator's on the questions of the look, with an interval from `low` to `high`
            that is simultaneous over all trials and looks, with missing scores at their worst and best.
    """

    trial_id: str
    comparator: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Look:
    """A look at the scores of all trials that are in the race, after their first `questions` questions.

    Attributes:
        error: the part of the race's error that is spent up to this look.
        boundary: the smallest loss against the best mean at which trials left; None if no trial left.
        is_done: False until it was decided.
    """

    questions: int
    documents: int
    error: float
    boundary: float | None = None
    is_done: bool = False
    left: tuple[LeftRace, ...] = ()


@dataclass(frozen=True)
class Race:
    """The race of an experiment.

    Attributes:
        metric: the metric that decides.
        first, block: the minimum number of questions before the first look, and between two looks.
        error: the level of the tests over all looks and trials together; the comparison has the rest of 5 %.
        seed: the seed of the order of the questions and of the sign flips.
        order: the ids of all questions in the order in which they are asked; questions of a document are consecutive.
        looks: the planned looks; after the last one, the remaining trials answer the remaining questions.
    """

    metric: str
    first: int
    block: int
    error: float
    seed: int = 0
    order: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()

    @property
    def was_run(self) -> bool:
        """True if a look was decided, so that some of the error is spent."""
        return any(look.is_done for look in self.looks)

    @property
    def left(self) -> dict[str, tuple[Look, LeftRace]]:
        """The trials that left, each with its look, by trial id."""
        return {each.trial_id: (look, each) for look in self.looks for each in look.left}

    def reason_of(self, trial_id: str, comparator: str) -> str:
        """The evidence against a trial that left, as text; `comparator` is the name of the trial that it was compared
        with."""
        look, each = self.left[trial_id]
        return (
            f"left the race after {look.questions:,} of {len(self.order):,} questions, worse by "
            f"{-each.difference:.3f} [{max(-each.high, 0.0):.3f}, {-each.low:.3f}] than {comparator}"
        )

    @property
    def summary(self) -> str:
        """One or two sentences about the outcome and its consequence for the comparison; empty before the first
        look."""
        done = [look for look in self.looks if look.is_done]
        if not done:
            return ""
        left = (
            f"A race by {self.metric}: {len(self.left)} trial(s) left at {len(done)} look(s), each shown to be worse "
            f"than another, at an error of {100 * self.error:g} % over all trials and looks."
        )
        return f"{left} Factors are compared among the remaining trials only." if self.left else left

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Race":
        """The inverse of `to_json`; unknown fields are ignored."""
        order, looks = tuple(data.get("order", ())), tuple(map(_look, data.get("looks", ())))
        return cls(**{**fields_in(cls, data), "order": order, "looks": looks})


def _look(data: Mapping[str, Any]) -> Look:
    left = tuple(LeftRace(**fields_in(LeftRace, each)) for each in data.get("left", ()))
    return Look(**{**fields_in(Look, data), "left": left})
