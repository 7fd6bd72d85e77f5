"""Questions become answers and scores: all of them, in order, concurrently, failures included.

Covers `asking`, `procedure` and `evaluations` too, the parts of `evaluator`.
"""

import asyncio
import math
import threading
import time
from types import SimpleNamespace

import openai
import pytest
from model_servers import Reply, chat_reply, endpoint_settings
from town import GOLDEN, evaluate, make_engine

from dream.errors import BudgetError, ConfigurationError
from dream.evaluation import evaluator
from dream.evaluation.asking import ask, count_tokens_by_question
from dream.evaluation.procedure import MAX_CONCURRENT_ANSWERS
from dream.event_loop import run_async
from dream.metrics import COMPUTED, METRICS
from dream.models import gateway_client
from dream.models.http_transport import call_times
from dream.models.pickers import llm_picker
from dream.models.retry_policy import MAX_ATTEMPTS
from dream.records import Evaluation, GoldenQuestion


@pytest.fixture
def engine(gateway):
    """A query engine over six sentences, with the LLM at the relay."""
    return make_engine()


def test_answers_and_scores_are_in_the_order_of_the_golden_dataset(engine):
    evaluation = evaluate(engine, metrics=METRICS)
    assert [answer.question_id for answer in evaluation.answers] == [question.id for question in GOLDEN]
    expected = [(question.id, metric) for question in GOLDEN for metric in METRICS]
    assert [(score.question_id, score.metric) for score in evaluation.scores] == expected
    assert all(0 <= score.value <= 1.000001 for score in evaluation.scores)
    for question, answer in zip(GOLDEN, evaluation.answers, strict=True):
        assert question.ground_truth in answer.text
        assert any(question.ground_truth in passage.text for passage in answer.contexts)
        assert answer.latency_seconds > 0
    assert [(s.metric, s.n_scored, s.n_failed) for s in evaluation.summaries()] == [(m, 6, 0) for m in METRICS]


def test_tokens_are_those_that_the_endpoint_counted_for_each_question(engine, relay, model_server):
    relay.script = lambda seen: (
        chat_reply("scripted") if "otters sleep?" in seen.text and "messages" in seen.text else None
    )
    answers = evaluate(engine).answers
    assert (answers[1].prompt_tokens, answers[1].completion_tokens) == (7, 3)
    others = [answers[0], *answers[2:]]
    counted = model_server.counters()["by_model"]["llm-large"]
    assert sum(answer.prompt_tokens for answer in others) == counted["tokens_in"]
    assert sum(answer.completion_tokens for answer in others) == counted["tokens_out"]


def test_the_meter_tells_answering_from_judging(engine, gateway):
    evaluate(engine, trial="t1", metrics=("context_recall", "answer_similarity"))
    rows = {(row.model, row.stage): row.calls for row in gateway.usage("t1")}
    # the offline LLM answers in the words of the ground truth, and a text is embedded once
    assert rows == {("llm-large", "answer"): 6, ("judge", "judge"): 6, ("embed-large", "judge"): 6}


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_questions_are_in_progress_at_a_time(most, engine, model_server):
    model_server.faults(chat_latency_ms=40, embedding_latency_ms=40)
    model_server.reset()
    evaluate(engine, max_concurrency=most)
    assert model_server.counters()["in_flight_most"] == most


def test_fewer_are_being_answered_than_are_in_progress(engine):
    being_answered, most = 0, 0
    full = asyncio.Event()

    async def aquery(question):
        nonlocal being_answered, most
        being_answered += 1
        most = max(most, being_answered)
        if being_answered == MAX_CONCURRENT_ANSWERS:
            full.set()
        try:
            await asyncio.wait_for(full.wait(), 60)
            return await engine.aquery(question)
        finally:
            being_answered -= 1

    asked = [GoldenQuestion(f"q{n}", f"{GOLDEN[0].question} ({n})", GOLDEN[0].ground_truth) for n in range(40)]
    answers = evaluate(SimpleNamespace(aquery=aquery), asked, metrics=COMPUTED).answers
    assert len(answers) == 40 and not any(answer.error for answer in answers)
    assert most == MAX_CONCURRENT_ANSWERS


def test_metrics_of_a_question_are_judged_at_once(engine, relay):
    at_the_judge, four = [], threading.Event()

    def wait_for_four(seen):
        if "judge" in seen.text:
            at_the_judge.append(seen)
            if len(at_the_judge) == 4:
                four.set()
            assert four.wait(60)

    relay.script = wait_for_four
    evaluation = evaluate(engine, GOLDEN[:1], metrics=METRICS, judge_llm="judge@relay")
    assert four.is_set()
    assert not [score.error for score in evaluation.scores if score.error]


async def test_it_works_where_an_event_loop_is_running(engine):
    assert [score.value for score in evaluate(engine).scores] == [1] * 6


