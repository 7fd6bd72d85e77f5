"""`experiment(config)` is one trial; `run_experiment(search_space)` is all of them, distributed by Ray Tune.

Finished questions go to `dream.experiments.recorder` a block at a time, so that nothing that was paid for is lost.
"""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Unpack

from dream import ray_cluster
from dream.errors import ConfigurationError
from dream.evaluation.evaluate import EvaluationOptions, evaluator
from dream.experiments import store
from dream.experiments.inbox import TrialInbox
from dream.experiments.planning import plan_of
from dream.experiments.ray_tune_internals import no_variables_for_trials
from dream.experiments.recorder import Recorder, collecting
from dream.experiments.resume import finished_part
from dream.experiments.spec import ExperimentSpec, PreparedExperiment, SpecOptions, TrialContext, as_spec
from dream.indexes import client as index_client
from dream.indexes.client import get_index
from dream.models import gateway_client
from dream.models.pickers import check_models, llm_picker
from dream.models.usage import spent_of
from dream.progress import Show
from dream.rag.baselines import baseline_engine, metrics_of, questions_of
from dream.rag.methods import index_request, query_engine_picker
from dream.rag.search_space import SearchSpace
from dream.records import (
    CLOSED_BOOK,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Manifest,
    Plan,
    Trial,
    TrialResult,
)
from dream.settings import Settings
from dream.storage import open_storage

# Documents with more text are not chunked a second time only to count what there is to embed.
PLANNED_CHARACTERS = 5_000_000


