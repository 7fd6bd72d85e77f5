"""`experiment(config)` is one trial; `run_experiment(search_space)` is all of them, fanned out by Ray Tune.

What trials find goes to `dream.experiments.recorder` a block of questions at a time, so that nothing paid is lost.
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from dream import ray_cluster
from dream.errors import ConfigurationError, explain
from dream.evaluation.evaluate import EvaluationOptions, evaluator
from dream.experiments import store
from dream.experiments.planning import plan_of
from dream.experiments.recorder import Mailbox, Recorder, collecting
from dream.experiments.spec import JUDGE_REPEAT_QUESTIONS, Asked, Shared, Work, what_is_known
from dream.indexes import client as index_client
from dream.indexes.client import get_index
from dream.models import gateway_client
from dream.models.pickers import check_models, llm_picker
from dream.models.usage import spent_of
from dream.rag.baselines import baseline_engine, metrics_of, questions_of
from dream.rag.methods import index_request, query_engine_picker
from dream.rag.search_space import SearchSpace
from dream.records import CLOSED_BOOK, Evaluation, ExperimentResult, GoldenDataset, Trial, TrialResult
from dream.settings import Settings
from dream.storage.objects import open_storage

# documents with more text are not chunked a second time just to count what there is to embed
PLANNED_CHARACTERS = 5_000_000


def experiment(
    config: Mapping[str, Any],
    shared: Shared,
    known: Evaluation | None = None,
    on_block: Callable[[Evaluation], None] | None = None,
) -> TrialResult:
    """One trial, whole: documents become an index, the index a query engine, its answers scores.

    Args:
        config: `query_engine_identifier`, `llm_identifier`, `embed_model_identifier` and the method's parameters; a
            baseline's has the first two (see `dream.rag.baselines`).
        known: questions that were finished by an earlier run.
        on_block: called with finished questions, some at a time.
    """
    started = time.monotonic()
    trial = Trial.from_config(config)
    llm = llm_picker(trial.llm_identifier, trial=trial.id)
    questions = questions_of(trial, shared.golden_dataset.questions)
    if trial.is_baseline:
        n_nodes, query_engine = None, baseline_engine(trial, llm, questions)
    else:
        index = get_index(shared.documents, *index_request(trial), trial=trial.id)
        n_nodes = len(index.docstore.docs)
        query_engine = query_engine_picker(trial.query_engine_identifier, index, llm, trial.parameters)
    evaluation = evaluator(
        query_engine,
        questions,
        EvaluationOptions(
            shared.judge_llm,
            shared.judge_embed_model,
            metrics_of(trial, shared.metrics),
            trial=trial.id,
            repeats=shared.repeats_of(trial),
            needs_contexts=trial.query_engine_identifier != CLOSED_BOOK,
        ),
        known=known,
        on_block=on_block,
    )
    return TrialResult(trial, evaluation, time.monotonic() - started, n_nodes)


def run_experiment(
    search_space: SearchSpace | None = None,
    *,
    name: str | None = None,
    resume: str | None = None,
    golden_dataset: str | GoldenDataset | None = None,
    documents_uri: str | None = None,
    metrics: Sequence[str] | None = None,
    judge_repeats: int = 1,
    judge_repeat_questions: int = JUDGE_REPEAT_QUESTIONS,
    baselines: bool = False,
    max_concurrent_trials: int | None = None,
    settings: Settings | None = None,
    show: Callable[[str], None] | None = print,
) -> ExperimentResult:
    """Run every trial of a search space on Ray, on the same questions with the same judge.

    Args:
        search_space: by default every RAG method with the LLMs and embedding models of the settings.
        name: by default `experiment-<date>-<time>`.
        resume: the name of an experiment to go on with, or to start if there is none yet. Questions that were
            finished are not asked again; those that failed are. Arguments that are given must be the same as then,
            except that repeats and baselines may be added.
        golden_dataset: the name of one in storage (by default "golden"), or the dataset itself.
        documents_uri: where the documents are, by default `settings.documents_uri`.
        metrics: names in `dream.metrics.METRICS`, by default all.
        judge_repeats: how often the answers to some questions are judged, 1 for once; from 2 on
            `dream.comparison.judge_noise` tells how much of the differences between trials is the judge. Answers are
            not asked for again.
        judge_repeat_questions: to how many questions; the same for all trials, spread over the source documents.
        baselines: let each LLM also answer without any context and with the reference contexts, so that
            `dream.comparison.loss_split` tells how much retrieval lost and how much generation. They are not ranked.
        max_concurrent_trials: by default one for each CPU of the cluster, on a single machine one more; each has some
            dozens of questions in work. More cost a process each, and help where models are slow and questions few.
        show: takes a line of progress at a time; None for silence.

    Returns:
        Every trial's result; a failed trial is in it with its error. The same is in storage and in MLflow.

    Raises:
        ConfigurationError: for mistakes in the arguments, all at once, before any model is called.
        ServiceError: when the cluster or a model does not answer, before any trial is started. (Where all answers are
            known from an earlier experiment, no model is asked.)
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    name = _checked_name(name, resume)
    exists = store.experiment_exists(storage, name)
    if exists and not resume:
        raise ConfigurationError(
            f"experiment {name!r} exists in {settings.experiments_uri}: choose another name, or go on with it: "
            f"resume={name!r} (dream run --resume {name})"
        )
    before = store.load_manifest(storage, name) if exists else None
    asked = Asked(
        search_space, golden_dataset, documents_uri, metrics, judge_repeats, judge_repeat_questions, baselines
    )
    work = asked.work_as_before(before, settings) if before else asked.work(settings)
    known, partly = what_is_known(storage, name, work) if before else ({}, {})
    usage_before = store.load_usage(storage, name) if before else []
    to_run = [trial for trial in work.everything if trial.id not in known]
    with (
        ray_cluster.connected(settings, meanwhile="ray.tune" if to_run else "") as cluster,
        gateway_client.opened(settings, spent_of(usage_before)),
        index_client.opened(settings, show) as indexes,
    ):
        manifest = {**before, **work.additions()} if before else work.manifest(name, cluster)
        planned = _planned(work, before, settings) if manifest != before and _can_plan(work, before) else None
        if to_run and not (planned and all(row["cached"] == row["calls"] for row in planned["calls"])):
            _check_models(to_run, work)
        if planned:
            manifest["plan"] = planned
        store.save_manifest(storage, name, manifest)
        recorder = Recorder(
            name, manifest, work, storage, settings, show or (lambda line: None), known, partly, usage_before
        )
        if to_run:
            indexes.start(work.shared.documents, [index_request(trial) for trial in to_run if not trial.is_baseline])
            _tune(to_run, work.shared, recorder, cluster, max_concurrent_trials)
        return recorder.finish()


