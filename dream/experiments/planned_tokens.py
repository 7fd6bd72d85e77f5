"""Estimates of the tokens of planned calls: of prompts, answers, and texts that are embedded or ranked."""

from collections.abc import Sequence

from dream.defaults import FACTORS
from dream.indexes.chunkers import NEED_MODEL
from dream.indexes.semantic_chunker import FULLNESS as SEMANTIC_FULLNESS
from dream.metrics import Metric
from dream.rag.costs import FULLNESS, TextsRead, chunk_tokens
from dream.rag.parameters import DEFAULT, HYDE
from dream.records import ORACLE, GoldenQuestion, Trial
from dream.tokens import count_tokens

# Tokens, measured on the sample documents: the fixed part of the prompts that answer, rewrite and rank; an answer; a
# judge's prompt without the passages; its reply; and a question that it derives.
ANSWER_FRAME, PROMPT_FRAME, ANSWER_TOKENS, JUDGE_PROMPT, JUDGE_REPLY, DERIVED_QUESTION = 100, 60, 42, 870, 47, 20
# Tokens of a retrieved sentence.
SENTENCE_TOKENS = 30
# The filled share of a token budget, as whole passages never fill it exactly.
BUDGET_FULLNESS = 0.95


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


def answer_tokens(trial: Trial) -> int:
    """The tokens of an answer."""
    limit = trial.parameters.get("max_tokens", FACTORS["max_tokens"])
    return ANSWER_TOKENS if limit is None else min(limit, ANSWER_TOKENS)


def searched_tokens(trial: Trial, embeddings: float, n: int, question_tokens: int) -> int:
    """The tokens of the embedded queries for `n` questions with `embeddings` queries each."""
    if trial.parameters.get("query_transform") == HYDE:  # half of the texts are hypothetical passages
        return round(embeddings / 2 * (question_tokens + n * ANSWER_TOKENS))
    return round(question_tokens * embeddings)


def ranked_tokens(trial: Trial, read: TextsRead | None, n: int) -> int:
    """The tokens of the passages that are reranked for `n` questions; 0 without reranking."""
    if read is not None and read.ranked_tokens is not None:
        return round(n * read.ranked_tokens)
    hits = trial.parameters.get("rerank_from", FACTORS["rerank_from"])
    return n * hits * chunk_tokens(trial.parameters, SENTENCE_TOKENS)


def judge_prompt_tokens(metrics: Sequence[Metric], n: int, judged: int, passage_tokens: float) -> int:
    """The tokens that the judge reads in `judged` calls about `n` answers, with `passage_tokens` tokens of passages
    each."""
    readers = sum(metric.judged and metric.needs_contexts for metric in metrics)
    return round(judged * JUDGE_PROMPT + n * readers * passage_tokens)


def compared_tokens(metrics: Sequence[Metric], questions: Sequence[GoldenQuestion], derived: int) -> int:
    """The tokens of the texts that metrics embed for all questions, including the questions that the judge derives."""
    texts = {text for metric in metrics for text in metric.embedded}
    asked = [each.question for each in questions if "user_input" in texts]
    true = [each.ground_truth for each in questions if "reference" in texts]
    written = len(questions) * (ANSWER_TOKENS * ("response" in texts) + derived * DERIVED_QUESTION)
    return sum(map(count_tokens, (*asked, *true))) + written