def test_it_works_after_the_gateway_was_closed(model_server, relay, no_environment, monkeypatch):
    """A query engine of an earlier cell, after an experiment has closed its gateway."""
    with gateway_client.opened(endpoint_settings(model_server, relay)):
        query_engine = make_engine()
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", model_server.key)
    monkeypatch.setenv("DREAM_ENDPOINT_RELAY_BASE_URL", relay.base_url)
    monkeypatch.setenv("DREAM_ENDPOINT_RELAY_API_KEY", model_server.key)
    try:
        assert [answer.error for answer in evaluate(query_engine).answers] == [None] * 6
    finally:
        gateway_client.close_gateway()


def test_the_same_question_may_come_twice(engine):
    text = GOLDEN[0].question
    twice = [GOLDEN[0], GoldenQuestion("again", text, "Nobody knows."), GOLDEN[0]]
    evaluation = evaluate(engine, twice)
    assert [answer.question_id for answer in evaluation.answers] == [GOLDEN[0].id, "again", GOLDEN[0].id]
    assert [score.value for score in evaluation.scores] == [1, 0, 1]


def test_finished_questions_are_handed_on_in_blocks_each_once(engine, relay):
    relay.script = lambda seen: Reply(400, {}) if "otters sleep?" in seen.text else None
    blocks = []
    evaluation = evaluate(engine, on_block=blocks.append, block_size=4)
    assert [len(block.answers) for block in blocks] == [4, 2]
    handed_on = {answer.question_id: answer for block in blocks for answer in block.answers}
    assert handed_on == {answer.question_id: answer for answer in evaluation.answers}
    assert {score for block in blocks for score in block.scores} == set(evaluation.scores)


def test_known_questions_are_not_asked_again_and_failed_ones_are(engine, relay):
    relay.script = lambda seen: Reply(400, {}) if "otters sleep?" in seen.text else None
    first = evaluate(engine)
    assert sum(answer.error is not None for answer in first.answers) == 1
    relay.reset()
    again = evaluate(engine, known=first)
    assert len(relay.requests) == 1
    assert "otters sleep?" in relay.requests[0].text
    assert [answer.error for answer in again.answers] == [None] * 6
    assert [answer.question_id for answer in again.answers] == [question.id for question in GOLDEN]


def test_latency_counts_the_endpoints_time_instead_of_the_time_waited():
    """An engine that waits 100 s for calls that took the endpoint 2 and 3 s."""
    from llama_index.core.instrumentation.events.synthesis import SynthesizeStartEvent
    from llama_index_instrumentation import get_dispatcher

    async def aquery(question):
        times = call_times.get()
        times.waited, times.of_endpoint = 100.0, 2.0
        get_dispatcher().event(SynthesizeStartEvent(query=question))
        times.of_endpoint += 3.0
        return SimpleNamespace(response="42 lamps", source_nodes=[])

    count_tokens_by_question()
    answer = run_async(ask(SimpleNamespace(aquery=aquery), GOLDEN[0], needs_contexts=False))
    assert (answer.retrieval_seconds, answer.latency_seconds) == (2.0, 5.0)


def test_a_cached_answer_has_the_latency_of_the_one_that_was_paid(engine, relay, model_server):
    model_server.faults(chat_latency_ms=150)
    evaluate(engine, GOLDEN[:2])
    model_server.faults(chat_latency_ms=0)
    relay.reset()
    cached = evaluate(engine, GOLDEN[:2])
    assert relay.requests == []
    for answer in cached.answers:
        assert answer.latency_seconds >= 0.15
        assert answer.retrieval_seconds < answer.latency_seconds


def test_the_time_before_the_llm_is_asked_is_kept_apart_and_judging_is_timed(engine, model_server):
    model_server.faults(embedding_latency_ms=150)
    before = time.time()
    evaluation = evaluate(engine, [GoldenQuestion("new", "Where do nine grey herons nest?", "In the reeds")])
    (answer,) = evaluation.answers
    assert 0.15 <= answer.retrieval_seconds < answer.latency_seconds
    assert before <= answer.started_at <= time.time()
    assert all(score.seconds > 0 for score in evaluation.scores)


def test_a_spent_budget_ends_the_evaluation_and_keeps_what_is_done(engine, gateway, relay, model_server):
    settings = endpoint_settings(model_server, relay, DREAM_BUDGET_CALLS="14")
    blocks = []
    model_server.reset()
    with gateway_client.opened(settings):
        with pytest.raises(BudgetError, match="stopped at budget: 14 of 14 calls"):
            evaluate(engine, max_concurrency=1, on_block=blocks.append, block_size=1)
        assert model_server.counters()["calls"] == 14
        with pytest.raises(openai.APIConnectionError) as caught:
            llm_picker("llm-small").complete("one more")
        assert isinstance(caught.value.__cause__, BudgetError)
        assert model_server.counters()["calls"] == 14
    assert 0 < len(blocks) < len(GOLDEN)
    assert all(answer.error is None for block in blocks for answer in block.answers)


