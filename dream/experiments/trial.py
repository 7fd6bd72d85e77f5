"""One complete trial: documents become an index, the index a query engine, its answers scores. Runs on any engine."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dream.evaluation.evaluate import JUDGED_ONCE, STRICTNESS, EvaluationOptions, Repeats, evaluator
from dream.evaluation.evidence import Evidence
from dream.indexes.client import get_index
from dream.metrics import METRICS, Metric, register
from dream.models.pickers import llm_picker
from dream.rag.baselines import baseline_engine, metrics_of, questions_of
from dream.rag.methods import index_request, query_engine_picker
from dream.rag.travelling import TravellingMethods
from dream.records import CLOSED_BOOK, Evaluation, Failure, GoldenDataset, Trial, TrialResult

# What trials and the check of the models import late: two seconds of CPU.
TRIAL_MODULES = ("dream.rag.synthesis", "dream.evaluation.judge")


@dataclass(frozen=True)
class TrialContext:
    """Everything that all trials of an experiment share. `repeats` has the answers that are judged several times;
    `evidence` that of each question by its id, if a metric needs it; `own_metrics` the user's functions, rubrics and
    criteria; `methods` the user's RAG methods. `metered_as` labels the calls of all trials in the gateway's usage, by
    default with each trial's id."""

    documents: Sequence[Any]
    golden_dataset: GoldenDataset
    judge_llm: str
    judge_embed_model: str
    metrics: Sequence[str] = METRICS
    strictness: int = STRICTNESS
    repeats: Repeats = JUDGED_ONCE
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    own_metrics: tuple[Metric, ...] = ()
    methods: TravellingMethods = field(default_factory=TravellingMethods)
    metered_as: str = ""

    def repeats_of(self, trial: Trial) -> Repeats:
        """The repeats of a trial; baselines are judged once."""
        return JUDGED_ONCE if trial.is_baseline else self.repeats


def experiment(
    config: Mapping[str, Any],
    context: TrialContext,
    known: Evaluation | None = None,
    on_block: Callable[[Evaluation], None] | None = None,
) -> TrialResult:
    """Run one trial: documents become an index, the index a query engine, its answers scores.

    Args:
        config: `query_engine_identifier`, `llm_identifier`, `embed_model_identifier` and the method's parameters; for
            baselines only the first two (see `dream.rag.baselines`).
        known: the questions that an earlier run has finished.
        on_block: called with blocks of finished questions.
    """
    started = time.monotonic()
    for metric in context.own_metrics:  # a worker process does not have them yet
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
    """Like `experiment`, but an exception becomes the failure of the trial, with its traceback."""
    try:
        return experiment(config, context, known, on_block)
    except Exception as error:  # noqa: BLE001 - one trial's failure must not end the others
        return TrialResult(Trial.from_config(config), failure=Failure.of(error))


def run_trial(
    context: TrialContext, config: Mapping[str, Any], finished: Evaluation, on_block: Callable[[Evaluation], None]
) -> TrialResult:
    """The function that an engine runs for each trial."""
    return experiment_or_failure(config, context, finished, on_block)
