"""The MLflow runs of one experiment: a parent run, a child run per trial, their tables, and traces of the questions.

Existing runs are identified by their tags. A digest of the logged results shows if a run is up to date; then nothing is
written. Otherwise, as after a resumed experiment, a child run is replaced, and the parent's tables are overwritten.
"""

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dream.comparison.comparison import OFFLINE
from dream.comparison.human_agreement import Label
from dream.golden.dataset import golden_table
from dream.records import GRID, ExperimentResult, FailureKind, Manifest, Trial, TrialResult, digest
from dream.runtime.libraries import prepare_libraries
from dream.settings import Settings
from dream.tracking import mlflow_artifacts
from dream.tracking.mlflow_experiment import DELETED, deleted
from dream.tracking.mlflow_traces import TracedTrial, questions_traced

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG_EXPERIMENT = "dream.experiment"
TAG_TRIAL = "dream.trial_id"
TAG_RUN = "dream.run"
TAG_DIGEST = "dream.result_digest"
TAG_TRACES = "dream.traces"
TAG_TAKEN_FROM = "dream.taken_from"
# The format of runs; increment it when the logged content changes, so that `dream track` updates older runs.
FORMAT = 2
# The maximum number of runs in a link to MLflow's compare page, because browsers limit the length of URLs.
_COMPARED_AT_ONCE = 60


