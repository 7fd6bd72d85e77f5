"""Tables: a row for each trial and for each question in numbers by hand, and each traceback once."""

import math
from dataclasses import replace

import pandas

from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Passage,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.tables import question_table, results_table, tracebacks, trial_row

TRIAL = Trial("chunks_with_overlap", "llm", "embed", {"top_k": 2})
REFUSED = Failure(FailureKind.REFUSED, "BadRequestError: too long", 'Traceback:\n  File "client.py", line 7\nno')
UNREADABLE = Failure(FailureKind.UNREADABLE_JUDGEMENT, "no statement")
QUESTIONS = (
    GoldenQuestion("q1", "How deep?", "17 m"),
    GoldenQuestion("q2", "How high?", "42 m"),
    GoldenQuestion("q3", "How far?", "3 km"),
)
WELL, MAST = Passage("17 m deep", "wells.pdf", "3", tokens=5), Passage("42 m high", "mast.md", tokens=7)
ANSWERS = (
    Answer("q1", "17 m", (WELL, MAST), 1.0, 100, 10, retrieval_seconds=0.25),
    Answer("q2", "42 m", (MAST,), 2.0),
    Answer("q3", None, (WELL,), 60.0, failure=REFUSED),
)
SCORES = (
    Score("q1", "faithfulness", 1.0, "all of it"),
    Score("q1", "context_recall", 0.5),
    Score("q2", "faithfulness", None, failure=UNREADABLE),
    Score("q2", "context_recall", 1.0),
    Score("q3", "faithfulness", None, failure=REFUSED.before_judging()),
    Score("q3", "context_recall", None, failure=REFUSED.before_judging()),
)
USAGE = (
    UsageRow("x", "llm", "answer", TRIAL.id, calls=3, prompt_tokens=100, completion_tokens=10, usd=0.5),
    UsageRow("x", "judge", "judge", TRIAL.id, calls=4, prompt_tokens=40, usd=0.25),
)
RESULT = TrialResult(TRIAL, Evaluation(ANSWERS, SCORES), 90.0, 12, USAGE)
MANIFEST = Manifest("test", GoldenDataset(QUESTIONS), ("faithfulness", "context_recall"))


def test_a_trial_in_numbers_counts_what_was_answered_and_scored():
    row = trial_row(RESULT)
    assert {name: row[name] for name in TRIAL.config()} == TRIAL.config()
    # the system refused q3, which counts 0; the judge failed on q2, which has no score
    assert (row["faithfulness"], row["context_recall"]) == (0.5, 0.5)
    assert (row["faithfulness_of_scored"], row["faithfulness_n_scored"], row["faithfulness_n_failed"]) == (1.0, 1, 2)
    assert (row["context_recall_of_scored"], row["context_recall_n_scored"]) == (0.75, 2)
    assert row["context_recall_n_failed"] == 1
    assert (row["n_questions"], row["n_unanswered"]) == (3, 1)
    # means over the two answers: 12 and 7 tokens, 2 and 1 passages, 1 and 2 s
    assert (row["context_tokens"], row["passages"], row["latency_seconds"]) == (9.5, 1.5, 1.5)
    assert (row["model_calls"], row["tokens"], row["usd"]) == (7, 150, 0.75)
    assert (row["nodes"], row["seconds"], row["error"]) == (12, 90.0, None)


def test_what_is_not_known_of_a_trial_is_none_and_not_0():
    failed = trial_row(TrialResult(TRIAL, failure=REFUSED))
    assert [failed[name] for name in ("context_tokens", "passages", "latency_seconds")] == [None] * 3
    assert (failed["error"], failed["n_questions"]) == (REFUSED.reason, 0)
    assert not {"faithfulness", "context_recall"} & set(failed)
    unpriced = TrialResult(TRIAL, usage=(*USAGE, UsageRow("y", "embed", "embed", TRIAL.id, usd=None)))
    assert trial_row(unpriced)["usd"] is None


def test_a_failed_trial_has_its_row_among_the_others():
    failed = TrialResult(Trial("sentence_window", "llm", "embed"), failure=REFUSED)
    table = results_table(ExperimentResult("test", MANIFEST, (RESULT, failed)))
    assert list(table["trial_id"]) == [RESULT.trial.id, failed.trial.id]
    assert table["faithfulness"][0] == 0.5 and math.isnan(table["faithfulness"][1])


