"""Reranking models through the gateway: cached, metered, in the form that the server takes, checked before a run."""

import json

import openai
import pytest
from model_servers import Reply, endpoint_settings, forget_answers

from dream.errors import DataError, EndpointError, ServiceError
from dream.models import gateway_client
from dream.models.model_check import check_models
from dream.models.reranking import check_rerank_model, rerank_model_picker
from dream.rag.search_space import SearchSpace
from dream.runtime.event_loop import run_async

TEXTS = ("The mast carries 42 lamps.", "Ida Brandt tunes the harbour organ.", "Otters sleep.")
QUESTION = "Who tunes the organ?"


def scores(identifier="rerank@relay", texts=TEXTS, **options):
    return run_async(rerank_model_picker(identifier, **options).scores(QUESTION, texts))


def tei(seen) -> Reply:
    """As TEI answers: it wants `texts`, and gives a list with the best first."""
    if "texts" not in seen.body:
        message = "Failed to deserialize the JSON body into the target type: missing field `texts` at line 1 column 99"
        return Reply(422, raw=message.encode(), headers={"content-type": "text/plain"})
    ranked = sorted(((len(text), index) for index, text in enumerate(seen.body["texts"])), reverse=True)
    return Reply(200, [{"index": index, "score": length / 100} for length, index in ranked])


def test_the_text_with_the_answer_is_the_best_and_a_repeat_costs_nothing(gateway, relay):
    first = scores(trial="t1")
    assert max(first) == first[1]
    assert scores(trial="t2") == first
    assert len(relay.requests) == 1
    rows = {row.trial: row for row in gateway.usage() if row.stage == "rerank"}
    assert (rows["t1"].calls, rows["t1"].sent, rows["t2"].calls, rows["t2"].sent, rows["t2"].cached) == (1, 1, 1, 0, 1)
    assert rows["t1"].prompt_tokens == rows["t2"].prompt_tokens > 20
    assert scores(texts=TEXTS[::-1]) == first[::-1]
    assert len(relay.requests) == 2  # another order is another request


def test_a_ranking_is_kept_for_the_next_process(model_server, relay, no_environment, tmp_path):
    settings = endpoint_settings(model_server, relay, DREAM_HOME=str(tmp_path))
    found = []
    for _ in range(2):
        with gateway_client.opened(settings) as opened:
            found.append(scores())
            usage = opened.usage()
    assert found[0] == found[1]
    assert [seen.path for seen in relay.requests] == ["/v1/rerank"]
    assert [(row.calls, row.cached, row.sent) for row in usage] == [(1, 1, 0)]
    assert usage[0].prompt_tokens > 20


def test_the_form_of_tei_is_found_and_remembered(gateway, relay):
    relay.script = tei
    forget_answers(gateway)
    assert scores() == [len(text) / 100 for text in TEXTS]
    assert scores(texts=TEXTS[:2]) == [len(text) / 100 for text in TEXTS[:2]]
    sent = [sorted(json.loads(seen.text)) for seen in relay.requests]
    assert sent == [["documents", "model", "query"], *[["model", "query", "texts", "truncate"]] * 2]
    (row,) = [row for row in gateway.usage() if row.stage == "rerank"]
    assert row.prompt_tokens == row.estimated_tokens > 0  # TEI counts none


def test_what_is_no_ranking_fails_with_the_servers_words_and_is_not_kept(gateway, relay):
    relay.first(Reply(200, {"results": [{"index": 0, "relevance_score": 0.5}]}))
    with pytest.raises(openai.APIStatusError, match=r"ranked the documents \[0\] of 3"):
        scores()
    assert max(scores()) == scores()[1]
    with pytest.raises(EndpointError, match=r"'relay' .* does not have the model .*'unknown' does not exist here"):
        scores("unknown@relay")


def test_a_check_sends_a_ranking_before_anything_is_paid(gateway, relay):
    check_models([], [], rerankers=["rerank@relay", "rerank@relay"])
    assert [seen.path for seen in relay.requests] == ["/v1/rerank"]
    with pytest.raises(ServiceError, match=r"unknown@relay: .* has no model 'unknown'; it offers: .*rerank"):
        check_models([], [], rerankers=["unknown@relay"])
    relay.script = lambda seen: Reply(200, [{"index": index, "score": 1} for index in range(3)])
    with pytest.raises(DataError, match="returns the same score for 3 different texts, 1"):
        run_async(check_rerank_model("rerank@relay"))


def test_an_endpoint_that_nobody_configured_is_named(home):
    parameters = {"chunks_with_overlap": {"reranker": ["none", "llm", "bge-reranker@tei"]}}
    space = SearchSpace(["chunks_with_overlap"], ["offline/llm-small"], ["offline/embed-small"], parameters)
    assert len(space.trials()) == 3
    with pytest.raises(Exception, match=r"'bge-reranker@tei': no endpoint 'tei'; .*DREAM_ENDPOINT_TEI_BASE_URL"):
        space.trials(home)
