"""Hand-made experiments, logged to an MLflow server, and what the server keeps of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab import MlflowServer

from dream.ray_cluster import Cluster
from dream.records import (
    Answer,
    DocumentSet,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Passage,
    Plan,
    Score,
    Source,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.settings import Settings
from dream.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run

TRIALS = tuple(Trial("chunks_with_overlap", f"llm-{size}@x", "embed@x", {"top_k": 3}) for size in ("small", "large"))
QUESTIONS = tuple(
    GoldenQuestion(f"q{i}", f"Where is number {i}?", f"place {i}", (), (Source(f"{i}.pdf"),)) for i in range(3)
)
METRICS = ("faithfulness", "answer_correctness")
ASKED_AT = 1_790_000_000.0
AT_BUDGET = Failure(
    FailureKind.BUDGET, "BudgetError: stopped at budget: 12 of 12 calls are spent. Nothing that was done is lost"
)
NOT_JSON = Failure(FailureKind.UNREADABLE_JUDGEMENT, "the judge's reply is no JSON")
NO_KEY = Failure(FailureKind.SERVICE, "ServiceError: 401")


def answer(question: GoldenQuestion) -> Answer:
    passages = (
        Passage(f"Number {question.id} is at a place.", question.document, "2", 0.75, 7),
        Passage("Other text.", "other.pdf", "1-3", None, 2, is_cut=True),
    )
    return Answer(question.id, f"At {question.ground_truth}.", passages, 1.5, 100, 10, None, 0.5, ASKED_AT)


def scores(question: GoldenQuestion, correctness: float) -> tuple[Score, ...]:
    correct = Score(question.id, "answer_correctness", correctness, "one of two statements", seconds=2.0)
    return Score(question.id, "faithfulness", None, failure=NOT_JSON, seconds=1.0), correct


def finished(trial: Trial, correctness: float = 0.5, usd: float | None = 0.25) -> TrialResult:
    evaluation = Evaluation(
        tuple(map(answer, QUESTIONS)), tuple(one for question in QUESTIONS for one in scores(question, correctness))
    )
    meter = UsageRow("x", trial.llm_identifier, "answer", trial.id, 3, 1, 2, 0, 0, 300, 30, 200, 20, 1.0, usd, usd)
    return TrialResult(trial, evaluation, 4.0, 20, (meter,))


def experiment(name: str, results: Sequence[TrialResult], plan: Plan | None = None) -> ExperimentResult:
    manifest = Manifest(
        name,
        GoldenDataset(QUESTIONS, "s3://golden/golden.csv"),
        METRICS,
        TRIALS,
        judge_llm="judge@x",
        judge_embed_model="embed@x",
        documents=DocumentSet("s3://documents", "d" * 64),
        offline=True,
        cluster=Cluster("local", nodes=1, cpus=2),
        versions={"python": "3.11"},
        plan=plan,
    )
    usage = tuple(row for result in results for row in result.usage)
    return ExperimentResult(name, manifest, tuple(results), usage)


class Kept:
    """What the server has of one experiment."""

    def __init__(self, server: MlflowServer, name: str) -> None:
        from mlflow import MlflowClient

        self.client, self.name = MlflowClient(server.url), name
        self.place = self.client.get_experiment_by_name("dream").experiment_id

    def runs(self, view: str = "active_only") -> "list[Run]":
        from mlflow.entities import ViewType

        of_experiment = f"tags.`dream.experiment` = '{self.name}'"
        return list(self.client.search_runs([self.place], of_experiment, ViewType.from_string(view)))

    @property
    def parent(self) -> "Run":
        (parent,) = [run for run in self.runs() if "dream.trial_id" not in run.data.tags]
        return parent

    def child(self, trial: Trial) -> "Run":
        (child,) = [run for run in self.runs() if run.data.tags.get("dream.trial_id") == trial.id]
        assert child.data.tags["mlflow.parentRunId"] == self.parent.info.run_id
        return child

    def table(self, run: "Run", path: str) -> list[dict]:
        file = Path(self.client.download_artifacts(run.info.run_id, path))
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"path": path, "type": "table"} in json.loads(run.data.tags["mlflow.loggedArtifacts"])
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def traces(self, run: "Run") -> list:
        of_run = f"metadata.`mlflow.sourceRun` = '{run.info.run_id}'"
        return list(self.client.search_traces(locations=[self.place], filter_string=of_run))

    def everything(self) -> list:
        """All that could change: runs, their values with histories, files, traces with their assessments."""
        seen = []
        for run in sorted(self.runs("all"), key=lambda run: run.info.run_id):
            histories = [self.client.get_metric_history(run.info.run_id, name) for name in sorted(run.data.metrics)]
            traces = sorted((trace.info.trace_id, len(trace.info.assessments)) for trace in self.traces(run))
            files = sorted((file.path, file.file_size) for file in self.client.list_artifacts(run.info.run_id))
            seen.append([run.to_dictionary(), [[one.to_dictionary() for one in h] for h in histories], files, traces])
        return seen


def run_through(settings: Settings, outcome: ExperimentResult, new: Sequence[TrialResult]) -> list[str]:
    """As an experiment does it: the new results one by one, then the whole."""
    lines: list[str] = []
    tracker = Tracker(settings, outcome.manifest, lines.append)
    for result in new:
        tracker.log_trial(result)
    tracker.finish(outcome)
    return lines
