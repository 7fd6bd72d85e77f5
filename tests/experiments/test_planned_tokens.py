"""Estimates of tokens, counted by hand."""

from dream.experiments import planned_tokens
from dream.metrics import find_metric
from dream.rag.costs import TextsRead
from dream.records import GoldenQuestion, Trial
from dream.tokens import count_tokens

QUESTIONS = [GoldenQuestion("a", "How deep?", "Ten metres."), GoldenQuestion("b", "Who?", "Ida.")]
FACTORS = {"top_k": 2, "chunk_size": 200, "context_tokens": 1000}


def trial(**parameters) -> Trial:
    return Trial("bm25", "llm", "", {**FACTORS, **parameters})


def test_prompts_have_what_was_measured_else_what_the_factors_say_within_the_budget():
    def tokens(read: TextsRead, **parameters) -> int:
        return planned_tokens.context_tokens(trial(**parameters), read, QUESTIONS)

    assert tokens(TextsRead(2.0, tokens=123.5)) == 247
    assert tokens(TextsRead(2.0)) == 2 * 2 * 180  # chunks are 9 tenths full
    assert tokens(TextsRead(2.0), chunker="semantic") == 2 * 2 * 120
    assert tokens(TextsRead(20.0)) == 2 * 950
    assert tokens(TextsRead(0.0)) == 2 * 950


def test_prompts_of_ones_own_and_the_system_prompt_count():
    prompt, system = "Passages: {context_str} Question: {query_str}", "Answer in one word. " * 20
    plain = planned_tokens.frame_tokens(trial())
    assert planned_tokens.frame_tokens(trial(system_prompt=system)) == plain + count_tokens(system)
    assert planned_tokens.frame_tokens(trial(prompt=prompt)) == count_tokens(prompt)


def test_answers_end_at_their_limit():
    assert planned_tokens.answer_tokens(trial(max_tokens=10)) == 10
    assert planned_tokens.answer_tokens(trial(max_tokens=5000)) == planned_tokens.answer_tokens(trial())


def test_invented_passages_are_searched_for_and_rankings_read_what_was_measured():
    assert planned_tokens.searched_tokens(trial(), 1, 2, 30) == 30
    invented = 2 * planned_tokens.ANSWER_TOKENS
    assert planned_tokens.searched_tokens(trial(query_transform="hyde"), 2, 2, 30) == 30 + invented
    assert planned_tokens.ranked_tokens(trial(), TextsRead(2.0, ranked_tokens=321.0), 2) == 642
    assert planned_tokens.ranked_tokens(trial(rerank_from=7), None, 2) == 2 * 7 * 200


def test_a_judge_reads_the_passages_once_for_each_metric_that_needs_them():
    metrics = [find_metric(name) for name in ("faithfulness", "context_recall", "answer_correctness", "token_f1")]
    read = planned_tokens.judge_prompt_tokens(metrics, n=2, judged=12, passage_tokens=1000)
    assert read == 12 * planned_tokens.JUDGE_PROMPT + 2 * 2 * 1000


def test_texts_that_are_compared_are_counted_and_answers_estimated():
    relevancy, similarity = find_metric("answer_relevancy"), find_metric("answer_similarity")
    questions, truths = (
        sum(count_tokens(getattr(each, name)) for each in QUESTIONS) for name in ("question", "ground_truth")
    )
    assert planned_tokens.compared_tokens([relevancy], QUESTIONS, 3) == questions + 2 * 3 * 20
    answers = 2 * planned_tokens.ANSWER_TOKENS
    assert planned_tokens.compared_tokens([similarity], QUESTIONS, 0) == truths + answers
