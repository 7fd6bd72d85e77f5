"""`experiment(config)` is one trial; `run_experiment(search_space)` is all of them, fanned out by Ray Tune.

What trials find goes to `dream.recorder` a block of questions at a time, so that nothing paid is lost.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dream import cluster, doors, index_access, results
from dream.documents import load_documents
from dream.errors import ConfigurationError, bullets, explain
from dream.evaluator import METRICS, check_metrics, evaluator, joined
from dream.golden_dataset import load_golden_dataset, question_from_json
from dream.index_access import get_index
from dream.meter import spent_of
from dream.models import check_identifiers, check_models, endpoint_urls, llm_picker
from dream.plan import plan_of
from dream.query_engines import index_request, query_engine_picker
from dream.recorder import Mailbox, Recorder, collecting
from dream.records import Evaluation, ExperimentResult, GoldenDataset, Trial, TrialResult
from dream.search_space import SearchSpace, default_search_space
from dream.settings import Settings
from dream.storage import Storage, open_storage
from dream.versions import versions

# documents with more text are not chunked a second time just to count what there is to embed
PLANNED_CHARACTERS = 5_000_000


@dataclass(frozen=True)
class Shared:
    """What is the same for all trials of an experiment."""

    documents: Sequence[Any]
    golden_dataset: GoldenDataset
    judge_llm: str
    judge_embed_model: str
    metrics: Sequence[str] = METRICS


def experiment(
    config: Mapping[str, Any],
    shared: Shared,
    known: Evaluation | None = None,
    on_block: Callable[[Evaluation], None] | None = None,
) -> TrialResult:
    """One trial, whole: documents become an index, the index a query engine, its answers scores.

    Args:
        config: `query_engine_identifier`, `llm_identifier`, `embed_model_identifier` and the method's parameters.
        known: questions that were finished by an earlier run.
        on_block: called with finished questions, some at a time.
    """
    started = time.monotonic()
    trial = Trial.from_config(config)
    llm = llm_picker(trial.llm_identifier, trial=trial.id)
    index = get_index(shared.documents, *index_request(trial), trial=trial.id)
    query_engine = query_engine_picker(trial.query_engine_identifier, index, llm, trial.parameters)
    evaluation = evaluator(
        query_engine,
        shared.golden_dataset.questions,
        judge_llm=shared.judge_llm,
        judge_embed_model=shared.judge_embed_model,
        metrics=shared.metrics,
        trial=trial.id,
        known=known,
        on_block=on_block,
    )
    return TrialResult(trial, evaluation, time.monotonic() - started, len(index.docstore.docs))


def run_experiment(
    search_space: SearchSpace | None = None,
    *,
    name: str | None = None,
    resume: str | None = None,
    golden_dataset: str | GoldenDataset | None = None,
    documents_uri: str | None = None,
    metrics: Sequence[str] | None = None,
    max_concurrent_trials: int | None = None,
    settings: Settings | None = None,
    show: Callable[[str], None] | None = print,
) -> ExperimentResult:
    """Run every trial of a search space on Ray, on the same questions with the same judge.

    Args:
        search_space: by default every RAG method with the LLMs and embedding models of the settings.
        name: by default `experiment-<date>-<time>`.
        resume: the name of an experiment to go on with, or to start if there is none yet. Questions that were
            finished are not asked again; those that failed are. Arguments that are given must be the same as then.
        golden_dataset: the name of one in storage (by default "golden"), or the dataset itself.
        documents_uri: where the documents are, by default `settings.documents_uri`.
        metrics: names in `dream.evaluator.METRICS`, by default all.
        max_concurrent_trials: by default one for each CPU of the cluster.
        show: takes a line of progress at a time; None for silence.

    Returns:
        Every trial's result; a failed trial is in it with its error. The same is in storage and in MLflow.

    Raises:
        ConfigurationError: for mistakes in the arguments, all at once, before any model is called.
        ServiceError: when the cluster or a model does not answer, before any trial is started.
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    name = _checked_name(name, resume)
    exists = results.experiment_exists(storage, name)
    if exists and not resume:
        raise ConfigurationError(
            f"experiment {name!r} exists in {settings.experiments_uri}: choose another name, or go on with it: "
            f"resume={name!r} (dream run --resume {name})"
        )
    before = results.load_manifest(storage, name) if exists else None
    if before:
        work = _as_before(before, search_space, golden_dataset, documents_uri, metrics, settings)
    else:
        work = _as_asked(search_space, golden_dataset, documents_uri, metrics, settings)
    trials, shared = work.trials, work.shared
    known, partly = _what_is_known(storage, name, trials) if before else ({}, {})
    usage_before = results.load_usage(storage, name) if before else []
    to_run = [trial for trial in trials if trial.id not in known]
    with (
        cluster.connected(settings) as ray_cluster,
        doors.opened(settings, spent_of(usage_before)),
        index_access.opened(settings, show) as indexes,
    ):
        if to_run:
            check_models(
                [shared.judge_llm, *(trial.llm_identifier for trial in to_run)],
                [shared.judge_embed_model, *(trial.embed_model_identifier for trial in to_run)],
            )
        manifest = before or _manifest(name, work, settings, ray_cluster)
        if not before and sum(len(document.text) for document in shared.documents) < PLANNED_CHARACTERS:
            questions, metrics = shared.golden_dataset, shared.metrics
            planned = plan_of(trials, questions, shared.documents, work.documents_digest, metrics, settings)
            manifest["plan"] = planned.to_json()
        results.save_manifest(storage, name, manifest)
        recorder = Recorder(
            name, manifest, trials, storage, settings, show or (lambda line: None), known, partly, usage_before
        )
        if to_run:
            indexes.start(shared.documents, map(index_request, to_run))
            _tune(to_run, shared, recorder, max_concurrent_trials or ray_cluster.cpus)
        return recorder.finish()


