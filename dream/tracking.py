"""Results become MLflow runs: one parent a DREAM experiment, one child a trial, logged as trials finish.

Runs are found again by their tags (`dream.experiment`, `dream.trial_id`), so that logging twice changes nothing.
MLflow being away never stops an experiment: results are in storage, and `track` logs them later.
"""

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dream.errors import ServiceError
from dream.golden_dataset import golden_table
from dream.records import ExperimentResult, GoldenQuestion, TrialResult
from dream.results import question_table, results_table, trial_row
from dream.settings import Settings, prepare_libraries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MLFLOW_EXPERIMENT = "dream"
TAG_EXPERIMENT = "dream.experiment"
TAG_TRIAL = "dream.trial_id"
OFFLINE_NOTE = "**Offline models.** These scores show how DREAM works; they say nothing about how good a real LLM is."
_NOT_METRICS = {"trial_id", "error"}


class Tracker:
    """Logs one experiment while it runs. After the first failure it is silent until `finish`, which tries again."""

    def __init__(self, settings: Settings, manifest: Mapping[str, Any], show: Callable[[str], None]) -> None:
        self._settings, self._manifest, self._show = settings, manifest, show
        self._up = True
        self._try(lambda: _Log(settings, manifest).parent_id())

    def log_trial(self, result: TrialResult) -> None:
        if self._up:
            self._try(lambda: _Log(self._settings, self._manifest).trial(result))

    def finish(self, experiment: ExperimentResult) -> None:
        """Log what is still missing and close the parent run; say where the results are if that fails."""
        self._up = True
        if not self._try(lambda: track(experiment, self._settings)):
            self._show(f"  results are safe in storage; when MLflow is back: dream track {experiment.name}")

    def _try(self, log: Callable[[], object]) -> bool:
        try:
            log()
        except Exception as error:  # noqa: BLE001 - MLflow must not stop an experiment; the user is told
            self._up = False
            reason = _safe_text(error, self._settings)[:200]
            self._show(f"  MLflow at {safe_uri(self._settings.mlflow_tracking_uri)} did not take the results: {reason}")
        return self._up


def track(experiment: ExperimentResult, settings: Settings | None = None) -> str:
    """Log a finished experiment to MLflow, or what is missing of it; returns the parent run's id.

    Raises:
        ServiceError: if MLflow does not answer.
    """
    log = _Log(settings or Settings.from_environment(), experiment.manifest)
    for result in experiment.results:
        log.trial(result)
    return log.finish(experiment)


def check_mlflow(settings: Settings) -> None:
    """Raise a ServiceError if the tracking store cannot be used."""
    try:
        _client(settings).search_experiments(max_results=1)
    except Exception as error:
        uri = safe_uri(settings.mlflow_tracking_uri)
        remedy = "start it, or mend MLFLOW_TRACKING_URI"
        raise ServiceError(
            f"MLflow at {uri} does not answer ({_safe_text(error, settings)[:500]}): {remedy}"
        ) from error


