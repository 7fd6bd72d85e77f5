"""Questions become answers and scores: all of them, in order, failures included."""

import math
import threading

import openai
import pytest
from model_servers import Reply, endpoint_settings
from town import GOLDEN, evaluate, make_engine

from dream.errors import BudgetError, ConfigurationError
from dream.evaluation import evaluator
from dream.metrics import METRICS
from dream.models import gateway_client
from dream.models.pickers import llm_picker
from dream.models.response_times import Pace
from dream.models.retry_policy import MAX_WAITS_IN_VAIN
from dream.records import GoldenQuestion


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


def test_the_meter_tells_answering_from_judging(engine, gateway):
    evaluate(engine, trial="t1", metrics=("context_recall", "answer_similarity"))
    rows = {(row.model, row.stage): row.calls for row in gateway.usage("t1")}
    # the offline LLM answers in the words of the ground truth, and a text is embedded once
    assert rows == {("llm-large", "answer"): 6, ("judge", "judge"): 6, ("embed-large", "judge"): 6}


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
    evaluation = evaluate(make_engine(timeout=0.3), GOLDEN[:1])
    released.set()
    assert "no answer from the endpoint 'relay'" in evaluation.answers[0].error
    assert len(relay.requests) == MAX_WAITS_IN_VAIN[Pace.QUICK]


def test_one_failure_costs_one_question(engine, relay):
    relay.script = lambda seen: Reply(400, {"error": {"message": "refused"}}) if "otters sleep?" in seen.text else None
    evaluation = evaluate(engine, metrics=("context_recall", "faithfulness"))
    failed = [answer.question_id for answer in evaluation.answers if answer.error]
    assert failed == [GOLDEN[1].id]
    assert "refused" in evaluation.answers[1].error
    assert [(s.mean, s.n_scored, s.n_failed) for s in evaluation.summaries()] == [(1.0, 5, 1), (1.0, 5, 1)]


def test_a_judge_that_fails_leaves_the_answers(engine, model_server):
    model_server.faults(malformed_share=1)
    evaluation = evaluate(engine, metrics=("context_recall", "answer_similarity"))
    assert all(answer.text for answer in evaluation.answers)
    recall, similarity = evaluation.summaries()
    assert (recall.mean, recall.n_failed) == (None, 6)
    assert (similarity.n_scored, similarity.n_failed) == (6, 0)
    assert all("not in the requested form" in score.error for score in evaluation.scores if score.error)


def test_half_of_the_judgements_failing_gives_no_nan(engine, model_server):
    model_server.faults(malformed_share=0.5, seed=4)
    evaluation = evaluate(engine, metrics=METRICS)
    assert all((score.value is None) == (score.error is not None) for score in evaluation.scores)
    assert not [score for score in evaluation.scores if score.value is not None and math.isnan(score.value)]
    for summary in evaluation.summaries():
        assert summary.n_scored + summary.n_failed == 6


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