def test_progress_that_fails_stops_the_spending(engine, relay):
    """The questions that wait are given up, and none goes on unseen."""

    def give_up(block: Evaluation) -> None:
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        evaluate(engine, GOLDEN * 4, max_concurrency=1, on_block=give_up, block_size=1)
    run_async(_settled())
    assert len(relay.requests) <= 2  # the one that was told of, and at most one that had begun


async def _settled() -> None:
    """Wait until DREAM's loop has nothing left to do but this."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"error_share": 1}, "500"),
        ({"cut_share": 1}, "ClientPayloadError"),
        ({"hang_share": 1, "hang_seconds": 0.02}, "ClientPayloadError"),
    ],
)
def test_an_llm_that_fails_is_a_recorded_error(fault, reason, engine, model_server):
    model_server.faults(**fault)
    evaluation = evaluate(engine, metrics=METRICS)
    for answer in evaluation.answers:
        assert answer.text is None
        assert reason in answer.error
        assert len(answer.error.splitlines()) == 1
    assert all(score.value is None and reason in score.error for score in evaluation.scores)
    assert [(s.mean, s.n_scored, s.n_failed) for s in evaluation.summaries()] == [(None, 0, 6)] * 6


def test_an_llm_that_hangs_is_given_up_after_the_clients_timeout(gateway, relay):
    released = threading.Event()
    relay.script = lambda seen: Reply(200, {}) if released.wait(30) else None
    evaluation = evaluate(make_engine(timeout=0.05), GOLDEN[:1])
    released.set()
    assert "no answer in" in evaluation.answers[0].error
    assert len(relay.requests) == MAX_ATTEMPTS


def test_one_failure_costs_one_question(engine, relay):
    relay.script = lambda seen: Reply(400, {"error": {"message": "refused"}}) if "otters sleep?" in seen.text else None
    evaluation = evaluate(engine, metrics=("context_recall", "faithfulness"))
    failed = [answer.question_id for answer in evaluation.answers if answer.error]
    assert failed == [GOLDEN[1].id]
    assert "refused" in evaluation.answers[1].error
    assert [(s.mean, s.n_scored, s.n_failed) for s in evaluation.summaries()] == [(1.0, 5, 1), (1.0, 5, 1)]


def test_a_judge_that_fails_leaves_the_answers(engine, model_server):
    evaluation = evaluate(engine, judge_llm="no-such-judge", metrics=("context_recall", "answer_similarity"))
    assert all(answer.text for answer in evaluation.answers)
    recall, similarity = evaluation.summaries()
    assert (recall.mean, recall.n_failed) == (None, 6)
    assert (similarity.n_scored, similarity.n_failed) == (6, 0)
    assert all("no-such-judge" in score.error for score in evaluation.scores if score.error)


def test_half_of_the_judgements_failing_gives_no_nan(engine, model_server):
    model_server.faults(malformed_share=0.5, seed=4)
    evaluation = evaluate(engine, metrics=METRICS)
    assert all((score.value is None) == (score.error is not None) for score in evaluation.scores)
    assert not [score for score in evaluation.scores if score.value is not None and math.isnan(score.value)]
    for summary in evaluation.summaries():
        assert summary.n_scored + summary.n_failed == 6


def test_nothing_retrieved_is_a_recorded_error(gateway, relay):
    from llama_index.core.postprocessor import SimilarityPostprocessor

    query_engine = make_engine()
    query_engine._node_postprocessors.append(SimilarityPostprocessor(similarity_cutoff=2.0))
    evaluation = evaluate(query_engine)
    assert [answer.error for answer in evaluation.answers] == ["nothing was retrieved"] * 6
    assert [score.error for score in evaluation.scores] == ["no answer to judge: nothing was retrieved"] * 6
    assert relay.requests == []


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_answer_is_a_recorded_error(content, engine, relay):
    relay.script = lambda seen: chat_reply(content)
    (answer,) = evaluate(engine, GOLDEN[:1]).answers
    assert (answer.text, answer.error) == (None, "the LLM gave an empty answer")
    assert answer.contexts


def test_what_cannot_be_meant_is_refused_before_any_call(engine, model_server):
    model_server.reset()
    for metrics in ([], ["faithfulness", "faithfulness"], ["bleu"]):
        with pytest.raises(ConfigurationError, match="name each at most once, of: faithfulness, answer_relevancy"):
            evaluate(engine, metrics=metrics)
    for judges in ({}, {"judge_llm": "judge"}):
        with pytest.raises(ConfigurationError, match="give both, or `options` instead"):
            evaluator(engine, GOLDEN, **judges)
    for option in ({"max_concurrency": 0}, {"strictness": 0}):
        with pytest.raises(ConfigurationError, match="at least 1"):
            evaluate(engine, **option)
    assert model_server.counters()["calls"] == 0


def test_no_questions_give_an_empty_evaluation(engine):
    evaluation = evaluate(engine, [])
    assert (evaluation.answers, evaluation.scores, evaluation.summaries()) == ((), (), ())
