"""`experiment(config)` is one trial; `run_experiment(search_space)` is all of them, on an engine.

Finished questions go to `dream.experiments.recorder` a block at a time, so that nothing that was paid for is lost.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar, Unpack

from dream import engines, services
from dream.by_value import check_arrival
from dream.engines import Engine, EngineChoice, TrialFinished, TrialRuns, choose_engine
from dream.errors import ConfigurationError
from dream.evaluation.evaluate import EvaluationOptions, evaluator
from dream.experiments import store
from dream.experiments.confirmation import Confirming
from dream.experiments.planning import is_alike, plan_after_sift, plan_of, plan_of_choice, uncounted_text
from dream.experiments.racing import Racing
from dream.experiments.recorder import Recorder
from dream.experiments.resume import finished_part
from dream.experiments.reuse import results_taken_over, sift_taken_over
from dream.experiments.search_rounds import SearchRounds
from dream.experiments.sift import Sifting, left_by
from dream.experiments.spec import ExperimentSpec, PreparedExperiment, SpecOptions, TrialContext
from dream.experiments.stopping import restart_trials
from dream.experiments.study import Study, asked
from dream.indexes import client as index_client
from dream.indexes.client import get_index
from dream.libraries import wait_for_imports
from dream.metrics import find_metric, register
from dream.models import gateway_client
from dream.models.gateway_server import served_to_systems
from dream.models.model_check import Form, check_models, forms_in_use
from dream.models.pickers import llm_picker
from dream.models.usage import spent_of
from dream.progress import Reporter, Show, reporter_for
from dream.rag.answers import rerankers_of
from dream.rag.baselines import baseline_engine, metrics_of, questions_of
from dream.rag.costs import chunk_tokens
from dream.rag.methods import context_llm_of, index_request, query_engine_picker
from dream.rag.own_systems import check_services
from dream.rag.search_space import SearchSpace
from dream.rag.travelling import KIND
from dream.records import (
    CLOSED_BOOK,
    INDEX_STAGES,
    Evaluation,
    ExperimentResult,
    Failure,
    Manifest,
    Plan,
    Race,
    Trial,
    TrialResult,
    UsageRow,
    add_usage,
)
from dream.settings import Settings
from dream.storage import Storage, open_storage
from dream.tracking.child import TrackingProcess
from dream.tracking.mlflow_experiment import check_not_deleted

P = ParamSpec("P")
T = TypeVar("T")

# What trials and the check of the models import: two seconds of CPU.
NEEDED_SOON = ("dream.rag.synthesis", "dream.evaluation.judge")
# What is embedded by the sentence is seldom longer.
SENTENCE_TOKENS = 100
# Documents with more text that were not counted before are not chunked a second time only to count what to embed.
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
    for metric in context.own_metrics:  # in a worker they are not known yet
        register(metric)
    trial = Trial.from_config(config)
    label = context.metered_as or trial.id
    llm = llm_picker(trial.llm_identifier, trial=label) if trial.llm_identifier else None
    questions = questions_of(trial, context.golden_dataset.questions)
    if trial.is_baseline and llm is not None:
        n_nodes, query_engine = None, baseline_engine(trial, llm, questions)
    else:
        index = get_index(context.documents, *index_request(trial, context.methods), trial=label)
        n_nodes = len(index.docstore.docs)
        query_engine = query_engine_picker(
            trial.query_engine_identifier, index, llm, trial.parameters, trial=label, methods=context.methods
        )
    evaluation = evaluator(
        query_engine,
        questions,
        EvaluationOptions(
            context.judge_llm,
            context.judge_embed_model,
            metrics_of(trial, context.metrics),
            context.strictness,
            trial=label,
            repeats=context.repeats_of(trial),
            needs_contexts=trial.query_engine_identifier != CLOSED_BOOK,
            evidence=context.evidence,
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
        restart: with `resume`, trials that were stopped by hand and are to go on, each by its id, the beginning of it
            or its name; others stay stopped (see `stop_trial`).
        max_concurrent_trials: by default 16 in this process; on Ray one for each CPU of the cluster, and on a single
            machine one more. Each works on some dozens of questions at a time.
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
        due = _due(name, spec, before, storage, settings, reporter)
        if due.is_paid:
            choice = EngineChoice(engines.IN_PROCESS, "all answers are there already")
        reporter.line(str(choice))
        with (
            engines.opened(choice, settings, NEEDED_SOON if due.to_check else ()) as running_on,
            gateway_client.opened(settings, spent_of(due.usage)) as gateway,
            served_to_systems(gateway, settings, reporter.line),
            index_client.opened(settings, reporter, running_on.submit) as indexes,
        ):
            if due.to_check and running_on.name != engines.IN_PROCESS:
                own_metrics = {metric.name: metric for metric in due.prepared.context.own_metrics}
                check_arrival("metric(s)", own_metrics, running_on.submit)
                check_arrival(KIND, due.prepared.context.methods, running_on.submit)
            manifest = _checked_manifest(due, running_on, storage, settings, reporter)
            stopped: Failure | None = None
            if due.awaits_sift:
                sifting = Sifting(due.name, due.prepared, storage, settings, reporter, due.usage)
                decision = sifting.run(running_on, max_concurrent_trials)
                if isinstance(decision, Failure):
                    stopped = decision
                else:
                    due, manifest = _sifted(due, manifest, settings, decision)
                    store.save_manifest(storage, name, manifest)
            recorder = _recorder(due, manifest, storage, settings, reporter, tracking)
            if stopped is not None:
                recorder.lost({trial.id: stopped for trial in due.prepared.everything})
            elif due.prepared.search.is_open:
                SearchRounds(recorder, running_on, settings, due.trial_runs(max_concurrent_trials)).run()
            elif due.to_run:
                shared, to_index = due.prepared.context, [each for each in due.to_run if each.embed_model_identifier]
                indexes.start(shared.documents, [index_request(trial, shared.methods) for trial in to_index])
                with recorder.progress.start():
                    if due.prepared.race is not None:
                        _race(due, due.prepared.race, running_on, recorder, max_concurrent_trials)
                    else:
                        runs = replace(due.trial_runs(max_concurrent_trials), to_stop=recorder.to_stop)
                        recorder.lost(running_on.run_trials(runs, recorder.take))
            if due.prepared.hold_out is not None:
                _confirm(due.prepared, recorder, running_on, storage, settings, max_concurrent_trials)
            return recorder.finish()


@contextmanager
def _told_how_to_go_on(name: str, reporter: Reporter) -> Iterator[None]:
    """Say, after Ctrl-C or a notebook's stop button, how to resume the experiment."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.line(
            f"  {name} was stopped; finished answers and scores are kept. Go on with: dream run --resume {name} "
            f"(in Python: run_experiment(resume={name!r}))"
        )
        raise


