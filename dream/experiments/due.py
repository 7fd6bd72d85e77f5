"""`Due`: the unfinished part of an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from dream import services
from dream.engines import TrialRuns
from dream.experiments import store
from dream.experiments.planning import plan_of, uncounted_text
from dream.experiments.resume import finished_part
from dream.experiments.reuse import is_alike, results_taken_over, sift_taken_over
from dream.experiments.sift import left_by
from dream.experiments.spec import ExperimentSpec, PreparedExperiment
from dream.experiments.trial import TRIAL_MODULES, run_trial
from dream.models import gateway_client
from dream.progress import Reporter
from dream.records import INDEX_STAGES, Evaluation, Manifest, Plan, Trial, TrialResult, UsageRow
from dream.runtime.libraries import wait_for_imports
from dream.settings import Settings
from dream.storage import Storage

T = TypeVar("T")

# Larger documents that were not counted before are not chunked an additional time only to count the texts to embed.
PLANNED_CHARACTERS = 5_000_000


@dataclass(frozen=True)
class Due:
    """An experiment, and its unfinished part.

    `before` is the manifest of the resumed experiment. `finished` holds its results, `taken` reused results of other
    experiments, and `partial` the finished questions of the trials in `to_run`, all by trial id. `usage` is that of
    earlier runs. `is_confirmed`: an earlier run has confirmed the choice. `is_planned` is False if no earlier
    experiment was similar, so that no call can be cached: the plan is then made later, while models are checked.
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
        """The trials and baselines without a complete result."""
        return [trial for trial in self.prepared.everything if trial.id not in {**self.finished, **self.taken}]

    @property
    def is_paid(self) -> bool:
        """True if, as far as is known, every remaining call will be answered from the cache."""
        if self.prepared.search.is_open:
            return False
        return bool(self.plan and self.plan.is_paid) or not (self.to_run or self.awaits_confirmation)

    @property
    def awaits_confirmation(self) -> bool:
        """True if held-out questions may have to be asked."""
        return self.prepared.hold_out is not None and not self.is_confirmed

    @property
    def to_check(self) -> list[Trial]:
        """Trials that together send every kind of request that the models will receive."""
        return [*self.to_run, *(self.prepared.candidates if self.prepared.search.is_open else ())]

    @property
    def awaits_sift(self) -> bool:
        """True if a sift must still decide which trials run."""
        sift = self.prepared.sift
        return sift is not None and not sift.is_done

    @property
    def is_one_round(self) -> bool:
        """True if exactly the trials in `to_run` run, all from the start: no sift, search in rounds or race decides."""
        return bool(self.to_run) and not (
            self.awaits_sift or self.prepared.search.is_open or self.prepared.race is not None
        )

    def only(self, prepared: PreparedExperiment) -> "Due":
        """A copy for an experiment with fewer trials."""
        ids = {trial.id for trial in prepared.everything}

        def of_those(results: Mapping[str, T]) -> dict[str, T]:
            return {trial_id: result for trial_id, result in results.items() if trial_id in ids}

        finished, taken, partial_results = of_those(self.finished), of_those(self.taken), of_those(self.partial)
        return replace(self, prepared=prepared, finished=finished, taken=taken, partial=partial_results)

    def trial_runs(self, at_once: int | None) -> TrialRuns:
        """The trials in the form that engines take."""
        function, n_questions = partial(run_trial, self.prepared.context), len(self.prepared.questions)
        return TrialRuns(self.name, self.to_run, function, n_questions, self.partial, at_once, modules=TRIAL_MODULES)


def due_of(
    name: str, spec: ExperimentSpec, before: Manifest | None, storage: Storage, settings: Settings, show: Reporter
) -> Due:
    """Prepare a new or resumed experiment, and plan its remaining calls. Sends no model call."""
    prepared = spec.prepare_again(before, settings, show) if before else spec.prepare(settings, show)
    if before is None and not any(is_alike(manifest, prepared) for manifest in store.load_manifests(storage).values()):
        return Due(name, prepared, before, None, {}, {}, {}, (), is_planned=False)
    finished, partial_results = finished_part(storage, name, prepared) if before else ({}, {})
    usage = store.load_usage(storage, name) if before else ()
    with services.in_this_process(), gateway_client.opened(settings):
        if before is None and (known := sift_taken_over(prepared, settings)) is not None:
            prepared = left_by(known[0], prepared)
            show.line(f"reusing the sift of {known[1]}: {known[0].summary}")
        plan = _new_plan(prepared, before, settings)
        taken = {} if before else results_taken_over(prepared, settings)
    is_confirmed = before is not None and store.is_confirmed(storage, name)
    return Due(name, prepared, before, plan, finished, taken, partial_results, usage, is_confirmed=is_confirmed)


def plan_of_new(prepared: PreparedExperiment, settings: Settings) -> Plan | None:
    """The plan of an experiment without cached calls, made while this process waits for models to answer."""
    wait_for_imports()
    return _new_plan(prepared, None, settings)


def _new_plan(prepared: PreparedExperiment, before: Manifest | None, settings: Settings) -> Plan | None:
    """The plan of a new or extended experiment; None if nothing is new, or if the documents are large and no earlier
    plan counted them.

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
