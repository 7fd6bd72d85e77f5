"""A sift: retrieval is scored without a judge before the trials, and decides which of them run
(`dream.experiments.sift`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dream.records.fields import fields_in
from dream.records.trials import Trial


@dataclass(frozen=True)
class SiftedRetrieval:
    """A combination of RAG method, embedding model and retrieval parameters that several trials may share.

    Attributes:
        trial: the combination as a trial without parameters of answering; it is not one of the experiment's trials.
        trials: the ids of the trials that share it.
        goes_on: False if it was sifted out, so that its trials do not run.
        reason: the reason for this decision, as text.
        means: the mean of each retrieval metric over `n_scored` questions; empty without scores.
        difference: to the best retrieval on the sift's metric, with its confidence interval from `low` to `high`; None
            for the best, and without scores.
    """

    trial: Trial
    trials: tuple[str, ...]
    goes_on: bool
    reason: str
    n_scored: int = 0
    means: Mapping[str, float | None] = field(default_factory=dict)
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def compared(self) -> str:
        """The difference to the best with its interval as text, or the reason why there is none."""
        if self.difference is None or self.low is None or self.high is None:
            return "best" if self.means else self.reason
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SiftedRetrieval":
        """The inverse of `asdict`."""
        return cls(**{**fields_in(cls, data), "trial": Trial.from_json(data["trial"]), "trials": tuple(data["trials"])})


@dataclass(frozen=True)
class Sift:
    """The sift of an experiment.

    Attributes:
        metric: the retrieval metric that decides.
        is_done: False until it has run.
        n_questions: the number of its questions, those whose evidence can be located; 0 if all trials share one
            combination.
        retrievals: the best first.
        left_out: the trials that were sifted out, which are not among the experiment's trials.
        untried: the reasons why trials cannot be sifted, by trial id; these trials run.
    """

    metric: str
    is_done: bool = False
    n_questions: int = 0
    retrievals: tuple[SiftedRetrieval, ...] = ()
    left_out: tuple[Trial, ...] = ()
    untried: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One or two sentences about the outcome; empty before it."""
        if not self.is_done:
            return ""
        if not self.n_questions:
            return (
                f"There was nothing to sift by {self.metric}: all trials that can be sifted retrieve in the same way."
            )
        n_kept, n_sifted = sum(each.goes_on for each in self.retrievals), sum(len(e.trials) for e in self.retrievals)
        text = (
            f"Sifted by {self.metric} on {self.n_questions} questions, without LLM answers and judge: {n_kept} of "
            f"{len(self.retrievals)} retrieval combinations remain, and {len(self.left_out)} of "
            f"{n_sifted} trials were left out."
        )
        return (
            f"{text} {len(self.untried)} further trials could not be sifted, and remain too." if self.untried else text
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Sift":
        """The inverse of `to_json`; unknown fields are ignored."""
        retrievals = tuple(map(SiftedRetrieval.from_json, data.get("retrievals", ())))
        left_out = tuple(map(Trial.from_json, data.get("left_out", ())))
        return cls(**{**fields_in(cls, data), "retrievals": retrievals, "left_out": left_out})
