"""The manifest of an experiment: its configuration and environment, saved before it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from dream.errors import DataError
from dream.metrics import Metric
from dream.records.answers import JUDGED_ONCE, Repeats
from dream.records.confirmation import HoldOut
from dream.records.questions import GoldenDataset, GoldenQuestion
from dream.records.race import Race
from dream.records.search import Search
from dream.records.sift import Sift
from dream.records.trials import Trial
from dream.records.usage import Plan

# The format of manifests; increment it when the meaning of a field changes. Version 0.1 wrote no format.
FORMAT = 2


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster of an experiment. `address` is "local" for a cluster that DREAM started."""

    address: str
    nodes: int
    cpus: int

    @property
    def trials_at_once(self) -> int:
        """The number of concurrent trials: one per CPU, but at least two, so that the endpoints stay busy while a trial
        starts or ends.

        Example:
            >>> Cluster("local", nodes=1, cpus=1).trials_at_once, Cluster("ray://head", nodes=3, cpus=8).trials_at_once
            (2, 8)
        """
        return max(2, self.cpus)


@dataclass(frozen=True)
class DocumentSet:
    """The documents of an experiment: their URI, and a digest that identifies their contents."""

    uri: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Objective:
    """The rule for the choice: the metric to rank by (empty for the default), and the largest acceptable loss against
    the best trial (0 to 1; None for the default)."""

    metric: str = ""
    margin: float | None = None


@dataclass(frozen=True)
class Manifest:
    """The configuration and environment of an experiment at its start.

    Attributes:
        baselines, repeats: may be added by a later run of the same experiment.
        strictness: the number of questions that answer_relevancy derives from each answer.
        offline: true if all models are offline models.
        started: with time zone; None if unknown.
        engine: the engine that it was started on, "ray" or "in_process".
        cluster: None for the engine "in_process".
        endpoints: the base URL of each model's endpoint, by model identifier.
        forms: deviations of requests from what clients write, by model identifier (`dream.models.request_forms`).
        versions: those of Python, the packages and DREAM's git commit (see `dream.runtime.provenance`).
        objective: the default rule by which a comparison chooses.
        study: the text of the study file that the experiment was started with, if any.
        plan: None if the documents were too large to count for it, and no earlier plan had counted them.
        own_metrics: the definitions of the user's own metrics, without their functions.
        search: how the trials were chosen from the search space.
        sift: the trials that were left out before the experiment; None without a sift. `trials` are the remaining ones.
        hold_out: the questions that were held out of the search, which `golden_dataset` does not contain; None without
            any.
        race: the trials that were stopped before they had answered all questions, with reasons; None without a race.
    """

    name: str
    golden_dataset: GoldenDataset
    metrics: tuple[str, ...]
    trials: tuple[Trial, ...] = ()
    baselines: tuple[Trial, ...] = ()
    judge_llm: str = ""
    judge_embed_model: str = ""
    strictness: int = 1
    repeats: Repeats = JUDGED_ONCE
    documents: DocumentSet = DocumentSet()
    offline: bool = False
    started: datetime | None = None
    engine: str = "ray"
    cluster: Cluster | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    objective: Objective = field(default_factory=Objective)
    study: str = ""
    own_metrics: tuple[Metric, ...] = ()
    sift: Sift | None = None
    search: Search = field(default_factory=Search)
    hold_out: HoldOut | None = None
    race: Race | None = None

    @property
    def questions(self) -> tuple[GoldenQuestion, ...]:
        """All golden questions."""
        return self.golden_dataset.questions

    @property
    def n_trials(self) -> int:
        """The number of trials; for an unfinished search in rounds its maximum, if known."""
        return max(len(self.trials), self.search.trials or 0) if self.search.is_open else len(self.trials)

    def to_json(self) -> dict[str, Any]:
        golden = self.golden_dataset
        return {
            "format": FORMAT,
            "name": self.name,
            "started": self.started.isoformat(timespec="seconds") if self.started else None,
            "offline": self.offline,
            "trials": [trial.to_json() for trial in self.trials],
            "baselines": [trial.to_json() for trial in self.baselines],
            "metrics": list(self.metrics),
            "own_metrics": [metric.to_json() for metric in self.own_metrics],
            "judge_llm": self.judge_llm,
            "judge_embed_model": self.judge_embed_model,
            "strictness": self.strictness,
            "repeats": asdict(self.repeats),
            "endpoints": dict(self.endpoints),
            "forms": {identifier: dict(form) for identifier, form in self.forms.items()},
            "documents": asdict(self.documents),
            "golden_dataset": {
                "uri": golden.uri,
                "digest": golden.digest,
                "questions": [question.to_row() for question in golden.questions],
            },
            "engine": self.engine,
            "cluster": asdict(self.cluster) if self.cluster else None,
            "versions": dict(self.versions),
            "plan": self.plan.to_json() if self.plan else None,
            "objective": asdict(self.objective),
            "study": self.study,
            "search": self.search.to_json(),
            **({"sift": self.sift.to_json()} if self.sift else {}),
            **({"hold_out": self.hold_out.to_json()} if self.hold_out else {}),
            **({"race": self.race.to_json()} if self.race else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Manifest":
        """The inverse of `to_json`. Manifests of version 0.1 can be read too; unknown fields are ignored.

        Raises:
            DataError: for a format of a later version.
        """
        if data.get("format", 1) > FORMAT:
            raise DataError(
                f"experiment {data.get('name')!r} was written by a later version of DREAM (format {data['format']}; "
                f"this one reads formats up to {FORMAT}): install that version to read it"
            )
        golden, repeats, documents = data["golden_dataset"], data.get("repeats"), data.get("documents") or {}
        cluster, plan = data.get("cluster"), data.get("plan")
        return cls(
            name=data["name"],
            golden_dataset=GoldenDataset(
                tuple(map(GoldenQuestion.from_row, golden["questions"])), golden.get("uri") or ""
            ),
            metrics=tuple(data["metrics"]),
            trials=tuple(map(Trial.from_json, data.get("trials", ()))),
            baselines=tuple(map(Trial.from_json, data.get("baselines", ()))),
            judge_llm=data.get("judge_llm", ""),
            judge_embed_model=data.get("judge_embed_model", ""),
            strictness=data.get("strictness", 1),
            repeats=Repeats(repeats["times"], tuple(repeats["question_ids"])) if repeats else JUDGED_ONCE,
            documents=DocumentSet(documents.get("uri", ""), documents.get("digest", "")),
            offline=bool(data.get("offline", False)),
            started=_moment(data.get("started")),
            engine=data.get("engine", "ray"),
            cluster=Cluster(cluster["address"], cluster["nodes"], cluster["cpus"]) if cluster else None,
            endpoints=dict(data.get("endpoints", {})),
            forms=dict(data.get("forms", {})),
            versions=dict(data.get("versions", {})),
            plan=Plan.from_json(plan) if plan else None,
            objective=Objective(**data.get("objective", {})),
            study=data.get("study", ""),
            own_metrics=tuple(map(Metric.from_json, data.get("own_metrics", ()))),
            sift=Sift.from_json(data["sift"]) if data.get("sift") else None,
            search=Search.from_json(data.get("search", {})),
            hold_out=HoldOut.from_json(data["hold_out"]) if data.get("hold_out") else None,
            race=Race.from_json(data["race"]) if data.get("race") else None,
        )


def _moment(text: str | None) -> datetime | None:
    moment = datetime.fromisoformat(text) if text else None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
