"""Estimates of the tokens of planned calls: of prompts, answers, and texts that are embedded or ranked."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from dream.defaults import FACTORS
from dream.indexes.chunkers import NEED_MODEL
from dream.indexes.semantic_chunker import FULLNESS as SEMANTIC_FULLNESS
from dream.metrics import Metric
from dream.rag.costs import FULLNESS, TextsRead, chunk_tokens, further_searches
from dream.rag.parameters import DEFAULT, HYDE
from dream.records import ORACLE, GoldenQuestion, Trial
from dream.tokens import count_tokens

# Tokens, measured on the sample documents: the fixed part of the prompts that answer, rewrite and rank; a short answer;
# a hypothetical passage; a reply that ranks; and a question that the judge derives.
ANSWER_FRAME, PROMPT_FRAME, ANSWER_TOKENS, INVENTED_PASSAGE, RANKING_REPLY, DERIVED_QUESTION = 100, 60, 42, 80, 50, 20
# The share of a question's tokens that each query has which an LLM makes of it.
QUERY_SHARE = 0.6
# Tokens of a retrieved sentence.
SENTENCE_TOKENS = 30
# The filled share of a token budget, as whole passages never fill it exactly.
BUDGET_FULLNESS = 0.95


class JudgeCall(NamedTuple):
    """The tokens of a judge call: the prompt without the passages, and the reply. The reply grows by a share of the
    tokens of the answer and of the ground truth if the judge goes through their statements."""

    prompt: int
    reply: int
    of_answer: float = 0.0
    of_truth: float = 0.0


# Measured on the sample documents; a user's own rubric or aspect takes as many as `rubrics`.
_RUBRIC = JudgeCall(950, 47)
_JUDGE_CALLS = {
    "faithfulness": JudgeCall(860, 25, of_answer=1.3),
    "answer_relevancy": JudgeCall(670, 14, of_answer=0.5),
    "context_precision": JudgeCall(1185, 34),
    "context_recall": JudgeCall(1735, 50, of_truth=1.6),
    "answer_correctness": JudgeCall(1080, 32, of_answer=0.5, of_truth=0.5),
    "factual_correctness": JudgeCall(845, 21, of_answer=0.7, of_truth=0.7),
    "noise_sensitivity": JudgeCall(930, 32, of_answer=0.7, of_truth=0.7),
}


def frame_tokens(trial: Trial) -> int:
    """The tokens of a prompt without the question and the passages."""
    prompt = trial.parameters.get("prompt", DEFAULT)
    frame = ANSWER_FRAME if prompt == DEFAULT else count_tokens(prompt)
    return frame + count_tokens(trial.parameters.get("system_prompt", ""))


def context_tokens(trial: Trial, read: TextsRead, questions: Sequence[GoldenQuestion]) -> int:
    """The tokens of the passages and prompts that the LLM reads for all questions, without the questions themselves."""
    if trial.query_engine_identifier == ORACLE:
        return sum(count_tokens(text) for question in questions for text in question.reference_contexts)
    if read.tokens is not None:
        return round(len(questions) * read.tokens)
    most = trial.parameters.get("context_tokens", 0) * BUDGET_FULLNESS
    fullness = SEMANTIC_FULLNESS if trial.parameters.get("chunker") in NEED_MODEL else FULLNESS
    if read.passages and (size := trial.parameters.get("chunk_size", 0) * fullness):
        most = min(most, read.passages * size)
    return len(questions) * int(most)


def answer_tokens(questions: Sequence[GoldenQuestion], trial: Trial | None = None) -> float:
    """The tokens of an answer: as many as most ground truths have (the median), but not fewer than a short sentence
    has, and at most the limit of the trial."""
    usual = max(ANSWER_TOKENS, median([count_tokens(each.ground_truth) for each in questions] or [0]))
    limit = trial.parameters.get("max_tokens", FACTORS["max_tokens"]) if trial else None
    return usual if limit is None else min(limit, usual)


def truth_tokens(questions: Sequence[GoldenQuestion]) -> float:
    """The tokens of a ground truth, on average."""
    return sum(count_tokens(each.ground_truth) for each in questions) / max(1, len(questions))


def written_queries_tokens(trial: Trial, n: int, question_tokens: int) -> float:
    """The tokens of what the LLM writes to be searched for besides `n` questions."""
    if trial.parameters.get("query_transform") == HYDE:
        return n * INVENTED_PASSAGE
    return QUERY_SHARE * question_tokens * further_searches(trial.parameters)


def searched_tokens(trial: Trial, embeddings: float, n: int, question_tokens: int) -> int:
    """The tokens of the embedded queries for `n` questions with `embeddings` queries each."""
    of_each = embeddings / (1 + further_searches(trial.parameters))
    return round(of_each * (question_tokens + written_queries_tokens(trial, n, question_tokens)))


def ranked_tokens(trial: Trial, read: TextsRead | None, n: int) -> int:
    """The tokens of the passages that are reranked for `n` questions; 0 without reranking."""
    if read is not None and read.ranked_tokens is not None:
        return round(n * read.ranked_tokens)
    hits = trial.parameters.get("rerank_from", FACTORS["rerank_from"])
    return n * hits * chunk_tokens(trial.parameters, SENTENCE_TOKENS)


def judge_tokens(
    metrics: Sequence[Metric], questions: Sequence[GoldenQuestion], strictness: int, passages: float, read: float
) -> tuple[float, float]:
    """The tokens that the judge reads and writes for one answer.

    Args:
        passages: the number of passages of an answer; `read` are their tokens.
    """
    answer, truth = answer_tokens(questions), truth_tokens(questions)
    prompts = replies = 0.0
    for metric in metrics:
        each, calls = _JUDGE_CALLS.get(metric.name, _RUBRIC), metric.calls(strictness, passages)
        prompts += calls * each.prompt
        replies += calls * (each.reply + each.of_answer * answer + each.of_truth * truth)
        if metric.judged and metric.needs_contexts:
            prompts += max(1, metric.calls_a_passage) * read
    return prompts, replies


def compared_tokens(metrics: Sequence[Metric], questions: Sequence[GoldenQuestion], derived: int) -> int:
    """The tokens of the texts that metrics embed for all questions, including the questions that the judge derives."""
    texts = {text for metric in metrics for text in metric.embedded}
    asked = [each.question for each in questions if "user_input" in texts]
    true = [each.ground_truth for each in questions if "reference" in texts]
    written = len(questions) * (answer_tokens(questions) * ("response" in texts) + derived * DERIVED_QUESTION)
    return sum(map(count_tokens, (*asked, *true))) + round(written)
