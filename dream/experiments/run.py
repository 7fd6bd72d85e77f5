"""`run_experiment(search_space)` runs all trials, on an engine.

Finished questions go to `dream.experiments.recorder` a block at a time, so that nothing that was paid for is lost.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeVar, Unpack

from dream import engines
from dream.engines import Engine, EngineChoice, TrialFinished, TrialRuns, choose_engine
from dream.errors import ConfigurationError
from dream.experiments import store
from dream.experiments.confirmation import Confirming
from dream.experiments.due import Due, due_of, plan_of_new
from dream.experiments.planning import plan_after_sift, plan_of_choice
from dream.experiments.racing import Racing
from dream.experiments.recorder import Recorder
from dream.experiments.reuse import results_taken_over
from dream.experiments.search_rounds import SearchRounds
from dream.experiments.sift import Sifting
from dream.experiments.spec import ExperimentSpec, PreparedExperiment, SpecOptions
from dream.experiments.stopping import restart_trials
from dream.experiments.study import Study, asked
from dream.experiments.trial import TRIAL_MODULES, TrialContext, run_trial
from dream.indexes import client as index_client
from dream.metrics import find_metric
from dream.models import gateway_client
from dream.models.gateway_server import served_to_systems
from dream.models.model_check import Form, check_models, forms_in_use
from dream.models.usage import spent_of
from dream.progress import Reporter, Show, reporter_for
from dream.rag.answers import rerankers_of
from dream.rag.costs import chunk_tokens
from dream.rag.methods import context_llm_of, index_request
from dream.rag.own_systems import check_services
from dream.rag.search_space import SearchSpace
from dream.rag.travelling import KIND
from dream.records import (
    ExperimentResult,
    Failure,
    Manifest,
    Race,
    Trial,
    add_usage,
)
from dream.runtime.by_value import check_arrival
from dream.runtime.libraries import wait_for_imports
from dream.settings import Settings
from dream.storage import Storage, open_storage
from dream.tracking.child import TrackingProcess
from dream.tracking.mlflow_experiment import check_not_deleted

P = ParamSpec("P")
T = TypeVar("T")

# What is embedded by the sentence is seldom longer.
SENTENCE_TOKENS = 100


def run_experiment(
    spec: ExperimentSpec | SearchSpace | Study | None = None,
    *,
    name: str | None = None,
    resume: str | None = None,
    restart: Sequence[str] = (),
    max_concurrent_trials: int | None = None,
    engine: str | None = None,
    settings: Settings | None = None,
    show: Show = print,
    **options: Unpack[SpecOptions],
) -> ExperimentResult:
    """Run every trial of a search space on the same questions with the same judge.

    Args:
        spec: an `ExperimentSpec`, a `Study` (see `read_study`), or only a search space with the other fields as
            keyword arguments: `golden_dataset`, `documents_uri`, `metrics`, `judge_repeats`, `judge_repeat_questions`,
            `baselines`, `strictness`, `sift`, `search`, `hold_out`, `race`.
        name: by default `experiment-<date>-<time>-<4 digits>`.
        resume: the name of an experiment to resume, or to start if there is none yet. Questions that were finished are
            not asked again; those that failed are. Values of the spec that are given must be the same as then, except
            that repeats and baselines may be added.
        restart: with `resume`, trials to continue that were stopped by hand, each by its id, the beginning of the id,
            or its name; others stay stopped (see `stop_trial`).
        max_concurrent_trials: by default 16 in this process; on Ray one for each CPU of the cluster, and at least two.
            Each trial processes dozens of questions concurrently.
        engine: "in_process", "ray" or "auto" (`dream.engines.choose_engine`), by default that of the settings. Results
            do not depend on it.
        show: shows progress (see `dream.progress`).

    Returns:
        Every trial's result; a failed trial is in it with its failure. The same is in storage and in MLflow.

    Raises:
        ConfigurationError: for mistakes in the arguments, all at once, before any model is called.
        ServiceError: when the cluster or a model does not answer, before any trial is started. (Where all answers are
            known from an earlier experiment, no model is asked.)
    """
    spec, settings = asked(spec, options, settings or Settings.from_environment())
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    check_not_deleted(settings)
    name = _checked_name(name, resume)
    exists = store.experiment_exists(storage, name)
    if exists and not resume:
        raise ConfigurationError(
            f"experiment {name!r} exists in {settings.experiments_uri}: choose another name, or resume it: "
            f"resume={name!r} (dream run --resume {name})"
        )
    if restart:
        if not (resume and exists):
            raise ConfigurationError(f"restart={list(restart)}: give the experiment that is resumed too (resume=NAME)")
        restart_trials(storage, name, restart)
    choice, reporter = choose_engine(engine, settings), reporter_for(show)
    with _told_how_to_go_on(name, reporter), TrackingProcess() as tracking:
        if choice.engine == engines.IN_PROCESS:  # a core is idle; starting a local Ray needs them all
            tracking.start()
        before = store.load_manifest(storage, name) if exists else None
        due = due_of(name, spec, before, storage, settings, reporter)
        if due.is_paid:
            choice = EngineChoice(engines.IN_PROCESS, "all answers are already there")
        reporter.line(str(choice))
        runs = due.trial_runs(max_concurrent_trials)
        with (
            _engine(choice, due, runs, settings) as running_on,
            gateway_client.opened(settings, spent_of(due.usage)) as gateway,
            served_to_systems(gateway, settings, reporter.line),
            index_client.opened(settings, reporter, running_on.submit) as indexes,
        ):
            manifest = _checked_manifest(due, running_on, storage, settings, reporter)
            stopped: Failure | None = None
            if due.awaits_sift:
                sifting = Sifting(due.name, due.prepared, storage, settings, reporter, due.usage)
                decision = sifting.run(running_on, max_concurrent_trials)
                if isinstance(decision, Failure):
                    stopped = decision
                else:
                    due, manifest = _sifted(due, manifest, settings, decision)
                    runs = due.trial_runs(max_concurrent_trials)
                    store.save_manifest(storage, name, manifest)
            recorder = _recorder(due, manifest, storage, settings, reporter, tracking)
            if stopped is not None:
                recorder.lost({trial.id: stopped for trial in due.prepared.everything})
            elif due.prepared.search.is_open:
                SearchRounds(recorder, running_on, settings, runs).run()
            elif due.to_run:
                shared, to_index = due.prepared.context, [each for each in due.to_run if each.embed_model_identifier]
                indexes.start(shared.documents, [index_request(trial, shared.methods) for trial in to_index])
                with recorder.progress.start():
                    if due.prepared.race is not None:
                        _race(due, due.prepared.race, running_on, recorder, max_concurrent_trials)
                    else:
                        recorder.lost(running_on.run_trials(replace(runs, to_stop=recorder.to_stop), recorder.take))
            if due.prepared.hold_out is not None:
                _confirm(due.prepared, recorder, running_on, storage, settings, max_concurrent_trials)
            return recorder.finish()


@contextmanager
def _engine(choice: EngineChoice, due: Due, runs: TrialRuns, settings: Settings) -> Iterator[Engine]:
    """The engine, where the user's functions have arrived and the processes of trials start."""
    with engines.opened(choice, settings, TRIAL_MODULES if due.to_check else ()) as engine:
        if due.to_check and engine.name != engines.IN_PROCESS:
            own_metrics = {metric.name: metric for metric in due.prepared.context.own_metrics}
            check_arrival("metric(s)", own_metrics, engine.submit)
            check_arrival(KIND, due.prepared.context.methods, engine.submit)
        if due.is_one_round:
            engine.start_early(runs)
        yield engine


