"""Trials and their results: answers, scores, and whole experiments.

A failure is recorded, not replaced by a value: if `failure` is set, the text or score is None and is in no mean.
`from_json` ignores unknown fields and reads records of version 0.1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dream.defaults import FACTORS
from dream.metrics import is_judged
from dream.records.failures import Failure, FailureKind, failure_from_json
from dream.records.questions import Source, digest
from dream.records.usage import UsageRow

if TYPE_CHECKING:
    from dream.records.manifest import Manifest

# The query engine identifiers of baselines, which run beside the trials of an experiment and are never ranked.
CLOSED_BOOK, ORACLE = "closed_book", "oracle"
_IDENTIFIERS = ("query_engine_identifier", "llm_identifier", "embed_model_identifier")


MOST_OF_A_VALUE = 60
# The parameter of the user's own system that is in use.
INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Trial:
    """One combination of RAG method, LLM, embedding model and parameters.

    `parameters` holds the RAG method's own parameters (chunk sizes, top_k, ...), defaults included. A baseline has
    neither parameters nor an embedding model (its identifier is empty).
    """

    query_engine_identifier: str
    llm_identifier: str
    embed_model_identifier: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", frozen)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Trial":
        """The inverse of `config()`."""
        parameters = {name: value for name, value in config.items() if name not in _IDENTIFIERS}
        return cls(**{name: config[name] for name in _IDENTIFIERS}, parameters=parameters)

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the whole configuration."""
        return digest(asdict(self))[:12]

    @property
    def name(self) -> str:
        """RAG method, LLM and embedding model, joined by " + "; trials with other parameters have the same name."""
        identifiers = (self.query_engine_identifier, self.llm_identifier, self.embed_model_identifier)
        return " + ".join(identifier for identifier in identifiers if identifier)

    @property
    def is_baseline(self) -> bool:
        """True for a closed-book or oracle trial, which retrieves nothing."""
        return self.query_engine_identifier in (CLOSED_BOOK, ORACLE)

    def config(self) -> dict[str, Any]:
        """Identifiers and parameters as one flat dictionary, as `experiment(config)` takes it and MLflow logs it."""
        return {**{name: getattr(self, name) for name in _IDENTIFIERS}, **self.parameters}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Trial":
        """The inverse of `to_json`."""
        return cls(**fields_in(cls, data))


def telling_parameters(trials: Iterable[Trial]) -> dict[str, str]:
    """The parameters that tell trials of the same name apart, by trial id, and the word for the incumbent; empty where
    the name is enough.

    Example:
        >>> trials = [Trial("mmr", "gpt-4o", "bge", {"top_k": k, "chunk_size": 256}) for k in (3, 5)]
        >>> list(telling_parameters(trials).values())
        ['top_k=3', 'top_k=5']
    """
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(trial.name, []).append(trial)
    found = {}
    for group in alike.values():
        names = dict.fromkeys(name for trial in group for name in trial.parameters)
        values = {name: [trial.parameters.get(name, FACTORS.get(name)) for trial in group] for name in names}
        telling = [name for name in names if any(value != values[name][0] for value in values[name])]
        for place, trial in enumerate(group):
            texts = [f"{name}={shortened(values[name][place])}" for name in telling if name != INCUMBENT]
            found[trial.id] = ", ".join([*([INCUMBENT] if trial.parameters.get(INCUMBENT) else []), *texts])
    return found


def full_name(trial: Trial, parameters: str) -> str:
    """A trial's name, with the `telling_parameters` that it has."""
    return f"{trial.name} ({parameters})" if parameters else trial.name


def shortened(value: Any) -> str:
    """A value in one line, the beginning of a long one, such as a prompt."""
    text = " ".join(str(value).split())
    return text if len(text) <= MOST_OF_A_VALUE else f"{text[:MOST_OF_A_VALUE]}..."


