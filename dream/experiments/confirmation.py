"""Confirms a choice on questions that the search never saw.

    golden dataset -> some documents' questions are held out -> trials answer the rest -> comparison
    -> the recommended trial, the runner-up and the incumbent answer what was held out -> does the choice survive?

The calls use the same engine, gateway, cache and budget as those of the trials. They are counted in a stage of their
own, so that a trial's cost per question covers only the questions of the comparison.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dream.engines import BlockFinished, Engine, Message, TrialFinished, TrialRuns
from dream.errors import DataError, DreamError
from dream.evaluation.locating import locate
from dream.experiments import store
from dream.experiments.resume import finished_part
from dream.indexes.client import current_indexes
from dream.metrics import find_metric
from dream.progress import Reporter
from dream.rag.methods import index_request
from dream.records import (
    HELD_OUT_STAGE,
    JUDGED_ONCE,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Manifest,
    Trial,
    TrialResult,
)
from dream.settings import Settings
from dream.storage import Storage

if TYPE_CHECKING:
    from dream.experiments.spec import PreparedExperiment

_LOST = Failure(FailureKind.SERVICE, "it ended without a result; its worker may have been killed")


def confirming(prepared: "PreparedExperiment", trials: Sequence[Trial]) -> "PreparedExperiment":
    """The experiment in which these trials answer the held-out questions."""
    assert prepared.hold_out is not None
    golden, context = prepared.hold_out.golden_dataset, prepared.context
    evidence = {}
    if any(find_metric(name).needs_evidence for name in context.metrics):
        evidence = locate(golden.questions, context.documents)
    context = replace(context, golden_dataset=golden, repeats=JUDGED_ONCE, evidence=evidence, metered_as=HELD_OUT_STAGE)
    return replace(prepared, trials=tuple(trials), baselines=(), context=context, sift=None, hold_out=None, race=None)


def as_confirmation(manifest: Manifest) -> Manifest | None:
    """The manifest of an experiment's answers to its held-out questions; None if none were held out."""
    hold_out = manifest.hold_out
    return hold_out and replace(manifest, golden_dataset=hold_out.golden_dataset, hold_out=None, race=None)


@dataclass(frozen=True)
class Confirming:
    """Asks the chosen trials of an experiment the held-out questions; finished questions are stored in blocks.

    Args:
        patiently: a function that writes to storage, and retries while storage cannot be reached.
        run_trial: runs one trial in a context, as an engine calls it.
        taken: a function that finds results of earlier experiments, by trial id.
    """

    name: str
    prepared: "PreparedExperiment"
    storage: Storage
    settings: Settings
    reporter: Reporter
    patiently: Callable[[Callable[[], None]], None]
    run_trial: Callable[..., TrialResult]
    taken: Callable[["PreparedExperiment"], Mapping[str, TrialResult]]

    def run(
        self, outcome: ExperimentResult, engine: Engine, read_usage: Callable[[], None], at_once: int | None = None
    ) -> tuple[TrialResult, ...]:
        """The results of the chosen trials on the held-out questions. If none can be chosen, empty, and a line shows
        why.

        Args:
            outcome: of the search.
            read_usage: stores the gateway's usage.
        """
        try:
            trials = chosen_by(outcome)
        except DreamError as error:
            self.reporter.line(f"  no trial can be confirmed on the held-out questions: {error}")
            return ()
        part, prepared = store.held_out_part(self.name), confirming(self.prepared, trials)
        finished, partial_results = finished_part(self.storage, part, prepared)
        taken = {trial_id: each for trial_id, each in self.taken(prepared).items() if trial_id not in finished}
        for result in taken.values():
            store.save_result(self.storage, part, result)
        results = {**finished, **taken}
        to_run = [trial for trial in trials if trial.id not in results]
        if to_run:
            results |= self._asked(prepared, to_run, partial_results, engine, read_usage, at_once)
        read_usage()
        return tuple(results[trial.id] for trial in trials)

    def conclude(self, outcome: ExperimentResult) -> None:
        """Store and show the confirmation, or show why there is none."""
        if not outcome.held_out:
            return
        from dream.comparison.comparison import compare

        try:
            confirmation = compare(outcome).confirmation
        except DreamError as error:
            self.reporter.line(f"  the held-out questions could not be compared: {error}")
            return
        if confirmation is not None and not any(result.failure for result in outcome.held_out):
            store.save_confirmation(self.storage, self.name, confirmation)
            self.reporter.line(f"\n{confirmation.text}")

    def _asked(
        self,
        prepared: "PreparedExperiment",
        trials: Sequence[Trial],
        finished: Mapping[str, Evaluation],
        engine: Engine,
        read_usage: Callable[[], None],
        at_once: int | None,
    ) -> dict[str, TrialResult]:
        part, secrets, questions = store.held_out_part(self.name), self.settings.secrets(), prepared.questions
        requests = [index_request(trial, prepared.context.methods) for trial in trials if trial.embed_model_identifier]
        current_indexes().start(prepared.context.documents, requests)
        runs = TrialRuns(
            part.replace("/", "-"), trials, partial(self.run_trial, prepared.context), len(questions), finished, at_once
        )
        results: dict[str, TrialResult] = {}
        with self.reporter.task("confirming", len(trials), "trials", final_line=True) as task:

            def receive(messages: Sequence[Message]) -> None:
                for message in messages:
                    if isinstance(message, BlockFinished) and message.trial_id not in results:
                        block = message.block.redacted(secrets)
                        self.patiently(partial(store.save_block, self.storage, part, message.trial_id, block))
                    elif isinstance(message, TrialFinished) and message.result.trial.id not in results:
                        self._keep(message.result.redacted(secrets), results)
                        task.advance()
                read_usage()

            lost = engine.run_trials(runs, receive)
        for trial in trials:
            if trial.id not in results:
                self._keep(TrialResult(trial, failure=lost.get(trial.id, _LOST)), results)
        return results

    def _keep(self, result: TrialResult, results: dict[str, TrialResult]) -> None:
        results[result.trial.id] = result
        part = store.held_out_part(self.name)
        self.patiently(lambda: store.save_result(self.storage, part, result))
        if result.failure is None:
            self.patiently(lambda: store.delete_blocks(self.storage, part, result.trial.id))


def chosen_by(outcome: ExperimentResult) -> list[Trial]:
    """The trials of a finished search that answer the held-out questions, by the experiment's own objective.

    Raises:
        DataError: if no trial can be ranked.
    """
    from dream.comparison.comparison import compare
    from dream.comparison.held_out import to_confirm

    if outcome.stopped:
        raise DataError(f"the search is not finished ({outcome.stopped})")
    comparison = compare(outcome)
    return list(to_confirm(comparison.standings, comparison.recommendation.trial).values())