@dataclass(frozen=True)
class _Due:
    """An experiment, and what of it is still to be done.

    `before` is the manifest of the experiment that is resumed. `finished` are results that it has, `taken` those of
    other experiments, `partial` finished questions of the trials in `to_run`, all by trial id. `usage` is that of
    earlier runs. `is_confirmed`: an earlier run has confirmed the choice. `is_planned` is False where no experiment
    before asked anything like it, so that it cannot be paid for: its plan is made later, while models are checked.
    """

    name: str
    prepared: PreparedExperiment
    before: Manifest | None
    plan: Plan | None
    finished: Mapping[str, TrialResult]
    taken: Mapping[str, TrialResult]
    partial: Mapping[str, Evaluation]
    usage: tuple[UsageRow, ...]
    is_planned: bool = True
    is_confirmed: bool = False

    @property
    def to_run(self) -> list[Trial]:
        """The trials and baselines without a whole result."""
        return [trial for trial in self.prepared.everything if trial.id not in {**self.finished, **self.taken}]

    @property
    def is_paid(self) -> bool:
        """True if the cache has, as far as is known, the answer to every call that is left."""
        if self.prepared.search.is_open:
            return False
        return bool(self.plan and self.plan.is_paid) or not (self.to_run or self.awaits_confirmation)

    @property
    def awaits_confirmation(self) -> bool:
        """True if held-out questions may have to be asked."""
        return self.prepared.hold_out is not None and not self.is_confirmed

    @property
    def to_check(self) -> list[Trial]:
        """Trials with all that will be asked of models."""
        return [*self.to_run, *(self.prepared.candidates if self.prepared.search.is_open else ())]

    @property
    def awaits_sift(self) -> bool:
        """True if a sift has still to decide which trials are run."""
        sift = self.prepared.sift
        return sift is not None and not sift.is_done

    def only(self, prepared: PreparedExperiment) -> "_Due":
        """The same of an experiment with fewer trials."""
        ids = {trial.id for trial in prepared.everything}

        def of_those(results: Mapping[str, T]) -> dict[str, T]:
            return {trial_id: result for trial_id, result in results.items() if trial_id in ids}

        finished, taken, partial_results = of_those(self.finished), of_those(self.taken), of_those(self.partial)
        return replace(self, prepared=prepared, finished=finished, taken=taken, partial=partial_results)

    def trial_runs(self, at_once: int | None) -> TrialRuns:
        """The trials in the form that engines take."""
        function = partial(_run_trial, self.prepared.context)
        return TrialRuns(self.name, self.to_run, function, len(self.prepared.questions), self.partial, at_once)


def _due(
    name: str, spec: ExperimentSpec, before: Manifest | None, storage: Storage, settings: Settings, show: Reporter
) -> _Due:
    """Prepare an experiment, new or resumed, and plan what is left of it; nothing is asked."""
    prepared = spec.prepare_again(before, settings, show) if before else spec.prepare(settings, show)
    if before is None and not any(is_alike(manifest, prepared) for manifest in store.load_manifests(storage).values()):
        return _Due(name, prepared, before, None, {}, {}, {}, (), is_planned=False)
    finished, partial_results = finished_part(storage, name, prepared) if before else ({}, {})
    usage = store.load_usage(storage, name) if before else ()
    with services.in_this_process(), gateway_client.opened(settings):
        if before is None and (known := sift_taken_over(prepared, settings)) is not None:
            prepared = left_by(known[0], prepared)
            show.line(f"the sift of {known[1]} is taken over: {known[0].summary}")
        plan = _new_plan(prepared, before, settings)
        taken = {} if before else results_taken_over(prepared, settings)
    is_confirmed = before is not None and store.is_confirmed(storage, name)
    return _Due(name, prepared, before, plan, finished, taken, partial_results, usage, is_confirmed=is_confirmed)


