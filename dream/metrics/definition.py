"""`Metric`: the definition of a metric, with its inputs, its cost and its possible values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dream.runtime.by_value import ByValue


@dataclass(frozen=True)
class Metric:
    """One metric; higher values are better, unless `lower_is_better`.

    Args:
        question: the question that the metric answers.
        meaning: the computation of the value.
        low_value: possible causes of a low value.
        arguments: the arguments of the metric's `ascore`, by ragas' names; `reference` is the ground truth, `evidence`
            its locations in the documents.
        embedded: the arguments that are embedded.
        judge_calls: calls of the judge LLM per answer.
        calls_a_passage: further calls per retrieved passage.
        calls_a_derived_question: further calls per question that is derived from the answer; there are `strictness`
            such questions, which are embedded too.
        range: the possible values, as text.
        bounds: the smallest and the largest possible value.
        cutoff: the number of top passages that a retrieval metric uses; None for all.
        lower_is_better: trials are compared by 1 - value.
        source: for a user's own metric, the SHA-256 of its `function`, its `rubric` (descriptions of levels, the worst
            first) or its `criterion`, a yes/no question; empty for a built-in metric.
        function: None if unavailable, as in a loaded experiment.
    """

    name: str
    question: str
    meaning: str
    low_value: str
    arguments: tuple[str, ...]
    embedded: tuple[str, ...] = ()
    judge_calls: int = 0
    calls_a_passage: int = 0
    calls_a_derived_question: int = 0
    range: str = "0 to 1"
    bounds: tuple[float, float] = (0.0, 1.0)
    cutoff: int | None = None
    lower_is_better: bool = False
    source: str = ""
    rubric: tuple[str, ...] = ()
    criterion: str = ""
    function: ByValue | None = field(default=None, repr=False, compare=False)

    @property
    def judged(self) -> bool:
        """True if the metric calls the judge LLM. Otherwise repeated judgements are equal."""
        return self.calls(strictness=1, passages=1) > 0

    @property
    def derives_questions(self) -> bool:
        """True if the judge derives questions from the answer, which are then embedded."""
        return self.calls_a_derived_question > 0

    @property
    def needs_answer(self) -> bool:
        """True if the value depends on the answer."""
        return "response" in self.arguments

    @property
    def needs_contexts(self) -> bool:
        """True if the value depends on the retrieved contexts."""
        return "retrieved_contexts" in self.arguments

    @property
    def needs_reference(self) -> bool:
        """True if the value depends on the ground truth."""
        return "reference" in self.arguments

    @property
    def needs_evidence(self) -> bool:
        """True if the value depends on the evidence, the locations of the ground truth in the documents."""
        return "evidence" in self.arguments

    @property
    def has_cutoff(self) -> bool:
        """True for a retrieval metric, whose name may end with a cutoff: `recall@5`."""
        return self.needs_evidence and not self.needs_answer

    def calls(self, strictness: int, passages: float) -> float:
        """The calls of the judge LLM per answer.

        Args:
            strictness: the number of derived questions.
            passages: the (mean) number of retrieved passages.
        """
        return self.judge_calls + self.calls_a_derived_question * strictness + self.calls_a_passage * passages

    def to_json(self) -> dict[str, Any]:
        """All fields except the function."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "function"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Metric":
        """The inverse of `to_json`; unknown fields are ignored."""
        names = {each.name for each in fields(cls)}
        fields_of_metric: dict[str, Any] = {}
        for name in names & data.keys():
            fields_of_metric[name] = tuple(data[name]) if isinstance(data[name], list) else data[name]
        return cls(**fields_of_metric)

    def at(self, cutoff: int) -> "Metric":
        """The same metric over the first `cutoff` retrieved passages, such as `recall@5`."""
        meaning = self.meaning.replace("retrieved passages", f"first {cutoff} retrieved passages")
        return replace(self, name=f"{self.name}@{cutoff}", meaning=meaning, cutoff=cutoff)
