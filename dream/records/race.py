"""A race: trials that are shown to be worse than another stop before they have answered every question.

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
        comparator: the id of the trial that it is worse than, that with the highest mean at the look.
        difference: its mean minus the comparator's on the questions of the look, with an interval from `low` to `high`
            that is simultaneous over all trials and looks; in them missing scores are at their worst and best.
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
        error: the share of the race's error that is spent up to this look.
        boundary: the loss against the best mean from which on a trial left; None if no loss was enough.
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
        metric: that decides.
        first, block: the least number of questions before the first look, and between two.
        error: the level of the tests over all looks and trials together; the comparison has the rest of 5 %.
        seed: of the order of the questions, and of the sign flips.
        order: the ids of all questions as they are asked; the questions of a document follow one another.
        looks: the planned ones; after the last of them, the trials that are left answer what remains.
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
        """True if a look was decided, so that a part of the error is spent."""
        return any(look.is_done for look in self.looks)

    @property
    def left(self) -> dict[str, tuple[Look, LeftRace]]:
        """The trials that left, each with its look, by trial id."""
        return {each.trial_id: (look, each) for look in self.looks for each in look.left}

    def reason_of(self, trial_id: str, comparator: str) -> str:
        """The evidence against a trial that left, in words; `comparator` is the name of the trial it is worse than."""
        look, each = self.left[trial_id]
        return (
            f"left the race after {look.questions:,} of {len(self.order):,} questions, worse by "
            f"{-each.difference:.3f} [{max(-each.high, 0.0):.3f}, {-each.low:.3f}] than {comparator}"
        )

    @property
    def summary(self) -> str:
        """The outcome in a sentence or two, with what it means for the comparison; empty while no look was decided."""
        done = [look for look in self.looks if look.is_done]
        if not done:
            return ""
        left = (
            f"A race by {self.metric}: {len(self.left)} trial(s) left at {len(done)} look(s), each shown to be worse "
            f"than another, at an error of {100 * self.error:g} % over all trials and looks."
        )
        return f"{left} Factors are compared among the others alone." if self.left else left

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