def _checked_name(name: str | None, resume: str | None) -> str:
    if name and resume and name != resume:
        raise ConfigurationError(f"name={name!r} and resume={resume!r}: give one of them")
    name = resume or name or datetime.now(UTC).strftime("experiment-%Y%m%d-%H%M%S")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigurationError(f"name={name!r}: use letters, digits, '.', '_' and '-'")
    return name


@dataclass(frozen=True)
class _Work:
    """What an experiment consists of."""

    trials: tuple[Trial, ...]
    shared: Shared
    documents_uri: str
    documents_digest: str


def _as_asked(
    search_space: SearchSpace | None,
    golden_dataset: str | GoldenDataset | None,
    documents_uri: str | None,
    metrics: Sequence[str] | None,
    settings: Settings,
) -> _Work:
    trials = (search_space or default_search_space(settings)).trials(settings)
    metrics = METRICS if metrics is None else tuple(metrics)
    check_metrics(metrics)
    _check_judge(settings)
    golden = load_golden_dataset(golden_dataset or "golden", settings)
    documents_uri = documents_uri or settings.documents_uri
    loaded = load_documents(open_storage(documents_uri, settings))
    shared = Shared(loaded.documents, golden, settings.judge_llm, settings.judge_embed_model, metrics)
    return _Work(trials, shared, documents_uri, loaded.digest)


def _as_before(
    manifest: Mapping[str, Any],
    search_space: SearchSpace | None,
    golden_dataset: str | GoldenDataset | None,
    documents_uri: str | None,
    metrics: Sequence[str] | None,
    settings: Settings,
) -> _Work:
    """The work of an experiment that was started earlier; arguments that are given must say the same."""
    trials = tuple(Trial(**planned) for planned in manifest["trials"])
    questions, then = manifest["golden_dataset"]["questions"], manifest["golden_dataset"]
    golden = GoldenDataset(tuple(question_from_json(row) for row in questions), then["uri"])
    place = documents_uri or str(manifest["documents"]["uri"])
    loaded = load_documents(open_storage(place, settings))
    pairs: dict[str, tuple[Any, Any]] = {"the documents": (loaded.digest, manifest["documents"]["digest"])}
    if search_space is not None:
        pairs["the trials"] = ({trial.id for trial in search_space.trials(settings)}, {trial.id for trial in trials})
    if golden_dataset is not None:
        pairs["the golden questions"] = (load_golden_dataset(golden_dataset, settings).digest, then["digest"])
    if metrics is not None:
        pairs["the metrics"] = (set(metrics), set(manifest["metrics"]))
    if changed := [f"{what} differ from those it was started with" for what, (a, b) in pairs.items() if a != b]:
        remedy = "leave the argument out, or start under another name (what is paid stays in the cache)"
        raise ConfigurationError(bullets(f"experiment {manifest['name']!r} cannot go on; {remedy}:", changed))
    judge = (manifest["judge_llm"], manifest["judge_embed_model"])
    shared = Shared(loaded.documents, golden, *judge, tuple(manifest["metrics"]))
    return _Work(trials, shared, place, loaded.digest)