@contextmanager
def _told_how_to_go_on(name: str, reporter: Reporter) -> Iterator[None]:
    """After Ctrl-C or a notebook's stop button, show how to resume the experiment."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.line(
            f"  {name} was stopped; finished answers and scores are kept. Continue with: dream run --resume {name} "
            f"(in Python: run_experiment(resume={name!r}))"
        )
        raise


def _checked_manifest(due: Due, engine: Engine, storage: Storage, settings: Settings, reporter: Reporter) -> Manifest:
    """Check that all models answer; returns the experiment's manifest, which is then in storage."""
    prepared, before = due.prepared, due.before
    manifest = prepared.manifest_again(before) if before else prepared.manifest(due.name, engine)
    plan = due.plan
    if not due.is_paid:
        planning = None if due.is_planned else _in_a_thread(plan_of_new, prepared, settings)
        for note in _check_models(due.to_check, prepared.context):
            reporter.line(f"  {note}")
        plan = planning.result() if planning else plan
    manifest = replace(manifest, plan=plan or manifest.plan, forms=forms_in_use(manifest.endpoints))
    store.save_manifest(storage, due.name, manifest)
    return manifest


def _sifted(due: Due, manifest: Manifest, settings: Settings, decision: PreparedExperiment) -> tuple[Due, Manifest]:
    """The trials that are due after a sift, and the manifest that says so."""
    plan = manifest.plan and plan_after_sift(manifest.plan, decision, settings, due.name)
    return due.only(decision), replace(manifest, trials=decision.trials, sift=decision.sift, plan=plan)


