"""Answers to questions, their scores, and the evaluation of a trial, which has both.

A failure is recorded, not replaced by a value: if `failure` is set, the text or score is None and left out of means.
`from_json` ignores unknown fields and reads records of version 0.1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from dream.metrics import is_judged
from dream.records.failures import Failure, failure_from_json
from dream.records.fields import fields_in
from dream.records.questions import Source


@dataclass(frozen=True)
class Passage:
    """One retrieved piece of text, as the LLM saw it.

    `page_label` names all pages of the text, e.g. "3" or "3-5" (in records of version 0.1 only the first), and is empty
    for a file without pages. `score` is the retriever's similarity (its scale depends on the retriever), None if it
    reports none. `tokens` is counted by `dream.tokens.count_tokens`. `is_cut`: the passage was longer than the RAG
    method's `context_tokens`, and the text is its beginning; its pages are those of the whole passage. `file_digest` is
    the file's SHA-256; `start` and `end` are the passage's characters in the text of all the file's pages
    (`dream.documents.merge_pages`), None if unknown.
    """

    text: str
    file_name: str = ""
    page_label: str = ""
    score: float | None = None
    tokens: int = 0
    is_cut: bool = False
    file_digest: str = ""
    start: int | None = None
    end: int | None = None

    @property
    def sources(self) -> frozenset[Source]:
        """The file with each page of the text, one `Source` per page.

        Example:
            >>> sorted(source.page for source in Passage("17 m deep", "wells.pdf", "3-5").sources)
            ['3', '4', '5']
        """
        return frozenset(Source(self.file_name, self.page_label).pages)

    @property
    def location(self) -> str:
        """The file, with its page or pages as a URI fragment (RFC 8118) where the file has pages.

        Example:
            >>> Passage("17 m deep", "wells.pdf", "3").location, Passage("42 m high", "mast.md").location
            ('wells.pdf#page=3', 'mast.md')
        """
        return f"{self.file_name}#page={self.page_label.replace(', ', ',')}" if self.page_label else self.file_name


@dataclass(frozen=True)
class Answer:
    """A query engine's answer to one question.

    Attributes:
        text: None if and only if `failure` is set.
        contexts: the retrieved passages, in the order of the prompt.
        latency_seconds: the time from question to answer, as for a single user and without a cache.
        prompt_tokens, completion_tokens: as reported by the endpoint, including thinking; if it reports none, DREAM's
            estimates, and `tokens_are_estimated` is True. None for an answer without an LLM call.
        retrieval_seconds: the part of the latency before the LLM call; None if it was not measured.
        started_at: the time of the question in seconds since 1970; None if unknown.
        thinking: the LLM's thinking before the answer, if the endpoint returns it; it is not judged.
        is_cut: True if the answer reached the token limit (DREAM_MAX_ANSWER_TOKENS).
    """

    question_id: str
    text: str | None
    contexts: tuple[Passage, ...] = ()
    latency_seconds: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failure: Failure | None = None
    retrieval_seconds: float | None = None
    started_at: float | None = None
    thinking: str = ""
    is_cut: bool = False
    tokens_are_estimated: bool = False

    @property
    def error(self) -> str | None:
        """The reason of the failure in one line, None without a failure."""
        return self.failure.reason if self.failure else None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Answer":
        """The inverse of `to_json`."""
        contexts = tuple(Passage(**fields_in(Passage, passage)) for passage in data["contexts"])
        return cls(**{**fields_in(cls, data), "contexts": contexts, "failure": failure_from_json(data)})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "failure": self.failure and self.failure.to_json()}


@dataclass(frozen=True)
class Score:
    """The score of one answer on one metric.

    Attributes:
        value: in the range of the metric, mostly 0 (worst) to 1 (best); None if and only if `failure` is set.
        reason: the judge's explanation, if it gives one.
        not_applicable: the reason why the metric has no value for this question, for any answer; it is neither a score
            nor a failure. Empty otherwise.
        repeat: the number of the judgement, 0 for the first; further ones measure the judge's noise.
        seconds: the duration of the judgement; None if it was not measured.
    """

    question_id: str
    metric: str
    value: float | None
    reason: str | None = None
    failure: Failure | None = None
    repeat: int = 0
    seconds: float | None = field(default=None, compare=False)
    not_applicable: str = ""

    @property
    def error(self) -> str | None:
        """The reason of the failure in one line, None without a failure."""
        return self.failure.reason if self.failure else None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Score":
        """The inverse of `to_json`."""
        return cls(**{**fields_in(cls, data), "failure": failure_from_json(data, judging=True)})

    def to_json(self) -> dict[str, Any]:
        kept = {name: value for name, value in asdict(self).items() if value or name != "not_applicable"}
        return {**kept, "failure": self.failure and self.failure.to_json()}


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric, with the numbers of scored and failed answers, and of questions to which it does not apply.
    `mean` is None if nothing was scored."""

    metric: str
    mean: float | None
    n_scored: int
    n_failed: int
    n_not_applicable: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The answers and scores of a trial, in the order of the golden dataset.

    `repeats` are repeated judgements of some answers (`Score.repeat` > 0), which are left out of means.
    """

    answers: tuple[Answer, ...]
    scores: tuple[Score, ...]
    repeats: tuple[Score, ...] = ()

    def summaries(self) -> tuple[MetricSummary, ...]:
        """The summary of each metric, in the order of the scores."""
        return tuple(self._summary(metric) for metric in dict.fromkeys(score.metric for score in self.scores))

    def _summary(self, metric: str) -> MetricSummary:
        scores = [score for score in self.scores if score.metric == metric]
        scored = [score.value for score in scores if score.value is not None]
        mean = math.fsum(scored) / len(scored) if scored else None
        outside = sum(bool(score.not_applicable) for score in scores)
        return MetricSummary(metric, mean, len(scored), len(scores) - len(scored) - outside, outside)

    def redacted(self, secrets: Sequence[str]) -> "Evaluation":
        """A copy in which `***` replaces each secret in the failures."""
        answers = tuple(_redacted(answer, secrets) for answer in self.answers)
        scores, repeats = (tuple(_redacted(score, secrets) for score in part) for part in (self.scores, self.repeats))
        return Evaluation(answers, scores, repeats)

    def to_json(self) -> dict[str, Any]:
        return {
            "answers": [answer.to_json() for answer in self.answers],
            "scores": [score.to_json() for score in self.scores],
            "repeats": [score.to_json() for score in self.repeats],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_json`."""
        scores, repeats = (tuple(map(Score.from_json, data.get(part) or ())) for part in ("scores", "repeats"))
        return cls(tuple(map(Answer.from_json, data["answers"])), scores, repeats)


@dataclass(frozen=True)
class Repeats:
    """Repeated judgements: answers to the questions in `question_ids` are judged `times` times, all others once."""

    times: int = 1
    question_ids: tuple[str, ...] = ()

    def missing(self, question: Evaluation, metrics: Sequence[str]) -> list[int]:
        """The repeat numbers of the judgements that an evaluation of a single question lacks on these metrics."""
        judged = {name for name in metrics if is_judged(name)}
        answer = next(iter(question.answers), None)
        if answer is None or answer.failure or answer.question_id not in self.question_ids:
            return []
        scored = {(score.repeat, score.metric) for score in question.repeats if score.failure is None}
        return [repeat for repeat in range(1, self.times) if not {(repeat, metric) for metric in judged} <= scored]


JUDGED_ONCE = Repeats()
_Failing = TypeVar("_Failing", Answer, Score)


def _redacted(record: _Failing, secrets: Iterable[str]) -> _Failing:
    return replace(record, failure=record.failure.redacted(secrets)) if record.failure else record