class RunLog:
    """The MLflow runs of one experiment. All methods are idempotent."""

    def __init__(self, settings: Settings, manifest: Manifest, labels: Sequence[Label] = ()) -> None:
        self._client = mlflow_client(settings)
        self._labels = labels
        self._settings = settings
        self._manifest = manifest
        self._mlflow_experiment = experiment_id(self._client, settings)
        self._parent: str | None = None
        self._prepared: dict[str, tuple[TrialResult, _Prepared]] = {}
        self._logged: dict[tuple[str, str], str] = {}  # run ids by trial and mark

    def open(self) -> None:
        """Create the parent run, or set an existing one to RUNNING."""
        parent = self._client.get_run(self._parent_id())
        if parent.info.status != "RUNNING":
            self._client.update_run(parent.info.run_id, status="RUNNING")

    def trial(self, result: TrialResult) -> str:
        """Log a trial as a child run with the traces of its questions; returns the run's id.

        A child run with the same result is kept; one with another result, or an unfinished one, is deleted.
        """
        prepared, run = self._prepare(result), None
        result, mark = prepared.result, prepared.mark
        if (logged := self._logged.get((result.trial.id, mark))) is not None:
            return logged
        for child in self._children(result.trial.id):
            if run is None and child.data.tags.get(TAG_DIGEST) == mark and child.info.status == status_of(result):
                run = child
            else:
                self._delete(child)
        run_id = run.info.run_id if run is not None else self._new_child(result, mark)
        self._traces(run_id, result, int(run.data.tags.get(TAG_TRACES, 0)) if run is not None else 0)
        self._logged[result.trial.id, mark] = run_id
        return run_id

    def finish(self, experiment: ExperimentResult, files: Mapping[str, str | bytes] | None = None) -> str:
        """Log all trials, and the tables, figures and description of the parent run, and end it; returns its id.

        Args:
            files: the tables and figures, if they are made already (`mlflow_artifacts.files_of`).
        """
        prepared = [self._prepare(result) for result in experiment.results]
        baselines = [self._prepare(result) for result in experiment.baselines]
        held_out = [self._prepare_alone(result) for result in experiment.held_out]
        children = {result.trial.id: self.trial(result) for result in experiment.results}
        marks, usage = (
            [each.mark for each in (*prepared, *baselines, *held_out)],
            [row.to_json() for row in experiment.usage],
        )
        mark = digest([FORMAT, marks, usage, children])
        results, others, on_held_out = (tuple(each.result for each in some) for some in (prepared, baselines, held_out))
        experiment = replace(experiment, results=results, baselines=others, held_out=on_held_out)
        parent = self._client.get_run(self._parent_id())
        run_id, status = parent.info.run_id, experiment_status(experiment)
        if experiment.manifest.search.rounds:  # its trials were not known when the run was opened
            self._client.log_dict(run_id, experiment.manifest.to_json(), "manifest.json")
        if parent.data.tags.get(TAG_DIGEST) != mark:
            self._evidence(run_id, experiment, children, files)
            self._client.set_tag(run_id, TAG_DIGEST, mark)
        if parent.info.status != status:
            self._client.set_terminated(run_id, status)
        return run_id

    def _prepare(self, result: TrialResult) -> "_Prepared":
        """The result without secrets, and its digest; cached, because `finish` needs the results of `trial` again."""
        given, prepared = self._prepared.get(result.trial.id, (None, None))
        if prepared is None or given != result:
            prepared = self._prepare_alone(result)
            self._prepared[result.trial.id] = (result, prepared)
        return prepared

    def _prepare_alone(self, result: TrialResult) -> "_Prepared":
        redacted = result.redacted(self._settings.secrets())
        return _Prepared(redacted, digest([FORMAT, redacted.to_json()]))

    def _parent_id(self) -> str:
        """The id of the parent run, which is created with parameters, tags and dataset if it does not exist."""
        if self._parent is None:
            name = self._manifest.name
            runs = self._find(f"tags.`{TAG_EXPERIMENT}` = '{name}' and tags.`{TAG_RUN}` = 'experiment'")
            self._parent = runs[0].info.run_id if runs else self._new_parent(name)
        return self._parent

    def _new_parent(self, name: str) -> str:
        tags = {**_tags(self._manifest), TAG_RUN: "experiment"}
        run_id = self._client.create_run(self._mlflow_experiment, run_name=name, tags=tags).info.run_id
        self._log_batch(run_id, params=_parent_params(self._manifest))
        self._client.log_dict(run_id, self._manifest.to_json(), "manifest.json")
        self._log_dataset(run_id)
        return run_id

    def _children(self, trial_id: str) -> "list[Run]":
        return self._find(f"tags.`{TAG_TRIAL}` = '{trial_id}' and tags.`mlflow.parentRunId` = '{self._parent_id()}'")

    def _new_child(self, result: TrialResult, mark: str) -> str:
        """Create a child run. Its digest is written last, so that an incomplete run is replaced the next time."""
        tags = {**_tags(self._manifest), TAG_RUN: "trial", TAG_TRIAL: result.trial.id}
        tags |= {"mlflow.parentRunId": self._parent_id()}
        if result.failure:
            tags["dream.error"] = result.failure.reason[:5000]
            tags["dream.failure"] = result.failure.kind.value
        if result.taken_from:
            tags[TAG_TAKEN_FROM] = result.taken_from
        started = int((time.time() - result.seconds) * 1000)
        run = self._client.create_run(self._mlflow_experiment, started, tags, result.trial.name)
        run_id = run.info.run_id
        self._log_batch(run_id, params=trial_params(result.trial), metrics=mlflow_artifacts.trial_metrics(result))
        self._log_dataset(run_id)
        if files := mlflow_artifacts.trial_files(result, self._manifest):
            self._write(run_id, files)
        self._client.set_tag(run_id, TAG_DIGEST, mark)
        self._client.set_terminated(run_id, status_of(result))
        return run_id

    def _delete(self, run: "Run") -> None:
        self._delete_traces(run.info.run_id)
        self._client.delete_run(run.info.run_id)

    def _traces(self, run_id: str, result: TrialResult, logged: int) -> None:
        """Log the traces of a child run if it has fewer than the settings request."""
        n_trials, n_questions = self._manifest.n_trials, len(self._manifest.questions)
        traced = questions_traced(self._settings.mlflow_traces, n_trials, n_questions)
        wanted = 0 if result.taken_from else min(traced, len(result.answers))  # the earlier experiment has them
        if wanted <= logged:
            return
        self._delete_traces(run_id)  # traces of a driver that was killed while it wrote them
        uri = self._settings.mlflow_tracking_uri
        n = TracedTrial(uri, self._mlflow_experiment, run_id, result, self._manifest).log(wanted)
        self._client.set_tag(run_id, TAG_TRACES, str(n))

    def _delete_traces(self, run_id: str) -> None:
        of_run = {"filter_string": f"metadata.`mlflow.sourceRun` = '{run_id}'", "include_spans": False}
        experiment_id = self._mlflow_experiment
        while traces := self._client.search_traces(locations=[experiment_id], max_results=100, **of_run):
            self._client.delete_traces(experiment_id, trace_ids=[trace.info.trace_id for trace in traces])

    def _evidence(
        self,
        run_id: str,
        experiment: ExperimentResult,
        children: Mapping[str, str],
        files: Mapping[str, str | bytes] | None,
    ) -> None:
        comparison, why_not = mlflow_artifacts.try_to_compare(experiment, self._labels)
        self._log_batch(run_id, metrics=mlflow_artifacts.experiment_metrics(experiment, comparison))
        note = mlflow_artifacts.note(experiment, comparison, why_not, self._links(children))
        self._client.set_tag(run_id, "mlflow.note.content", note)
        if comparison is not None:
            self._client.set_tag(run_id, "dream.recommended", comparison.recommendation.trial.name)
        elif "dream.recommended" in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, "dream.recommended")
        if files is None:
            files = mlflow_artifacts.evidence_files(experiment, comparison, why_not)
        self._write(run_id, files)

    def _links(self, children: Mapping[str, str]) -> dict[str, str]:
        """Relative URLs of pages in MLflow: the run of each trial, and the comparison of all runs ("compare")."""
        page = f"#/experiments/{self._mlflow_experiment}/runs"
        links = {trial_id: f"{page}/{run_id}" for trial_id, run_id in children.items()}
        if 1 < len(children) <= _COMPARED_AT_ONCE:
            compact = json.JSONEncoder(separators=(",", ":")).encode
            runs, experiments = quote(compact([*children.values()])), quote(compact([self._mlflow_experiment]))
            links["compare"] = f"#/compare-runs?runs={runs}&experiments={experiments}"
        return links

    def _write(self, run_id: str, files: Mapping[str, str | bytes]) -> None:
        """Upload whole files, so that no table has rows twice, and register the tables for MLflow's UI."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
            self._client.log_artifacts(run_id, folder)
        tables = [{"path": path, "type": "table"} for path in files if path.endswith(".json")]
        self._client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(tables))

    def _find(self, condition: str) -> "list[Run]":
        return list(self._client.search_runs([self._mlflow_experiment], condition))

    def _log_batch(
        self, run_id: str, params: Mapping[str, Any] | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
            params=[Param(name, str(value)) for name, value in (params or {}).items()],
        )

    def _log_dataset(self, run_id: str) -> None:
        """Log the golden dataset as a dataset input (source URI and digest)."""
        import mlflow.data
        from mlflow.entities import Dataset, DatasetInput, InputTag

        golden = self._manifest.golden_dataset
        with warnings.catch_warnings():  # MLflow finds its local source twice and says so each time
            warnings.simplefilter("ignore", UserWarning)
            dataset = mlflow.data.from_pandas(  # pyright: ignore[reportAttributeAccessIssue]
                golden_table(golden.questions),
                source=golden.uri or "given-by-the-caller",
                targets="ground_truth",
                name="golden_dataset",
                digest=golden.digest[:32],
            )
        context = InputTag("mlflow.data.context", "evaluation")
        self._client.log_inputs(run_id, [DatasetInput(Dataset(**dataset.to_dict()), [context])])


@dataclass(frozen=True)
class _Prepared:
    """A result without secrets, and its digest."""

    result: TrialResult
    mark: str


def trial_params(trial: Trial) -> dict[str, Any]:
    """The MLflow parameters of a trial: its identifiers, then its parameters as `rag/<name>`.

    MLflow's compare page shows the first three.
    """
    parameters = {f"rag/{name}": value for name, value in trial.parameters.items()}
    return {name: value for name, value in trial.config().items() if name not in trial.parameters} | parameters


def status_of(result: TrialResult) -> str:
    """The MLflow status of a trial: FINISHED, FAILED, or KILLED if it was stopped or left a race."""
    if not result.failure:
        return "FINISHED"
    return "KILLED" if _was_stopped(result) or result.ended_early else "FAILED"


def experiment_status(experiment: ExperimentResult) -> str:
    """The MLflow status of the parent run: KILLED if a trial was stopped, FAILED if all failed, else FINISHED."""
    if any(map(_was_stopped, (*experiment.results, *experiment.baselines))):
        return "KILLED"
    return "FAILED" if all(result.failure for result in experiment.results) else "FINISHED"


def _was_stopped(result: TrialResult) -> bool:
    is_unfinished = result.failure is not None and result.failure.kind == FailureKind.NOT_FINISHED
    return result.was_stopped or is_unfinished


def mlflow_client(settings: Settings) -> "MlflowClient":
    """MLflow's client, without log output; the folder of a local database is created."""
    prepare_libraries()
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if settings.mlflow_tracking_uri.startswith("sqlite:///"):
        Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(settings.mlflow_tracking_uri)