def _confirm(
    prepared: PreparedExperiment,
    recorder: Recorder,
    engine: Engine,
    storage: Storage,
    settings: Settings,
    at_once: int | None,
) -> None:
    """Let the chosen trials answer the held-out questions, and record whether the choice is confirmed."""
    taken = partial(results_taken_over, settings=settings, held_out=True)
    confirming = Confirming(
        recorder.name, prepared, storage, settings, reporter_for(recorder.show), recorder.patiently, run_trial, taken
    )
    recorder.held_out = confirming.run(recorder.outcome, engine, recorder.read_meter, at_once)
    if recorder.held_out and (plan := recorder.manifest.plan) is not None:
        plan = plan_of_choice(plan, prepared, [result.trial for result in recorder.held_out], settings)
        recorder.manifest = replace(recorder.manifest, plan=plan)
        store.save_manifest(storage, recorder.name, recorder.manifest)
    confirming.conclude(recorder.outcome)


def _recorder(
    due: Due, manifest: Manifest, storage: Storage, settings: Settings, reporter: Reporter, tracking: TrackingProcess
) -> Recorder:
    """The recorder of an experiment; reused results are in storage."""
    usage = add_usage(due.usage, *(result.usage for result in due.taken.values()))
    prepared, finished = due.prepared, due.finished
    recorder = Recorder(manifest, prepared, storage, settings, reporter, finished, due.partial, usage, tracking)
    recorder.take([TrialFinished(result) for result in due.taken.values()])
    return recorder


def _race(due: Due, race: Race, engine: Engine, recorder: Recorder, at_once: int | None) -> None:
    """Run the trials in rounds; the decision of each look is in storage before the next round."""

    def keep(decided: Race) -> None:
        recorder.save_manifest(replace(recorder.manifest, race=decided))

    whole = {**due.finished, **due.taken}
    Racing(due.name, due.prepared, race, engine, recorder, run_trial, due.partial, whole, keep, at_once).run()
    recorder.lost({})


def _in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run a function in a daemon thread; the future has its outcome."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised where the outcome is asked for
            future.set_exception(error)

    threading.Thread(target=run, name=f"dream-{function.__name__}", daemon=True).start()
    return future


def _check_models(trials: Sequence[Trial], context: TrialContext) -> list[str]:
    """Send each model the kinds of requests that the trials will send; returns notes for the user."""

    def forms() -> list[Form]:
        wait_for_imports()
        from dream.evaluation.judge_check import judge_forms

        return judge_forms(context.metrics)

    own = {each.id: context.methods.get(each.query_engine_identifier) for each in trials}
    check_services(own, context.golden_dataset.questions[0].question)
    definitions = [find_metric(name) for name in context.metrics]
    judge_forms_of = {context.judge_llm: forms} if any(metric.judged for metric in definitions) else {}
    judge_embeds = any(metric.embedded or metric.derives_questions for metric in definitions)
    chunks = [
        (trial.embed_model_identifier, chunk_tokens(index_request(trial, context.methods).parameters, SENTENCE_TOKENS))
        for trial in trials
        if trial.embed_model_identifier
    ]
    return check_models(
        [llm for trial in trials for llm in (trial.llm_identifier, context_llm_of(trial)) if llm],
        [*([context.judge_embed_model] if judge_embeds else []), *(embed_model for embed_model, _ in chunks)],
        judge_forms_of,
        chunk_tokens=dict(sorted(chunks, key=lambda chunk: chunk[1])),  # the longest of each model comes last
        rerankers=[name for trial in trials for name in rerankers_of(trial)],
    )


def _checked_name(name: str | None, resume: str | None) -> str:
    if name and resume and name != resume:
        raise ConfigurationError(f"name={name!r} and resume={resume!r}: give one of them")
    name = resume or name or store.new_name()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigurationError(f"name={name!r}: use letters, digits, '.', '_' and '-'")
    return name
