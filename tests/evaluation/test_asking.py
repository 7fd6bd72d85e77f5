"""One question asked: its tokens, its times, and the failures that raise no exception."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from model_servers import Reply, chat_reply, forget_answers
from town import GOLDEN, evaluate, make_engine

from dream.evaluation import asking
from dream.evaluation.asking import ask, count_tokens_by_question
from dream.models.gateway_client import current_gateway
from dream.models.http_transport import call_times
from dream.models.thinking import MAX_THINKING_CHARACTERS
from dream.records import FailureKind, GoldenQuestion
from dream.runtime.event_loop import run_async


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


def test_permits_of_cancelled_and_forgotten_calls_go_back_once():
    """A question that is cancelled while it waits to go on, and one whose call ends when nobody waits for it."""

    async def waits(question):
        times = call_times.get()
        times.pause()
        await asyncio.sleep(0.01)
        await times.resume(0.0)

    async def forgets(question):
        times = call_times.get()
        times.pause()
        forgotten.append(asyncio.create_task(times.resume(0.0)))
        return SimpleNamespace(response="42 lamps", source_nodes=[])

    async def go() -> int:
        permits = asking._permits()
        cancelled = asyncio.create_task(ask(SimpleNamespace(aquery=waits), GOLDEN[0], needs_contexts=False))
        await asyncio.sleep(0)
        taken = [await permits.acquire() for _ in range(asking.MAX_CONCURRENT_ANSWERS)]
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        for _ in taken:
            permits.release()
        await ask(SimpleNamespace(aquery=forgets), GOLDEN[0], needs_contexts=False)
        await asyncio.gather(*forgotten)
        free = 0
        while not permits.locked():
            await permits.acquire()
            free += 1
        return free

    forgotten: list[asyncio.Task] = []
    assert asyncio.run(go()) == asking.MAX_CONCURRENT_ANSWERS


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
    assert answer.text is None
    assert answer.error.endswith("gave an empty answer")
    assert answer.contexts


def scripted(relay, content, finish="stop", **changes):
    """Let the LLM say this to every question, and the judge judge."""
    reply = chat_reply(content, finish).body | changes
    relay.script = lambda seen: (
        Reply(200, reply) if "messages" in seen.body and "response_format" not in seen.body else None
    )


def test_thinking_is_kept_beside_the_answer_and_not_judged(engine, relay):
    scripted(relay, f"<think>{'The lamps, then. ' * 5000}</think>42 lamps")
    evaluation = evaluate(engine, GOLDEN[:1])
    (answer,) = evaluation.answers
    assert (answer.text, answer.failure, answer.is_cut) == ("42 lamps", None, False)
    assert answer.thinking.startswith("The lamps, then.")
    assert len(answer.thinking) < MAX_THINKING_CHARACTERS + 100
    forget_answers(current_gateway())
    scripted(relay, "42 lamps")
    assert evaluate(engine, GOLDEN[:1]).scores == evaluation.scores


def test_an_answer_that_was_cut_is_judged_and_says_so(engine, relay):
    scripted(relay, "It has 42 lamps and", "length")
    evaluation = evaluate(engine, GOLDEN[:1])
    (answer,) = evaluation.answers
    assert (answer.text, answer.is_cut) == ("It has 42 lamps and", True)
    assert any(score.value is not None for score in evaluation.scores)


def test_tokens_that_are_not_reported_are_estimated(engine, relay):
    scripted(relay, "42 lamps", usage={"prompt_tokens": None, "completion_tokens": None})
    (answer,) = evaluate(engine, GOLDEN[:1]).answers
    assert answer.tokens_are_estimated
    assert answer.prompt_tokens > 50
    assert answer.completion_tokens == 2


@pytest.mark.parametrize(
    ("content", "finish", "kind"),
    [
        ("", "content_filter", FailureKind.REFUSED),
        ("It has", "content_filter", FailureKind.REFUSED),
        ("<think>The lamps", "length", FailureKind.EMPTY_ANSWER),
        ("<think>The lamps", "stop", FailureKind.EMPTY_ANSWER),
    ],
)
def test_a_failure_of_the_llm_is_one_of_the_system_and_keeps_the_passages(content, finish, kind, engine, relay):
    scripted(relay, content, finish)
    evaluation = evaluate(engine, GOLDEN[:1])
    (answer,) = evaluation.answers
    assert (answer.text, answer.failure.kind) == (None, kind)
    assert answer.failure.kind.by_system
    assert answer.contexts
    assert all(score.failure.kind == kind for score in evaluation.scores)


def test_an_error_of_the_server_is_none_of_the_system(engine, relay):
    relay.script = lambda seen: Reply(200, {"error": "upstream overloaded"}) if "messages" in seen.body else None
    (answer,) = evaluate(engine, GOLDEN[:1]).answers
    assert answer.failure.kind == FailureKind.SERVICE
    assert "upstream overloaded" in answer.error