def test_each_question_has_its_texts_scores_contexts_and_reasons():
    rows = question_table(RESULT, MANIFEST).to_dict("records")
    first, second, third = rows
    assert (first["question"], first["answer"], first["ground_truth"]) == ("How deep?", "17 m", "17 m")
    assert (first["faithfulness"], first["context_recall"], first["faithfulness_reason"]) == (1.0, 0.5, "all of it")
    assert first["contexts"] == ["17 m deep", "42 m high"]
    assert first["context_sources"] == ["wells.pdf#page=3", "mast.md"]  # a Markdown file has no pages
    assert (first["context_tokens"], first["prompt_tokens"], first["retrieval_seconds"]) == (12, 100, 0.25)
    assert second["faithfulness_error"] == "no statement"
    assert pandas.isna(second["faithfulness"]) and pandas.isna(second["prompt_tokens"])
    assert (third["answer"], third["error"]) == (None, REFUSED.reason)
    assert third["context_recall_error"].endswith(REFUSED.reason)
    assert question_table(TrialResult(TRIAL, failure=REFUSED), MANIFEST).empty


def test_thinking_cut_answers_and_estimates_have_columns_where_there_are_any():
    assert not {"thinking", "is_cut", "tokens_are_estimated"} & set(question_table(RESULT, MANIFEST))
    first, second, third = ANSWERS
    answers = (replace(first, thinking="so"), replace(second, is_cut=True, tokens_are_estimated=True), third)
    usage = (replace(USAGE[0], estimated_tokens=20), USAGE[1])
    marked = replace(RESULT, evaluation=Evaluation(answers, SCORES), usage=usage)
    rows = question_table(marked, MANIFEST).to_dict("records")
    assert (rows[0]["thinking"], rows[1]["is_cut"], rows[1]["tokens_are_estimated"]) == ("so", True, True)
    assert (trial_row(marked)["n_cut"], trial_row(marked)["estimated_tokens"]) == (1, 20)
    assert (trial_row(RESULT)["n_cut"], trial_row(RESULT)["estimated_tokens"]) == (0, 0)


def failed_answer(question_id: str, message: str, line: int = 7) -> Answer:
    text = f'Traceback (most recent call last):\n  File "mine.py", line {line}, in answer\nValueError: {message}'
    return Answer(question_id, None, failure=Failure(FailureKind.EXCEPTION, f"ValueError: {message}", text))


def test_tracebacks_of_the_same_place_are_one_whatever_their_messages_quote():
    answers = [failed_answer(f"q{n}", f"cannot read question {n}") for n in range(12)]
    answers += [failed_answer("elsewhere", "another line", line=9), Answer("fine", "text")]
    scores = (Score("q0", "faithfulness", None, failure=UNREADABLE),)  # raised nothing
    text = tracebacks(TrialResult(TRIAL, Evaluation(tuple(answers), scores)))
    same, other = text.split("\n\n")
    assert same.startswith("answer q0, answer q1, ") and "answer q9 and 2 more: " in same
    assert same.count("Traceback") == 1 and "cannot read question 0" in same and "question 1" not in same
    assert other.startswith("answer elsewhere: ValueError: another line\n")


def test_tracebacks_name_what_failed_and_nothing_else_has_one():
    whole = TrialResult(TRIAL, failure=REFUSED)
    assert tracebacks(whole) == f"the trial: {REFUSED.reason}\n{REFUSED.traceback}"
    of_judge = Failure(FailureKind.SERVICE, "gone", 'File "judge.py", line 1')
    repeat = Score("q1", "faithfulness", None, failure=of_judge, repeat=1)
    assert tracebacks(TrialResult(TRIAL, Evaluation((), (), (repeat,)))).startswith("faithfulness of q1: gone\n")
    assert tracebacks(TrialResult(TRIAL, Evaluation(ANSWERS[:2], SCORES[:4]))) == ""
    assert tracebacks(TrialResult(TRIAL)) == ""
