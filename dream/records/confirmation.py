"""Questions that are held out of a search, and the confirmation of its choice on them.

See `dream.golden.hold_out`, `dream.experiments.confirmation` and `dream.comparison.held_out`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from dream.records.questions import GoldenDataset, GoldenQuestion
from dream.records.trials import INCUMBENT, Trial, full_name


@dataclass(frozen=True)
class HoldOut:
    """The questions that only the chosen trial, its runner-up and the incumbent answer, after the search.

    Attributes:
        share: the requested share of the golden dataset; `seed` determines the documents.
        questions: all questions of some documents; empty until the golden dataset is split.
        whole_digest: the digest of the golden dataset before it was split.
        n_documents, n_searched: the documents of these questions, and of the others; a question without a source
            counts as one.
    """

    share: float
    seed: int = 0
    questions: tuple[GoldenQuestion, ...] = ()
    whole_digest: str = ""
    n_documents: int = 0
    n_searched: int = 0

    @property
    def golden_dataset(self) -> GoldenDataset:
        """The held-out questions as a dataset."""
        return GoldenDataset(self.questions)

    def announcement(self, trials: Sequence[Trial], n_questions: int) -> str:
        """A sentence about the held-out questions, and those that remain for the search."""
        return (
            f"held out: {len(self.questions)} questions from {self.n_documents} documents; the search uses the other "
            f"{n_questions} from {self.n_searched}, and then {most_confirmed(trials)} trial(s) answer the held-out "
            f"ones: the recommended one, the runner-up and the incumbent"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "questions": [question.to_row() for question in self.questions]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "HoldOut":
        """The inverse of `to_json`."""
        return cls(**{**data, "questions": tuple(map(GoldenQuestion.from_row, data["questions"]))})


def most_confirmed(trials: Sequence[Trial]) -> int:
    """The maximum number of trials that answer the held-out questions."""
    return min(len(trials), 2 + any(trial.parameters.get(INCUMBENT) for trial in trials))


class Role(StrEnum):
    """The reason why a trial answers the held-out questions."""

    RECOMMENDED = "recommended"
    RUNNER_UP = "runner-up"
    INCUMBENT = "incumbent"


class Verdict(StrEnum):
    """The outcome of a confirmation."""

    SURVIVES = "survives"
    DOES_NOT_SURVIVE = "does not survive"
    TOO_FEW = "too few to say"


@dataclass(frozen=True)
class ConfirmedTrial:
    """A trial's means on the questions of the search, and on the held-out ones.

    Attributes:
        parameters: those that distinguish the trial from others of the same name.
        searched, held_out: both means; `low` and `high` are the 95 % confidence limits of `held_out`.
        n_scored: the number of held-out questions with a score.
        difference: recommended trial minus this one on the held-out questions, with the limits `least` and `most`,
            which are simultaneous over all trials of the confirmation; None for the recommended trial.
    """

    trial: Trial
    role: Role
    searched: float
    held_out: float
    low: float
    high: float
    n_scored: int
    parameters: str = ""
    difference: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def name(self) -> str:
        """The trial's name, with the parameters that distinguish it."""
        return full_name(self.trial, self.parameters)

    @property
    def shrinkage(self) -> float:
        """The decrease of the mean from the search to the held-out questions."""
        return self.searched - self.held_out


@dataclass(frozen=True)
class Confirmation:
    """The recommended trial first, then the runner-up and the incumbent; `margin` is the largest acceptable loss."""

    metric: str
    margin: float
    n_questions: int
    n_documents: int
    trials: tuple[ConfirmedTrial, ...]
    verdict: Verdict

    @property
    def recommended(self) -> ConfirmedTrial:
        """The recommended trial, which was to be confirmed."""
        return self.trials[0]

    @property
    def text(self) -> str:
        """The outcome in sentences."""
        chosen, first = self.recommended, f"On {self.n_questions} questions from {self.n_documents} documents that"
        told = (
            f"{first} the search never saw, the recommended trial has {chosen.held_out:.3f} "
            f"[{chosen.low:.3f}, {chosen.high:.3f}], compared with {chosen.searched:.3f} on the questions of the "
            f"search (a shrinkage of {chosen.shrinkage:+.3f})."
        )
        others = "; ".join(
            f"{each.difference:+.3f} [{each.least:+.3f}, {each.most:+.3f}] to the {each.role}"
            for each in self.trials[1:]
        )
        return f"{told} {_MEANING[self.verdict].format(margin=self.margin)}{f': {others}' if others else ''}."

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Confirmation":
        """The inverse of `to_json`."""
        trials = tuple(
            ConfirmedTrial(**{**each, "trial": Trial.from_json(each["trial"]), "role": Role(each["role"])})
            for each in data["trials"]
        )
        return cls(**{**data, "trials": trials, "verdict": Verdict(data["verdict"])})


_MEANING = {
    Verdict.SURVIVES: "The choice is confirmed (not worse than the others by the margin of {margin:.2f})",
    Verdict.DOES_NOT_SURVIVE: "The choice is not confirmed (another trial is shown to be better)",
    Verdict.TOO_FEW: "The confirmation is inconclusive (a loss above the margin of {margin:.2f} is not ruled out)",
}