@dataclass(frozen=True)
class Passage:
    """One retrieved piece of text, as the LLM saw it.

    `page_label` names all pages that the text is on, e.g. "3" or "3-5" (in records of version 0.1 only the first), and
    is empty for a file without pages. `score` is the retriever's similarity (its scale depends on the retriever), None
    if it reports none. `tokens` is counted by `dream.tokens.count_tokens`. `is_cut`: the passage was longer than the
    RAG method's `context_tokens`, and the text is its beginning; its pages are those of the whole. `file_digest` is the
    file's SHA-256; `start` and `end` are the passage's characters in the text of all the file's pages
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
        """The file with each page that the text is on, one `Source` a page.

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
        latency_seconds: from question to answer, as for a single user and without a cache.
        prompt_tokens, completion_tokens: as the endpoint reports them, thinking included; where it does not, estimates
            of DREAM's, and `tokens_are_estimated` is True. None for an answer without an LLM call.
        retrieval_seconds: the part of the latency before the LLM call; None if it was not measured.
        started_at: the time of the question in seconds since 1970; None if unknown.
        thinking: what the LLM thought before the answer, where the endpoint gives it; it is not judged.
        is_cut: the limit of tokens ended the answer (DREAM_MAX_ANSWER_TOKENS).
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
        not_applicable: the reason why the metric has no value for this question, whatever is answered; it is neither a
            score nor a failure. Empty for all others.
        repeat: the number of the judgement; 0 is the first, further ones measure the judge's noise.
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
    """The mean of a metric with the number of scored and failed answers, and of questions that it does not apply to.
    `mean` is None if nothing was scored."""

    metric: str
    mean: float | None
    n_scored: int
    n_failed: int
    n_not_applicable: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The answers and scores of a trial, in the order of the golden dataset.

    `repeats` are repeated judgements of some answers (`Score.repeat` > 0); they are in no mean.
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


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        evaluation: None if the trial failed as a whole; `failure` then has the reason.
        seconds: the duration of the trial.
        n_nodes: the number of nodes in its index; None if unknown.
        usage: the trial's metered model calls, by model and stage.
        taken_from: the name of the earlier experiment that the result was taken over from; empty for a trial that ran.
    """

    trial: Trial
    evaluation: Evaluation | None = None
    seconds: float = 0.0
    n_nodes: int | None = None
    usage: tuple[UsageRow, ...] = ()
    failure: Failure | None = None
    taken_from: str = ""

    @property
    def error(self) -> str | None:
        """The reason of the failure in one line, None without a failure."""
        return self.failure.reason if self.failure else None

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers; empty if the trial failed as a whole."""
        return self.evaluation.answers if self.evaluation else ()

    @property
    def stopped_by_hand(self) -> bool:
        """True if a user stopped the trial: it has neither failed nor a mean, and resuming leaves it as it is."""
        return self.failure is not None and self.failure.kind == FailureKind.STOPPED

    @property
    def left_race(self) -> bool:
        """True if the trial was shown to be worse than another before it was done (`dream.records.Race`)."""
        return self.failure is not None and self.failure.kind == FailureKind.LEFT_RACE

    @property
    def ended_early(self) -> bool:
        """True if the trial was stopped by hand or left a race: on purpose, so that resuming leaves it as it is."""
        return self.stopped_by_hand or self.left_race

    @property
    def has_failed(self) -> bool:
        """True if the trial has no evaluation for another reason than that it was ended on purpose."""
        return self.failure is not None and not self.ended_early

    @property
    def was_stopped(self) -> bool:
        """True if the budget or an endpoint that refuses all work ended the trial; it can be resumed."""
        return self.failure is not None and self.failure.kind.stops_experiment

    def redacted(self, secrets: Sequence[str]) -> "TrialResult":
        """A copy in which `***` replaces each secret in the failures."""
        evaluation = self.evaluation and self.evaluation.redacted(secrets)
        return _redacted(replace(self, evaluation=evaluation), secrets)

    def to_json(self) -> dict[str, Any]:
        summaries = self.evaluation.summaries() if self.evaluation else ()
        nothing = {"answers": None, "scores": None, "repeats": []}
        return {
            "trial_id": self.trial.id,
            "config": self.trial.config(),
            "trial": self.trial.to_json(),
            "failure": self.failure and self.failure.to_json(),
            "seconds": self.seconds,
            "n_nodes": self.n_nodes,
            **({"taken_from": self.taken_from} if self.taken_from else {}),
            "usage": [row.to_json() for row in self.usage],
            "summary": [asdict(summary) for summary in summaries],
            **(self.evaluation.to_json() if self.evaluation else nothing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialResult":
        """The inverse of `to_json`."""
        evaluation = Evaluation.from_json(data) if data["answers"] is not None else None
        usage = tuple(map(UsageRow.from_json, data["usage"]))
        trial = Trial.from_json(data["trial"])
        failure, taken_from = failure_from_json(data), data.get("taken_from", "")
        return cls(trial, evaluation, data["seconds"], data["n_nodes"], usage, failure, taken_from)


@dataclass(frozen=True)
class ExperimentResult:
    """A whole experiment: its manifest and the results of all trials, in the order of the grid.

    Attributes:
        usage: the metered model calls of all runs of the experiment; rows without a trial are calls that trials share,
            such as those for indexes.
        baselines: the closed-book and oracle results for each LLM, if requested; they are never ranked.
        held_out: the results, on the questions that were held out, of the trials that answered them.
    """

    name: str
    manifest: "Manifest"
    results: tuple[TrialResult, ...]
    usage: tuple[UsageRow, ...] = ()
    baselines: tuple[TrialResult, ...] = ()
    held_out: tuple[TrialResult, ...] = ()

    @property
    def stopped(self) -> str | None:
        """The reason why the budget or an endpoint ended the experiment early; None if none did."""
        return next(iter(self.reasons_to_stop), None)

    @property
    def reasons_to_stop(self) -> tuple[str, ...]:
        """The different reasons why trials were stopped, such as two endpoints that refuse all work."""
        everything = (*self.results, *self.baselines, *self.held_out)
        stopped = (result.error for result in everything if result.was_stopped)
        return tuple(dict.fromkeys(reason for reason in stopped if reason))


_Failing = TypeVar("_Failing", Answer, Score, TrialResult)


def _redacted(record: _Failing, secrets: Iterable[str]) -> _Failing:
    return replace(record, failure=record.failure.redacted(secrets)) if record.failure else record


def fields_in(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `data` that are fields of the record type."""
    return {each.name: data[each.name] for each in fields(record) if each.name in data}
