"""`evaluator(query_engine, golden_dataset)`: questions become answers and scores, concurrently, failures included.

A question that cannot be answered, or a judgement that cannot be read, is a recorded
error: it is counted, never averaged in or away.
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
        max_concurrency: questions in progress at the same time.
        block_size: number of finished questions that are handed on together.
        trial: labels the judge's calls in the gateway's meter.
        repeat: number of the judgement; another number asks the judge anew instead of taking the cache's answer.
        repeats: answers that are judged several times, each time anew; the further scores are `Evaluation.repeats`.
        needs_contexts: an answer without any retrieved context is a failure.
        evidence: the evidence of questions by their id, as `dream.evaluation.locate` found it in the documents; of
            others it is what the question names.

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
    """Ask every question, keep answers with their contexts, and score them.

    Works in scripts, notebooks and Ray workers: all calls run on DREAM's own event loop.

    Args:
        options: everything that can be set; instead of it, `judge_llm`, `judge_embed_model` and `metrics` are enough.
        known: results of an earlier run: its questions are not asked again, unless something failed in them, and its
            repeated judgements are not made again.
        on_block: called with each `options.block_size` questions, as they are done.

    Raises:
        ConfigurationError: for options that cannot be meant.
        BudgetError, ServiceError: when the budget is spent or the key refused; finished questions went to `on_block`.
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
