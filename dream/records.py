"""The nouns that cross rooms, as frozen dataclasses; everything else in DREAM is verbs over them.

A failure is a value here: `Answer.error`, `Score.error`, `TrialResult.error`. Where `error` is set,
the text or the number beside it is `None`, and no mean counts it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dream.errors import BudgetError

# The query engines of baselines, which are run beside the trials of an experiment and never ranked.
CLOSED_BOOK, ORACLE = "closed_book", "oracle"


def digest(value: Any) -> str:
    """A stable SHA-256 of any JSON value: key order and white space do not matter.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class GoldenQuestion:
    """One question of the golden dataset with the answer that counts as right.

    `id` is stable for the same question and ground truth; results are paired by it.
    `reference_contexts`, `source_file`, `source_page` (1-based) and `synthesizer` are empty where the user's own
    dataset does not have them. A question made of several places names each, in the same order, joined by "; ".
    """

    id: str
    question: str
    ground_truth: str
    reference_contexts: tuple[str, ...] = ()
    source_file: str = ""
    source_page: str = ""
    synthesizer: str = ""

    @staticmethod
    def make_id(question: str, ground_truth: str) -> str:
        """The id of a question: 12 hexadecimal digits from its text and its ground truth."""
        return digest([question, ground_truth])[:12]


@dataclass(frozen=True)
class Trial:
    """One combination of RAG method, LLM and embedding model, with all parameters written out.

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
        knobs = ("query_engine_identifier", "llm_identifier", "embed_model_identifier")
        parameters = {name: value for name, value in config.items() if name not in knobs}
        return cls(config[knobs[0]], config[knobs[1]], config[knobs[2]], parameters)

    @property
    def id(self) -> str:
        """12 hexadecimal digits from the whole configuration; any changed field changes it."""
        return digest(asdict(self))[:12]

    @property
    def name(self) -> str:
        """Readable name. Two trials of one experiment can share it only if they differ in parameters."""
        knobs = (self.query_engine_identifier, self.llm_identifier, self.embed_model_identifier)
        return " + ".join(knob for knob in knobs if knob)

    @property
    def is_baseline(self) -> bool:
        """Whether it answers without retrieving anything."""
        return self.query_engine_identifier in (CLOSED_BOOK, ORACLE)

    def config(self) -> dict[str, Any]:
        """The trial as the flat dictionary that `experiment(config)` takes and MLflow logs."""
        return {
            "query_engine_identifier": self.query_engine_identifier,
            "llm_identifier": self.llm_identifier,
            "embed_model_identifier": self.embed_model_identifier,
            **self.parameters,
        }


@dataclass(frozen=True)
class Passage:
    """One retrieved piece of text, as the LLM saw it. `score` is the retriever's, None if it gives none."""

    text: str
    file_name: str = ""
    page_label: str = ""
    score: float | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """What a query engine answered to one question.

    `text` is None exactly when `error` is set. Tokens are None where the model did not report them.
    `retrieval_seconds` is the part of the latency before the LLM was asked, `started_at` (seconds since 1970) when
    the question was asked; None where they were not measured.
    """

    question_id: str
    text: str | None
    contexts: tuple[Passage, ...] = ()
    latency_seconds: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    retrieval_seconds: float | None = None
    started_at: float | None = None


@dataclass(frozen=True)
class Score:
    """One metric of one answer, 0 (worst) to 1 (best); None exactly when `error` says why.

    `repeat` numbers the judgement: 0 is the first, the others repeat it to measure the judge's noise.
    `seconds` is how long the judgement was waited for, None where it was not measured.
    """

    question_id: str
    metric: str
    value: float | None
    reason: str | None = None
    error: str | None = None
    repeat: int = 0
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MetricSummary:
    """A mean that never travels without its counts. `mean` is None when nothing was scored."""

    metric: str
    mean: float | None
    n_scored: int
    n_failed: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluator` gives back: answers and scores in the order of the golden dataset.

    `repeats` are further judgements of some of the answers, with their numbers; no mean counts them.
    """

    answers: tuple[Answer, ...]
    scores: tuple[Score, ...]
    repeats: tuple[Score, ...] = ()

    def summaries(self) -> tuple[MetricSummary, ...]:
        """Mean, number scored and number failed for each metric, in the order of the first score."""
        return tuple(self._summary(metric) for metric in dict.fromkeys(score.metric for score in self.scores))

    def _summary(self, metric: str) -> MetricSummary:
        values = [score.value for score in self.scores if score.metric == metric]
        scored = [value for value in values if value is not None]
        mean = sum(scored) / len(scored) if scored else None
        return MetricSummary(metric, mean, len(scored), len(values) - len(scored))


@dataclass(frozen=True)
class TrialResult:
    """Everything known of one trial. `error` is set when the trial as a whole failed.

    `usage` counts the model calls of the trial by model and stage, as the gateway metered them.
    """

    trial: Trial
    evaluation: Evaluation | None = None
    seconds: float = 0.0
    n_nodes: int | None = None
    usage: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None

    @property
    def stopped_at_budget(self) -> bool:
        """Whether a ceiling ended it, so that it can go on where there is more to spend."""
        return (self.error or "").startswith(BudgetError.__name__)


@dataclass(frozen=True)
class GoldenDataset:
    """The questions that all trials are asked, with where they are and the digest that identifies them."""

    questions: tuple[GoldenQuestion, ...]
    uri: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all questions; two datasets with the same digest are the same."""
        return digest([asdict(question) for question in self.questions])


@dataclass(frozen=True)
class ExperimentResult:
    """A whole experiment: what was run (`manifest`, plain JSON) and every trial's result, in grid order.

    `usage` is the gateway's meter over all its runs, one row an endpoint, model, stage and trial; rows without a
    trial are of what trials share, such as indexes. `baselines` are closed-book and oracle for each LLM, where they
    were asked for: what the trials' losses are measured against, and no part of any ranking.
    """

    name: str
    manifest: Mapping[str, Any]
    results: tuple[TrialResult, ...]
    usage: tuple[Mapping[str, Any], ...] = ()
    baselines: tuple[TrialResult, ...] = ()

    @property
    def stopped(self) -> str | None:
        """Why the experiment ended before it was done, such as its budget; None where it did not."""
        return next((one.error for one in (*self.results, *self.baselines) if one.stopped_at_budget), None)
