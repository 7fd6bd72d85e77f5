"""The sift: before any answer, retrieval alone is scored without a judge, and worse retrieval is left out.

    trials -> retrieval combinations -> passages -> recall, ... -> combinations that may be the best -> their trials run

Trials that differ only in how the LLM answers share a combination. There are no LLM answers and no judgements; only
embeddings are billed, and the calls of combinations that rewrite questions or rerank. The trials find all of them in
the cache.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from dream.defaults import FAILURE_SHARE
from dream.engines import Engine, Message, TrialFinished, TrialRuns
from dream.errors import ConfigurationError
from dream.evaluation.evaluate import EvaluationOptions, evaluator
from dream.evaluation.locating import summary
from dream.experiments import store
from dream.indexes.client import current_indexes, get_index
from dream.metrics import METRICS_WITH_CUTOFF, is_metric
from dream.models.gateway_client import current_gateway
from dream.models.pickers import llm_picker
from dream.progress import Reporter
from dream.rag.methods import index_request, query_engine_picker
from dream.rag.retrievals import retrieval_of, retrieving, why_no_retrieval
from dream.records import (
    HELD_OUT_STAGE,
    INCUMBENT,
    SIFT_STAGE,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Sift,
    SiftedRetrieval,
    Trial,
    TrialResult,
    UsageRow,
    add_usage,
    full_name,
    telling_parameters,
)
from dream.settings import Settings
from dream.storage import Storage

if TYPE_CHECKING:
    from dream.comparison.ranking import Standing
    from dream.experiments.spec import PreparedExperiment
    from dream.experiments.trial import TrialContext

# Recall is the share of the evidence that the LLM would read.
DEFAULT_METRIC = "recall"
_LOST = Failure(FailureKind.SERVICE, "it ended without a result; its worker may have been killed")
_MOST_ROWS = 30


@dataclass(frozen=True)
class Retrieval:
    """A retrieval combination: `trial` has the parameters that the `trials` share."""

    trial: Trial
    trials: tuple[Trial, ...]


def sift_of(asked: bool | str) -> Sift | None:
    """The requested sift: by the default metric for True, else by the named retrieval metric.

    Raises:
        ConfigurationError: for any other metric.
    """
    if not asked:
        return None
    metric = DEFAULT_METRIC if asked is True else asked
    is_text = isinstance(metric, str)  # a study file may contain any value
    if not is_text or not is_metric(metric) or metric.partition("@")[0] not in METRICS_WITH_CUTOFF:
        raise ConfigurationError(
            f"sift={metric!r} is no retrieval metric; valid: {', '.join(METRICS_WITH_CUTOFF)}, also with a number of "
            "passages as in recall@5"
        )
    return Sift(metric)


def with_questions(prepared: "PreparedExperiment", sift: Sift) -> "PreparedExperiment":
    """The experiment with the number of questions that its sift will ask.

    Raises:
        ConfigurationError: if no question has evidence to score passages by.
    """
    located = located_questions(prepared)
    if not located:
        reasons = summary(prepared.context.evidence.values())
        raise ConfigurationError(
            f"the sift scores retrieval by evidence, and no question has any: {reasons}. "
            "Give the golden questions reference contexts, or the file and page of each (columns reference_contexts, "
            "source_file, source_page); or generate questions with `dream golden`; or run without --sift"
        )
    n_questions = len(located) if len(retrievals_of(prepared)) > 1 else 0
    return replace(prepared, sift=replace(sift, n_questions=n_questions))


def located_questions(prepared: "PreparedExperiment") -> tuple[GoldenQuestion, ...]:
    """The questions of a sift: those whose evidence was found in the documents."""
    evidence = prepared.context.evidence
    return tuple(each for each in prepared.questions if each.id in evidence and evidence[each.id].places)


def retrievals_of(prepared: "PreparedExperiment") -> tuple[Retrieval, ...]:
    """The retrieval combinations of the trials, in the order of the trials."""
    methods, trials_by_retrieval = prepared.context.methods, dict[str, list[Trial]]()
    shared: dict[str, Trial] = {}
    for trial in prepared.trials:
        if not why_no_retrieval(trial, methods):
            common = retrieval_of(trial, methods)
            shared[common.id] = common
            trials_by_retrieval.setdefault(common.id, []).append(trial)
    return tuple(Retrieval(shared[key], tuple(trials)) for key, trials in trials_by_retrieval.items())


def untried(prepared: "PreparedExperiment") -> dict[str, str]:
    """The reasons why trials cannot be sifted, by trial id."""
    reasons = {trial.id: why_no_retrieval(trial, prepared.context.methods) for trial in prepared.trials}
    return {trial_id: reason for trial_id, reason in reasons.items() if reason}


def announcement(prepared: "PreparedExperiment") -> list[str]:
    """A line that announces the sift, and one for each reason why some trials cannot be sifted."""
    if prepared.sift is None or prepared.sift.is_done:
        return []
    metric, n_questions = prepared.sift.metric, prepared.sift.n_questions
    if not n_questions:
        return [
            f"sift by {metric}: all trials that can be sifted retrieve in the same way, so there is nothing to compare"
        ]
    retrievals = retrievals_of(prepared)
    n_trials = sum(len(each.trials) for each in retrievals)
    lines = [
        f"sift by {metric}: {len(retrievals)} retrieval combinations of {n_trials} trials are scored first, "
        f"without LLM answers and judge, on the {n_questions} of {len(prepared.questions)} questions whose evidence "
        "is located; trials of combinations that are shown to be worse than the best are not run"
    ]
    if asking := [each for each in retrievals if each.trial.llm_identifier]:
        lines.append(f"{len(asking)} of these combinations may call the LLM, to rewrite questions or to rank")
    reasons = list(untried(prepared).values())
    return lines + [
        f"{reasons.count(reason)} trial(s) cannot be sifted, and run anyway: {reason}"
        for reason in dict.fromkeys(reasons)
    ]


# --- one retrieval combination


def retrieve(context: "TrialContext", config: Mapping[str, Any], *_: Any) -> TrialResult:
    """The function that an engine runs for each retrieval combination: scores its passages, without answers."""
    started, trial = time.monotonic(), Trial.from_config(config)
    options = EvaluationOptions(
        context.judge_llm, context.judge_embed_model, context.metrics, trial=SIFT_STAGE, evidence=context.evidence
    )
    try:
        evaluation = evaluator(_query_engine(trial, context), context.golden_dataset.questions, options)
    except Exception as error:  # noqa: BLE001 - one failure must not end the others
        return TrialResult(trial, failure=Failure.of(error))
    return TrialResult(trial, Evaluation((), evaluation.scores), time.monotonic() - started)


def _query_engine(trial: Trial, context: "TrialContext") -> Any:
    from llama_index.core.llms import MockLLM

    llm = llm_picker(trial.llm_identifier, trial=SIFT_STAGE) if trial.llm_identifier else MockLLM()
    index = get_index(context.documents, *index_request(trial, context.methods), trial=SIFT_STAGE)
    method, values = trial.query_engine_identifier, trial.parameters
    return retrieving(query_engine_picker(method, index, llm, values, trial=SIFT_STAGE, methods=context.methods))


# --- all of them


@dataclass(frozen=True)
class Sifting:
    """The sift of an experiment; `usage` is that of earlier runs."""

    name: str
    prepared: "PreparedExperiment"
    storage: Storage
    settings: Settings
    reporter: Reporter
    usage: Sequence[UsageRow] = ()

    def run(self, engine: Engine, at_once: int | None = None) -> "PreparedExperiment | Failure":
        """Retrieve, compare, show the outcome, and store the scores and the usage.

        Returns:
            The experiment with the remaining trials; a failure if a budget or an endpoint ended the sift.
        """
        retrievals = retrievals_of(self.prepared)
        results = [result.redacted(self.settings.secrets()) for result in self._results(retrievals, engine, at_once)]
        if stopped := next((result.failure for result in results if result.was_stopped), None):
            return stopped
        store.save_sift(self.storage, self.name, results)
        decided = sifted(self.prepared, results)
        if decided.sift:
            self.reporter.line(outcome_text(decided.sift))
        return decided

    def _results(self, found: Sequence[Retrieval], engine: Engine, at_once: int | None) -> list[TrialResult]:
        """The scores of each retrieval combination, in their order; empty if there is nothing to compare."""
        if len(found) < 2:
            return []
        results: dict[str, TrialResult] = {}
        trials, questions = [each.trial for each in found], located_questions(self.prepared)
        requests = [
            index_request(trial, self.prepared.context.methods) for trial in trials if trial.embed_model_identifier
        ]
        current_indexes().start(self.prepared.context.documents, requests)
        function = partial(retrieve, _context(self.prepared, questions))
        runs = TrialRuns(f"{self.name}-sift", trials, function, len(questions), {}, at_once)
        with self.reporter.task("sifting", len(found), "retrieval combinations", final_line=True) as task:

            def receive(messages: Sequence[Message]) -> None:
                for message in messages:
                    if isinstance(message, TrialFinished) and message.result.trial.id not in results:
                        results[message.result.trial.id] = message.result
                        task.advance()
                usage = own_stage(current_gateway().usage())
                store.save_usage(self.storage, self.name, add_usage(self.usage, usage))

            lost = engine.run_trials(runs, receive)
        return [results.get(trial.id) or TrialResult(trial, failure=lost.get(trial.id, _LOST)) for trial in trials]


def _context(prepared: "PreparedExperiment", questions: Sequence[GoldenQuestion]) -> "TrialContext":
    golden = GoldenDataset(tuple(questions), prepared.context.golden_dataset.uri)
    return replace(prepared.context, golden_dataset=golden, metrics=_metrics(prepared), own_metrics=())


def _metrics(prepared: "PreparedExperiment") -> tuple[str, ...]:
    chosen = [prepared.sift.metric] if prepared.sift else []
    return tuple(dict.fromkeys([*chosen, *METRICS_WITH_CUTOFF]))


def sifted(prepared: "PreparedExperiment", results: Sequence[TrialResult]) -> "PreparedExperiment":
    """The experiment with the remaining trials.

    A combination remains unless the whole interval of its difference to the best one is below 0. The intervals are
    those of `dream.comparison`: paired by question, documents resampled as a whole, simultaneous over all pairs.

    Args:
        results: the scores of each combination; empty if there is nothing to compare.
    """
    retrievals = {each.trial.id: each for each in retrievals_of(prepared)}
    judged = _standings(prepared, results) if results else []
    names = _names([each.trial for each in retrievals.values()])
    decided = [_decided(each, judged[0], retrievals[each.trial.id], names, _metric(prepared)) for each in judged]
    decided = decided or [
        SiftedRetrieval(each.trial, _ids(each), True, "it is the only retrieval combination")
        for each in retrievals.values()
    ]
    out = {trial_id for each in decided if not each.goes_on for trial_id in each.trials}
    record = Sift(
        _metric(prepared),
        is_done=True,
        n_questions=prepared.sift.n_questions if prepared.sift else 0,
        retrievals=tuple(decided),
        left_out=tuple(trial for trial in prepared.trials if trial.id in out),
        untried=untried(prepared),
    )
    return left_by(record, prepared)


def left_by(sift: Sift, prepared: "PreparedExperiment") -> "PreparedExperiment":
    """The experiment with the trials that remain after a finished sift."""
    out = {trial.id for trial in sift.left_out}
    return replace(prepared, trials=tuple(trial for trial in prepared.trials if trial.id not in out), sift=sift)


def _standings(prepared: "PreparedExperiment", results: Sequence[TrialResult]) -> "Sequence[Standing]":
    from dream.comparison.ranking import standings
    from dream.comparison.score_table import score_table

    golden = GoldenDataset(located_questions(prepared))
    experiment = ExperimentResult("the sift", Manifest("the sift", golden, _metrics(prepared)), tuple(results))
    return standings(score_table(experiment, _metric(prepared)), FAILURE_SHARE)[0]


def _decided(
    standing: "Standing", best: "Standing", retrieval: Retrieval, names: Mapping[str, str], metric: str
) -> SiftedRetrieval:
    is_incumbent, difference = bool(standing.trial.parameters.get(INCUMBENT)), standing.difference
    goes_on = standing.in_set or standing.rank is None or is_incumbent
    if standing.rank is None or standing.mean is None or best.mean is None:
        reason = f"it could not be scored: {standing.why_not_ranked}"
    elif difference is None:
        reason = f"it has the highest {metric}, {standing.mean:.3f}"
    else:
        compared = (
            f"{metric} {standing.mean:.3f} against {best.mean:.3f} of {names[best.trial.id]}, a difference of "
            f"{difference.mean:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
        )
        kept = "it is the incumbent" if is_incumbent and not standing.in_set else "it may be as good as the best"
        reason = f"{kept if goes_on else 'sifted out'}: {compared}"
    return SiftedRetrieval(
        standing.trial,
        _ids(retrieval),
        goes_on,
        reason,
        standing.n_scored,
        standing.means,
        *((difference.mean, difference.low, difference.high) if difference else ()),
    )


def _metric(prepared: "PreparedExperiment") -> str:
    return prepared.sift.metric if prepared.sift else DEFAULT_METRIC


def _ids(retrieval: Retrieval) -> tuple[str, ...]:
    return tuple(trial.id for trial in retrieval.trials)


def _names(trials: Sequence[Trial]) -> dict[str, str]:
    telling = telling_parameters(trials)
    return {trial.id: full_name(trial, telling[trial.id]) for trial in trials}


def outcome_text(sift: Sift) -> str:
    """The outcome for a terminal: the summary, and a table of the retrieval combinations, the best first."""
    names, shown = _names([each.trial for each in sift.retrievals]), sift.retrievals[:_MOST_ROWS]
    rows = [
        {
            "retrieval combination": names[each.trial.id],
            "trials": len(each.trials),
            sift.metric: "" if (mean := each.means.get(sift.metric)) is None else f"{mean:.3f}",
            "against the best": each.compared,
            "": "goes on" if each.goes_on else "sifted out",
        }
        for each in shown
    ]
    table = tabulate(rows, headers="keys", disable_numparse=True)
    more = len(sift.retrievals) - len(shown)
    rest = [f"and {more} more, which the report shows (dream compare --html)"] if more else []
    return "\n".join([sift.summary, table, *rest])


def own_stage(usage: Sequence[UsageRow]) -> tuple[UsageRow, ...]:
    """The usage rows, with the calls of the sift and of the confirmation in stages of their own."""
    stages = (SIFT_STAGE, HELD_OUT_STAGE)
    return add_usage(replace(row, trial="", stage=row.trial) if row.trial in stages else row for row in usage)