def _checked_manifest(due: _Due, engine: Engine, storage: Storage, settings: Settings, reporter: Reporter) -> Manifest:
    """The manifest of an experiment whose models answer; it is in storage."""
    prepared, before = due.prepared, due.before
    manifest = prepared.manifest_again(before) if before else prepared.manifest(due.name, engine)
    plan = due.plan
    if not due.is_paid:
        planning = None if due.is_planned else _in_a_thread(_plan_of_new, prepared, settings)
        for note in _check_models(due.to_check, prepared.context):
            reporter.line(f"  {note}")
        plan = planning.result() if planning else plan
    manifest = replace(manifest, plan=plan or manifest.plan, forms=forms_in_use(manifest.endpoints))
    store.save_manifest(storage, due.name, manifest)
    return manifest


def _sifted(due: _Due, manifest: Manifest, settings: Settings, decision: PreparedExperiment) -> tuple[_Due, Manifest]:
    """What is due after a sift, and the manifest that says so."""
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
    """Let the chosen trials answer the held-out questions, and keep what becomes of the choice."""
    taken = partial(results_taken_over, settings=settings, held_out=True)
    confirming = Confirming(
        recorder.name, prepared, storage, settings, reporter_for(recorder.show), recorder.patiently, _run_trial, taken
    )
    recorder.held_out = confirming.run(recorder.outcome, engine, recorder.read_meter, at_once)
    if recorder.held_out and (plan := recorder.manifest.plan) is not None:
        plan = plan_of_choice(plan, prepared, [result.trial for result in recorder.held_out], settings)
        recorder.manifest = replace(recorder.manifest, plan=plan)
        store.save_manifest(storage, recorder.name, recorder.manifest)
    confirming.conclude(recorder.outcome)


def _recorder(
    due: _Due, manifest: Manifest, storage: Storage, settings: Settings, reporter: Reporter, tracking: TrackingProcess
) -> Recorder:
    """The recorder of an experiment; results that were taken over are in storage."""
    usage = add_usage(due.usage, *(result.usage for result in due.taken.values()))
    prepared, finished = due.prepared, due.finished
    recorder = Recorder(manifest, prepared, storage, settings, reporter, finished, due.partial, usage, tracking)
    recorder.take([TrialFinished(result) for result in due.taken.values()])
    return recorder


def _race(due: _Due, race: Race, engine: Engine, recorder: Recorder, at_once: int | None) -> None:
    """Run the trials in rounds; the decision of each look is in storage before the next round."""

    def keep(decided: Race) -> None:
        recorder.save_manifest(replace(recorder.manifest, race=decided))

    whole = {**due.finished, **due.taken}
    Racing(due.name, due.prepared, race, engine, recorder, _run_trial, due.partial, whole, keep, at_once).run()
    recorder.lost({})


def _plan_of_new(prepared: PreparedExperiment, settings: Settings) -> Plan | None:
    """The plan of an experiment that nobody has paid for, made while this process waits for answers of models."""
    wait_for_imports()
    return _new_plan(prepared, None, settings)


def _in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run a function in a thread that keeps no process alive; the future has its outcome."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised where the outcome is asked for
            future.set_exception(error)

    threading.Thread(target=run, name=f"dream{function.__name__}", daemon=True).start()
    return future


def _run_trial(
    context: TrialContext, config: Mapping[str, Any], finished: Evaluation, on_block: Callable[[Evaluation], None]
) -> TrialResult:
    """The function that an engine runs for each trial."""
    return experiment_or_failure(config, context, finished, on_block)


def _check_models(trials: Sequence[Trial], context: TrialContext) -> list[str]:
    """Send each model what the trials will send; what a user should know of it."""

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


def _new_plan(prepared: PreparedExperiment, before: Manifest | None, settings: Settings) -> Plan | None:
    """The plan of a new experiment, or of one with additions; None where nothing is new, or the documents are large and
    were not counted by an earlier plan.

    Calls for the indexes stay as they were planned before the indexes were built.
    """
    nothing_new = before is not None and prepared.manifest_again(before) == before
    if nothing_new or (before and before.plan is None) or uncounted_text(prepared, settings) >= PLANNED_CHARACTERS:
        return None
    plan = plan_of(prepared, settings, but=before.name if before else "")
    if before is None or before.plan is None:
        return plan
    of_indexes = [row for row in before.plan.calls if row.stage in INDEX_STAGES]
    return replace(plan, calls=(*of_indexes, *(row for row in plan.calls if row.stage not in INDEX_STAGES)))