def _what_is_known(
    storage: Storage, name: str, trials: Sequence[Trial]
) -> tuple[dict[str, TrialResult], dict[str, Evaluation]]:
    """Results of an earlier run that are whole, and the finished questions of the other trials."""
    known, partly = {}, {}
    for result in results.load_results(storage, name, trials):
        evaluation = result.evaluation
        failed = evaluation and (
            any(answer.error for answer in evaluation.answers) or any(score.error for score in evaluation.scores)
        )
        if result.error is None and not failed:
            known[result.trial.id] = result
            continue
        partly[result.trial.id] = joined(
            [results.load_blocks(storage, name, result.trial.id), *([evaluation] if evaluation else [])]
        )
    return known, partly


def _check_judge(settings: Settings) -> None:
    problems = check_identifiers([settings.judge_llm, settings.judge_embed_model], settings)
    if problems:
        raise ConfigurationError(bullets("the judge cannot be used:", problems))


def _manifest(name: str, work: _Work, settings: Settings, ray_cluster: cluster.Cluster) -> dict[str, Any]:
    trials, shared = work.trials, work.shared
    identifiers = {settings.judge_llm, settings.judge_embed_model}
    for trial in trials:
        identifiers |= {trial.llm_identifier, trial.embed_model_identifier}
    manifest = {
        "name": name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "offline": any(identifier.startswith("offline/") for identifier in identifiers),
        "trials": [asdict(trial) for trial in trials],
        "metrics": list(shared.metrics),
        "judge_llm": shared.judge_llm,
        "judge_embed_model": shared.judge_embed_model,
        "endpoints": endpoint_urls(sorted(identifiers)),
        "documents": {"uri": work.documents_uri, "digest": work.documents_digest},
        "golden_dataset": {
            "uri": shared.golden_dataset.uri,
            "digest": shared.golden_dataset.digest,
            "questions": [asdict(question) for question in shared.golden_dataset.questions],
        },
        "cluster": asdict(ray_cluster),
        "versions": versions(),
    }
    return json.loads(json.dumps(manifest))  # what comes back from storage, where tuples are lists


def _trainable(config: Mapping[str, Any], shared: Shared, mailbox: Any) -> None:
    """The function that Ray Tune calls on a worker. A failed trial is a result, not an exception."""
    import ray
    from ray import tune

    trial = Trial.from_config(config["trial"])
    known: Evaluation = ray.get(mailbox.known.remote(trial.id))
    done = len(known.answers)

    def on_block(block: Evaluation) -> None:
        nonlocal done
        done += len(block.answers)
        mailbox.block.remote(trial.id, block)
        tune.report({"questions": done, **_means(block)})

    try:
        result = experiment(config["trial"], shared, known, on_block)
    except Exception as error:  # noqa: BLE001 - recorded as the trial's result
        result = TrialResult(trial, error=explain(error))
    ray.get(mailbox.trial.remote(result))
    tune.report({"questions": done, "failed": result.error is not None, **_means(result.evaluation)})


def _means(evaluation: Evaluation | None) -> dict[str, float]:
    summaries = evaluation.summaries() if evaluation else ()
    return {summary.metric: summary.mean for summary in summaries if summary.mean is not None}


def _tune(trials: Sequence[Trial], shared: Shared, recorder: Recorder, max_concurrent_trials: int) -> None:
    import ray
    from ray import tune

    mailbox = ray.remote(Mailbox).options(max_concurrency=1000, **cluster.ON_HEAD).remote(dict(recorder.partly))
    trainable = tune.with_parameters(_trainable, shared=shared, mailbox=mailbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"trial": tune.grid_search([trial.config() for trial in trials])},
        tune_config=tune.TuneConfig(max_concurrent_trials=max_concurrent_trials, reuse_actors=True),
        run_config=tune.RunConfig(
            name=recorder.name,
            storage_path=f"{tempfile.gettempdir()}/dream-tune",
            failure_config=tune.FailureConfig(max_failures=2),
            verbose=0,
        ),
    )
    with collecting(mailbox, recorder):
        grid = tuner.fit()
    errors = {}
    for outcome in (grid[i] for i in range(len(grid))):
        if outcome.error is not None and outcome.config is not None:
            errors[Trial.from_config(outcome.config["trial"]).id] = explain(outcome.error)
    recorder.lost(errors)