def experiment_id(client: "MlflowClient", settings: Settings) -> str:
    """The id of the MLflow experiment that the settings name, which is made where there is none.

    Raises:
        ConfigurationError: if it is deleted.
    """
    experiment = client.get_experiment_by_name(settings.mlflow_experiment)
    if experiment is not None:
        if experiment.lifecycle_stage == DELETED:
            raise deleted(settings, experiment.experiment_id)
        return experiment.experiment_id
    local = settings.mlflow_tracking_uri.startswith("sqlite:")
    location = (Path(settings.home) / "mlartifacts").as_uri() if local else None
    return client.create_experiment(settings.mlflow_experiment, artifact_location=location)


def _tags(manifest: Manifest) -> dict[str, str]:
    tags = {TAG_EXPERIMENT: manifest.name, "dream.offline": str(manifest.offline).lower()}
    tags |= {f"dream.version.{name}": value for name, value in manifest.versions.items() if name != "git_commit"}
    tags["mlflow.source.name"] = "dream"
    if manifest.offline:
        tags["mlflow.note.content"] = f"**{OFFLINE}**"
    commit = manifest.versions.get("git_commit")
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def _parent_params(manifest: Manifest) -> dict[str, Any]:
    golden, cluster, search = manifest.golden_dataset, manifest.cluster, manifest.search
    return {
        "offline": manifest.offline,
        "judge_llm": manifest.judge_llm,
        "judge_embed_model": manifest.judge_embed_model,
        "strictness": manifest.strictness,
        "metrics": ", ".join(manifest.metrics),
        "n_trials": manifest.n_trials,
        "n_questions": len(golden.questions),
        **({"sifted_by": manifest.sift.metric, "n_sifted_out": len(manifest.sift.left_out)} if manifest.sift else {}),
        **({"raced_by": manifest.race.metric, "n_left_race": len(manifest.race.left)} if manifest.race else {}),
        **({"search": search.by, "search_seed": search.seed} if search.by != GRID else {}),
        **({"n_held_out": len(manifest.hold_out.questions)} if manifest.hold_out else {}),
        "golden_dataset_uri": golden.uri,
        "golden_dataset_digest": golden.digest,
        "documents_uri": manifest.documents.uri,
        "documents_digest": manifest.documents.digest,
        **({"ray_nodes": cluster.nodes, "ray_cpus": cluster.cpus} if cluster else {}),
    }