def experiment(
    config: Mapping[str, Any],
    context: TrialContext,
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
    questions = questions_of(trial, context.golden_dataset.questions)
    if trial.is_baseline:
        n_nodes, query_engine = None, baseline_engine(trial, llm, questions)
    else:
        index = get_index(context.documents, *index_request(trial), trial=trial.id)
        n_nodes = len(index.docstore.docs)
        query_engine = query_engine_picker(trial.query_engine_identifier, index, llm, trial.parameters)
    evaluation = evaluator(
        query_engine,
        questions,
        EvaluationOptions(
            context.judge_llm,
            context.judge_embed_model,
            metrics_of(trial, context.metrics),
            context.strictness,
            trial=trial.id,
            repeats=context.repeats_of(trial),
            needs_contexts=trial.query_engine_identifier != CLOSED_BOOK,
        ),
        known=known,
        on_block=on_block,
    )
    return TrialResult(trial, evaluation, time.monotonic() - started, n_nodes)


def experiment_or_failure(
    config: Mapping[str, Any],
    context: TrialContext,
    known: Evaluation | None = None,
    on_block: Callable[[Evaluation], None] | None = None,
) -> TrialResult:
    """`experiment`, where an exception becomes the failure of the trial, with its traceback."""
    try:
        return experiment(config, context, known, on_block)
    except Exception as error:  # noqa: BLE001 - one trial's failure must not end the others
        return TrialResult(Trial.from_config(config), failure=Failure.of(error))


def run_experiment(
    spec: ExperimentSpec | SearchSpace | None = None,
    *,
    name: str | None = None,
    resume: str | None = None,
    max_concurrent_trials: int | None = None,
    settings: Settings | None = None,
    show: Show = print,
    **options: Unpack[SpecOptions],
) -> ExperimentResult:
    """Run every trial of a search space on Ray, on the same questions with the same judge.

    Args:
        spec: an `ExperimentSpec`, or only its search space with the other fields as keyword arguments:
            `golden_dataset`, `documents_uri`, `metrics`, `judge_repeats`, `judge_repeat_questions`, `baselines`,
            `strictness`.
        name: by default `experiment-<date>-<time>`.
        resume: the name of an experiment to resume, or to start if there is none yet. Questions that were finished are
            not asked again; those that failed are. Values of the spec that are given must be the same as then, except
            that repeats and baselines may be added.
        max_concurrent_trials: by default one for each CPU of the cluster, on a single machine one more; each works on
            some dozens of questions at a time. More cost a process each, and help where models are slow and questions
            few.
        show: shows progress (see `dream.progress`).

    Returns:
        Every trial's result; a failed trial is in it with its failure. The same is in storage and in MLflow.

    Raises:
        ConfigurationError: for mistakes in the arguments, all at once, before any model is called.
        ServiceError: when the cluster or a model does not answer, before any trial is started. (Where all answers are
            known from an earlier experiment, no model is asked.)
    """
    spec, settings = as_spec(spec, options), settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    name = _checked_name(name, resume)
    exists = store.experiment_exists(storage, name)
    if exists and not resume:
        raise ConfigurationError(
            f"experiment {name!r} exists in {settings.experiments_uri}: choose another name, or resume it: "
            f"resume={name!r} (dream run --resume {name})"
        )
    before = store.load_manifest(storage, name) if exists else None
    prepared = spec.prepare_again(before, settings) if before else spec.prepare(settings)
    finished, partial = finished_part(storage, name, prepared) if before else ({}, {})
    usage_before = store.load_usage(storage, name) if before else ()
    to_run = [trial for trial in prepared.everything if trial.id not in finished]
    with (
        ray_cluster.connected(settings, meanwhile="ray.tune" if to_run else "") as cluster,
        gateway_client.opened(settings, spent_of(usage_before)),
        index_client.opened(settings, show) as indexes,
    ):
        manifest = prepared.manifest_again(before) if before else prepared.manifest(name, cluster)
        plan = _new_plan(prepared, manifest, before, settings)
        if to_run and not (plan and plan.is_paid):
            _check_models(to_run, prepared.context)
        manifest = replace(manifest, plan=plan or manifest.plan)
        store.save_manifest(storage, name, manifest)
        recorder = Recorder(manifest, prepared, storage, settings, show, finished, partial, usage_before)
        if to_run:
            documents = prepared.context.documents
            indexes.start(documents, [index_request(trial) for trial in to_run if not trial.is_baseline])
            _tune(to_run, prepared.context, recorder, cluster, max_concurrent_trials)
        return recorder.finish()


def _check_models(trials: Sequence[Trial], context: TrialContext) -> None:
    embed_models = [trial.embed_model_identifier for trial in trials if not trial.is_baseline]
    check_models(
        [context.judge_llm, *(trial.llm_identifier for trial in trials)],
        [context.judge_embed_model, *embed_models],
    )


def _checked_name(name: str | None, resume: str | None) -> str:
    if name and resume and name != resume:
        raise ConfigurationError(f"name={name!r} and resume={resume!r}: give one of them")
    name = resume or name or datetime.now(UTC).strftime("experiment-%Y%m%d-%H%M%S")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigurationError(f"name={name!r}: use letters, digits, '.', '_' and '-'")
    return name


def _new_plan(
    prepared: PreparedExperiment, manifest: Manifest, before: Manifest | None, settings: Settings
) -> Plan | None:
    """The plan of a new experiment, or of one with additions; None where nothing is new, or the documents are large.

    Calls for embedding the documents stay as they were planned before the indexes were built.
    """
    too_large = sum(len(document.text) for document in prepared.context.documents) >= PLANNED_CHARACTERS
    if manifest == before or too_large or (before and before.plan is None):
        return None
    plan = plan_of(prepared, settings, but=before.name if before else "")
    if before is None or before.plan is None:
        return plan
    embedding = [row for row in before.plan.calls if row.stage == "embed"]
    return replace(plan, calls=(*embedding, *(row for row in plan.calls if row.stage != "embed")))


def _trainable(config: Mapping[str, Any], context: TrialContext, inbox: Any) -> None:
    """The function that Ray Tune calls on a worker. A failed trial is a result, not an exception."""
    import ray
    from ray import tune

    trial = Trial.from_config(config["trial"])
    finished: Evaluation = ray.get(inbox.finished.remote(trial.id))
    done = len(finished.answers)

    def on_block(block: Evaluation) -> None:
        nonlocal done
        done += len(block.answers)
        inbox.put_block.remote(trial.id, block)
        tune.report({"questions": done, **_means(block)})

    result = experiment_or_failure(config["trial"], context, finished, on_block)
    ray.get(inbox.put_result.remote(result))
    tune.report({"questions": done, "failed": result.failure is not None, **_means(result.evaluation)})


def _means(evaluation: Evaluation | None) -> dict[str, float]:
    summaries = evaluation.summaries() if evaluation else ()
    return {summary.metric: summary.mean for summary in summaries if summary.mean is not None}


def _tune(
    trials: Sequence[Trial],
    context: TrialContext,
    recorder: Recorder,
    cluster: ray_cluster.Cluster,
    max_concurrent_trials: int | None,
) -> None:
    import ray

    at_once = max_concurrent_trials or cluster.trials_at_once
    cpus_each = min(1.0, cluster.cpus / at_once)
    inbox = ray.remote(TrialInbox).options(max_concurrency=1000, **ray_cluster.ON_HEAD).remote(dict(recorder.partial))
    configs = [trial.config() for trial in trials]
    with collecting(inbox, recorder):
        failures = ray_cluster.inside(_fit, recorder.name, configs, context, inbox, at_once, cpus_each)
    recorder.lost(failures)


def _fit(
    name: str, configs: Sequence[Mapping[str, Any]], context: TrialContext, inbox: Any, at_once: int, cpus: float
) -> dict[str, Failure]:
    """Let Ray Tune run the trials; the failures of those that ended without reporting a result, by trial id."""
    from ray import tune

    trainable = tune.with_parameters(_trainable, context=context, inbox=inbox)
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
    with no_variables_for_trials():
        grid = tuner.fit()
    return {
        Trial.from_config(outcome.config["trial"]).id: replace(Failure.of(outcome.error), kind=FailureKind.SERVICE)
        for outcome in (grid[i] for i in range(len(grid)))
        if outcome.error is not None and outcome.config is not None
    }