def _check_models(trials: Sequence[Trial], work: Work) -> None:
    embed_models = [trial.embed_model_identifier for trial in trials if not trial.is_baseline]
    check_models(
        [work.shared.judge_llm, *(trial.llm_identifier for trial in trials)],
        [work.shared.judge_embed_model, *embed_models],
    )


def _can_plan(work: Work, before: Mapping[str, Any] | None) -> bool:
    small = sum(len(document.text) for document in work.shared.documents) < PLANNED_CHARACTERS
    return small and (before is None or "plan" in before)


def _checked_name(name: str | None, resume: str | None) -> str:
    if name and resume and name != resume:
        raise ConfigurationError(f"name={name!r} and resume={resume!r}: give one of them")
    name = resume or name or datetime.now(UTC).strftime("experiment-%Y%m%d-%H%M%S")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigurationError(f"name={name!r}: use letters, digits, '.', '_' and '-'")
    return name


def _planned(work: Work, before: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """The plan as manifests keep it; what is embedded is as it was planned before the indexes were there."""
    planned = plan_of(work, settings, but=before["name"] if before else "").to_json()
    if before:
        embedded = [row for row in before["plan"]["calls"] if row["stage"] == "embed"]
        planned["calls"] = embedded + [row for row in planned["calls"] if row["stage"] != "embed"]
    return planned


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


def _tune(
    trials: Sequence[Trial],
    shared: Shared,
    recorder: Recorder,
    cluster: ray_cluster.Cluster,
    max_concurrent_trials: int | None,
) -> None:
    import ray

    at_once = max_concurrent_trials or cluster.trials_at_once
    cpus_each = min(1.0, cluster.cpus / at_once)
    mailbox = ray.remote(Mailbox).options(max_concurrency=1000, **ray_cluster.ON_HEAD).remote(dict(recorder.partly))
    configs = [trial.config() for trial in trials]
    with collecting(mailbox, recorder):
        errors = ray_cluster.inside(_fit, recorder.name, configs, shared, mailbox, at_once, cpus_each)
    recorder.lost(errors)


def _fit(
    name: str, configs: Sequence[Mapping[str, Any]], shared: Shared, mailbox: Any, at_once: int, cpus: float
) -> dict[str, str]:
    """Let Ray Tune run the trials; the errors of those that ended without a word, by the trial's id."""
    from ray import tune

    trainable = tune.with_parameters(_trainable, shared=shared, mailbox=mailbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus}),
        param_space={"trial": tune.grid_search(list(configs))},
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=f"{tempfile.gettempdir()}/dream-tune",
            failure_config=tune.FailureConfig(max_failures=2),
            verbose=0,
        ),
    )
    with _own_environment():
        grid = tuner.fit()
    return {
        Trial.from_config(outcome.config["trial"]).id: explain(outcome.error)
        for outcome in (grid[i] for i in range(len(grid)))
        if outcome.error is not None and outcome.config is not None
    }


@contextmanager
def _own_environment() -> Iterator[None]:
    """Keep this process's environment variables from trials, which Tune has no option for.

    It sends AWS_SECRET_ACCESS_KEY along, where Ray's metadata, dashboard and logs show it. And for any variable at
    all Ray starts a worker anew instead of taking one that waits.
    """
    from ray.tune.execution import class_cache

    sent, always = class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS
    class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS = set(), {}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS = sent, always
