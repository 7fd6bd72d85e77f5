"""`evaluator(query_engine, golden_dataset)`: questions become answers and scores, concurrently, failures included.

A question that cannot be answered, or a judgement that cannot be read, is recorded as a failure: it is counted, and
never silently averaged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dream.defaults import MAX_CONCURRENT_QUESTIONS, STRICTNESS
from dream.errors import ConfigurationError
from dream.evaluation.asking import count_tokens_by_question
from dream.evaluation.evidence import Evidence
from dream.evaluation.procedure import Blocks, Procedure, evaluate_questions
from dream.metrics import METRICS, check_metrics, is_judged
from dream.records import JUDGED_ONCE as JUDGED_ONCE, Evaluation, GoldenQuestion, Repeats as Repeats
from dream.records.evaluations import by_question as by_question, joined as joined
from dream.runtime.event_loop import run_async
from dream.runtime.libraries import prepare_libraries

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine


BLOCK_SIZE = 10


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Args:
        judge_llm, judge_embed_model: model identifiers; use the same for all trials of an experiment.
        metrics: names of metrics (`dream.metrics`).
        strictness: number of questions that answer_relevancy derives from an answer.
        max_concurrency: the maximum number of concurrent questions.
        block_size: the number of finished questions per call of `on_block`.
        trial: labels the judge's calls in the gateway's usage.
        repeat: the number of the judgement; a new number bypasses cached judgements.
        repeats: the answers to judge several times, bypassing the cache; further scores are in `Evaluation.repeats`.
        needs_contexts: an answer without any retrieved context is a failure.
        evidence: the evidence by question id, as located in the documents by `dream.evaluation.locate`; for other
            questions, the evidence that they name.

    Raises:
        ConfigurationError: for an unknown metric, listing the valid ones; for a number below 1.
    """

    judge_llm: str
    judge_embed_model: str
    metrics: Sequence[str] = METRICS
    strictness: int = STRICTNESS
    max_concurrency: int = MAX_CONCURRENT_QUESTIONS
    block_size: int = BLOCK_SIZE
    trial: str = ""
    repeat: int = 0
    repeats: Repeats = JUDGED_ONCE
    needs_contexts: bool = True
    evidence: Mapping[str, Evidence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_metrics(self.metrics)
        numbers = {
            "max_concurrency": self.max_concurrency,
            "strictness": self.strictness,
            "block_size": self.block_size,
        }
        if wrong := {name: value for name, value in numbers.items() if value < 1}:
            raise ConfigurationError(f"{wrong}: give at least 1")


def evaluator(
    query_engine: "BaseQueryEngine",
    golden_dataset: Sequence[GoldenQuestion],
    options: EvaluationOptions | None = None,
    *,
    judge_llm: str = "",
    judge_embed_model: str = "",
    metrics: Sequence[str] = METRICS,
    known: Evaluation | None = None,
    on_block: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Ask every question, and score the answers.

    Works in scripts, notebooks and Ray workers: all calls run on DREAM's own event loop.

    Args:
        options: all options; alternatively, give only `judge_llm`, `judge_embed_model` and `metrics`.
        known: results of an earlier run. Its questions are only asked again if they failed, and its repeated judgements
            are reused.
        on_block: called with blocks of `options.block_size` finished questions.

    Raises:
        ConfigurationError: for contradictory options.
        BudgetError, ServiceError: if the budget is spent or the key is refused; finished questions were passed to
            `on_block`.
    """
    if (options is None) != bool(judge_llm and judge_embed_model):
        raise ConfigurationError(
            f"judge_llm={judge_llm!r} and judge_embed_model={judge_embed_model!r}: give both, or `options` instead"
        )
    options = options or EvaluationOptions(judge_llm, judge_embed_model, metrics)
    prepare_libraries()
    count_tokens_by_question()
    done = {part.answers[0].question_id: part for part in by_question(known, options.metrics)} if known else {}
    procedure = _procedure(query_engine, options, dict(done))
    due = [
        question
        for question in golden_dataset
        if question.id not in done or options.repeats.missing(done[question.id], options.metrics)
    ]
    blocks = Blocks(options.block_size, on_block)
    for evaluation in run_async(evaluate_questions(procedure, due, options.max_concurrency, blocks)):
        done[evaluation.answers[0].question_id] = evaluation
    return joined(done[question.id] for question in golden_dataset)


def _procedure(query_engine: "BaseQueryEngine", options: EvaluationOptions, done: dict[str, Evaluation]) -> Procedure:
    from dream.evaluation.judge import Judge

    models = (options.judge_llm, options.judge_embed_model, options.strictness, options.trial)
    judged = [name for name in options.metrics if is_judged(name)]
    judges = [
        Judge(judged if number else options.metrics, *models, options.repeat + number, options.evidence)
        for number in range(options.repeats.times)
    ]
    return Procedure(query_engine, judges, options.repeats, options.needs_contexts, done)