def safe_uri(uri: str) -> str:
    """A URI without the user and password that it may hold.

    Example:
        >>> safe_uri("postgresql://me:secret@db/mlflow")
        'postgresql://db/mlflow'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _safe_text(error: Exception, settings: Settings) -> str:
    """An error in one line, without the user and password of the URI, which MLflow puts into its messages."""
    user_and_password, at, _ = urlsplit(settings.mlflow_tracking_uri).netloc.rpartition("@")
    text = " ".join(str(error).split())
    return text.replace(user_and_password + at, "") if at else text


class _Log:
    """MLflow's side of one experiment. Every method can be called again without doing its work twice."""

    def __init__(self, settings: Settings, manifest: Mapping[str, Any]) -> None:
        self._client = _client(settings)
        self._manifest = manifest
        self._mlflow_experiment = _experiment_id(self._client, settings)

    def parent_id(self) -> str:
        """The parent run, made with its parameters, tags and dataset if it is not there yet."""
        found = self._find(f"tags.`{TAG_EXPERIMENT}` = '{self._manifest['name']}'")
        parents = [run for run in found if TAG_TRIAL not in run.data.tags]
        if parents:
            return parents[0].info.run_id
        run = self._client.create_run(
            self._mlflow_experiment, run_name=self._manifest["name"], tags=_tags(self._manifest)
        )
        run_id = run.info.run_id
        self._log_batch(run_id, params=_parent_params(self._manifest))
        self._client.log_dict(run_id, dict(self._manifest), "manifest.json")
        self._log_dataset(run_id)
        return run_id

    def trial(self, result: TrialResult) -> None:
        """The child run of a trial: parameters, metrics with counts, and a table of its questions."""
        parent = self.parent_id()
        found = self._find(f"tags.`{TAG_TRIAL}` = '{result.trial.id}' and tags.`mlflow.parentRunId` = '{parent}'")
        if any(run.info.status in ("FINISHED", "FAILED") for run in found):
            return
        tags = {**_tags(self._manifest), TAG_TRIAL: result.trial.id, "mlflow.parentRunId": parent}
        if result.error:
            tags["dream.error"] = result.error[:5000]
        unfinished = [run.info.run_id for run in found]
        run_id = (unfinished or [self._new_run(result, tags)])[0]
        metrics = {name: float(value) for name, value in trial_row(result).items() if _is_metric(name, value, result)}
        self._log_batch(run_id, params=result.trial.config(), metrics=metrics)
        self._log_dataset(run_id)
        if result.evaluation is not None:
            table = question_table(result, self._manifest)
            self._client.log_table(run_id, table, "questions.json")
        self._client.set_terminated(run_id, "FAILED" if result.error else "FINISHED")

    def finish(self, experiment: ExperimentResult) -> str:
        parent = self.parent_id()
        if self._client.get_run(parent).info.status == "RUNNING":
            self._client.log_table(parent, results_table(experiment), "results.json")
            failed = sum(result.error is not None for result in experiment.results)
            self._log_batch(parent, metrics={"trials": len(experiment.results), "trials_failed": failed})
            self._client.set_terminated(parent, "FINISHED")
        return parent

    def _new_run(self, result: TrialResult, tags: Mapping[str, str]) -> str:
        started = int((time.time() - result.seconds) * 1000)
        run = self._client.create_run(self._mlflow_experiment, started, dict(tags), result.trial.name)
        return run.info.run_id

    def _find(self, condition: str) -> list["Run"]:
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
        """The golden dataset as MLflow dataset input: source URI and digest, that is, lineage."""
        import mlflow.data
        from mlflow.entities import DatasetInput, InputTag

        golden = self._manifest["golden_dataset"]
        questions = [GoldenQuestion(**question) for question in golden["questions"]]
        with warnings.catch_warnings():  # MLflow finds its local source twice and says so each time
            warnings.simplefilter("ignore", UserWarning)
            dataset = mlflow.data.from_pandas(  # pyright: ignore[reportAttributeAccessIssue]
                golden_table(questions),
                source=golden["uri"] or "given-by-the-caller",
                targets="ground_truth",
                name="golden_dataset",
                digest=golden["digest"][:32],
            )
        context = InputTag("mlflow.data.context", "evaluation")
        self._client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), [context])])


def _client(settings: Settings) -> "MlflowClient":
    prepare_libraries()
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if settings.mlflow_tracking_uri.startswith("sqlite:///"):
        Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(settings.mlflow_tracking_uri)


def _experiment_id(client: "MlflowClient", settings: Settings) -> str:
    found = client.get_experiment_by_name(MLFLOW_EXPERIMENT)
    if found is not None:
        return found.experiment_id
    local = settings.mlflow_tracking_uri.startswith("sqlite:")
    location = (Path(settings.home) / "mlartifacts").as_uri() if local else None
    return client.create_experiment(MLFLOW_EXPERIMENT, artifact_location=location)


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    versions = {f"dream.version.{name}": value for name, value in manifest["versions"].items() if name != "git_commit"}
    commit = manifest["versions"].get("git_commit")
    tags = {TAG_EXPERIMENT: manifest["name"], "dream.offline": str(manifest["offline"]).lower(), **versions}
    tags["mlflow.source.name"] = "dream"
    if manifest["offline"]:
        tags["mlflow.note.content"] = OFFLINE_NOTE
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def _parent_params(manifest: Mapping[str, Any]) -> dict[str, Any]:
    golden, documents = manifest["golden_dataset"], manifest["documents"]
    return {
        "offline": manifest["offline"],
        "judge_llm": manifest["judge_llm"],
        "judge_embed_model": manifest["judge_embed_model"],
        "metrics": ", ".join(manifest["metrics"]),
        "n_trials": len(manifest["trials"]),
        "n_questions": len(golden["questions"]),
        "golden_dataset_uri": golden["uri"],
        "golden_dataset_digest": golden["digest"],
        "documents_uri": documents["uri"],
        "documents_digest": documents["digest"],
        "ray_nodes": manifest["cluster"]["nodes"],
        "ray_cpus": manifest["cluster"]["cpus"],
    }


def _is_metric(name: str, value: Any, result: TrialResult) -> bool:
    return name not in _NOT_METRICS and name not in result.trial.config() and isinstance(value, int | float)
