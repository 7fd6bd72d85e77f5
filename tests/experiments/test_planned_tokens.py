"""Estimates of tokens, counted by hand."""

from dataclasses import replace

import pytest

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
    usual = planned_tokens.answer_tokens(QUESTIONS)
    assert planned_tokens.answer_tokens(QUESTIONS, trial(max_tokens=10)) == 10
    assert planned_tokens.answer_tokens(QUESTIONS, trial(max_tokens=5000)) == usual


def test_answers_are_as_long_as_the_ground_truths_but_no_single_words():
    long = [replace(QUESTIONS[0], ground_truth="It is ten metres deep. " * 20), QUESTIONS[1]]
    truths = [count_tokens(each.ground_truth) for each in long]
    assert planned_tokens.answer_tokens(QUESTIONS) == planned_tokens.ANSWER_TOKENS
    assert planned_tokens.answer_tokens(long) == sum(truths) / 2 > planned_tokens.ANSWER_TOKENS


def test_invented_passages_are_searched_for_and_rankings_read_what_was_measured():
    assert planned_tokens.searched_tokens(trial(), 1, 2, 30) == 30
    invented = 2 * planned_tokens.INVENTED_PASSAGE
    assert planned_tokens.searched_tokens(trial(query_transform="hyde"), 2, 2, 30) == 30 + invented
    wordings = trial(query_transform="multi_query", n_queries=4)
    assert planned_tokens.searched_tokens(wordings, 5, 2, 30) == 30 + 4 * 18  # each with 6 tenths of the question
    assert planned_tokens.searched_tokens(trial(query_transform="decompose", n_queries=4), 3, 2, 30) == 30 + 2 * 18
    assert planned_tokens.ranked_tokens(trial(), TextsRead(2.0, ranked_tokens=321.0), 2) == 642
    assert planned_tokens.ranked_tokens(trial(rerank_from=7), None, 2) == 2 * 7 * 200


def test_a_judge_reads_the_passages_for_each_metric_that_needs_them_and_writes_about_statements():
    def of(*names: str, passages: float = 4) -> tuple[float, float]:
        metrics = [find_metric(name) for name in names]
        return planned_tokens.judge_tokens(metrics, QUESTIONS, strictness=3, passages=passages, read=1000)

    answer, truth = planned_tokens.ANSWER_TOKENS, sum(count_tokens(each.ground_truth) for each in QUESTIONS) / 2
    assert of("token_f1") == (0, 0)
    assert of("faithfulness") == pytest.approx((2 * 860 + 1000, 2 * (25 + 1.3 * answer)))
    assert of("answer_relevancy") == pytest.approx((3 * 670, 3 * (14 + 0.5 * answer)))
    assert of("context_recall") == pytest.approx((1735 + 1000, 50 + 1.6 * truth))
    assert of("context_precision") == pytest.approx((4 * 1185 + 1000, 4 * 34))
    assert of("noise_sensitivity")[0] == pytest.approx((3 + 2 * 4) * 930 + 2 * 1000)  # all passages twice
    assert of("faithfulness", "token_f1", "context_recall")[0] == of("faithfulness")[0] + of("context_recall")[0]


def test_texts_that_are_compared_are_counted_and_answers_estimated():
    relevancy, similarity = find_metric("answer_relevancy"), find_metric("answer_similarity")
    questions, truths = (
        sum(count_tokens(getattr(each, name)) for each in QUESTIONS) for name in ("question", "ground_truth")
    )
    assert planned_tokens.compared_tokens([relevancy], QUESTIONS, 3) == questions + 2 * 3 * 20
    answers = 2 * planned_tokens.ANSWER_TOKENS
    assert planned_tokens.compared_tokens([similarity], QUESTIONS, 0) == truths + answers
