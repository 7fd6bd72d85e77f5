"""Each switch does what it says, and a seed repeats it."""

import asyncio
import json
import time

import httpx
import pytest

from dream.offline.faults import Faults, Switches, changed

CHAT = {"model": "llm-small", "messages": [{"role": "user", "content": "Hello?"}]}
STRUCTURED = {
    "model": "judge",
    "response_format": {"type": "json_schema", "json_schema": {"name": "StatementGeneratorOutput"}},
    "messages": [
        {
            "role": "user",
            "content": 'Now perform the same with the following input\ninput: {"answer": "Ants dig. Bees fly."}',
        }
    ],
}


def post(models, **body):
    return models.post("/v1/chat/completions", **body)


def content(models):
    choice = post(models, **STRUCTURED).json()["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def test_latency_is_fixed_or_random_and_by_kind(models, faulty):
    faulty(chat_latency_ms=150, embedding_latency_ms=[1, 2])
    started = time.perf_counter()
    post(models, **CHAT)
    assert time.perf_counter() - started >= 0.15
    faults = Faults(changed(Switches(), {"chat_latency_ms": [100, 300]}))
    waits = [faults.latency_seconds("/v1/chat/completions") for _ in range(50)]
    assert 0.1 <= min(waits) < max(waits) <= 0.3
    assert faults.latency_seconds("/v1/embeddings") == 0


def test_waiting_requests_wait_together(models, faulty, run):
    faulty(chat_latency_ms=1500)

    async def many():
        async with httpx.AsyncClient(timeout=20) as client:
            url = models.base_url + "/chat/completions"
            return await asyncio.gather(*[client.post(url, json=CHAT) for _ in range(60)])

    models.post("/counters/reset")
    assert all(response.status_code == 200 for response in run(many()))
    assert models.get("/counters")["in_flight_most"] >= 50


def test_rate_limit_tells_when_to_come_back(models, faulty):
    faulty(requests_per_minute=60, burst=2)
    assert [post(models, **CHAT).status_code for _ in range(3)] == [200, 200, 429]
    refused = post(models, **CHAT)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"] == "1"
    time.sleep(int(refused.headers["retry-after-ms"]) / 1000 + 0.02)
    assert post(models, **CHAT).status_code == 200


def test_rate_limit_without_the_header(models, faulty):
    faulty(requests_per_minute=1, retry_after=False)
    post(models, **CHAT)
    refused = post(models, **CHAT)
    assert refused.status_code == 429
    assert not [name for name in refused.headers if name.startswith("retry")]


def test_errors_have_openai_shape(models, faulty):
    faulty(error_share=1)
    response = post(models, **CHAT)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


def test_a_hang_lasts_until_the_client_gives_up(models, faulty):
    faulty(hang_share=1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(models.base_url + "/chat/completions", json=CHAT, timeout=0.3)
    faulty(hang_share=1, hang_seconds=0.2)
    with pytest.raises(httpx.RemoteProtocolError):
        post(models, **CHAT)


def test_a_cut_connection_ends_inside_the_body(models, faulty):
    faulty(cut_share=1)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without completing|peer closed"):
        post(models, **CHAT)


def test_spoiled_answers(models, faulty):
    faulty(malformed_share=1)
    with pytest.raises(json.JSONDecodeError):
        json.loads(content(models)[0])
    faulty(malformed_share=0, wrong_schema_share=1)
    assert "statements" not in json.loads(content(models)[0])
    faulty(wrong_schema_share=0, truncated_share=1)
    assert content(models)[1] == "length"


def test_a_seed_repeats_the_sequence(models, faulty):
    def statuses(seed):
        faulty(error_share=0.4, seed=seed)
        return [post(models, **CHAT).status_code for _ in range(25)]

    first = statuses(seed=7)
    assert first == statuses(seed=7)
    assert first != statuses(seed=8)
    assert 3 <= first.count(500) <= 17


def test_shares_hold_over_many_requests():
    faults = Faults(changed(Switches(), {"error_share": 0.1, "hang_share": 0.05, "malformed_share": 0.2, "seed": 3}))
    drawn = [faults.draw() for _ in range(5000)]
    assert drawn.count("error") / 5000 == pytest.approx(0.1, abs=0.02)
    assert drawn.count("hang") / 5000 == pytest.approx(0.05, abs=0.02)
    assert drawn.count("malformed") / 5000 == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"error_share": 0.6, "hang_share": 0.6}, "sum to 1.2"),
        ({"chat_latency_ms": [5, 1]}, r"\[least, most\]"),
        ({"retry_after": 1}, "true or false"),
        ({"seed": 1.5}, "whole number"),
        ({"requests_per_minute": -1}, "at least 0"),
        ({"burst": "many"}, "give a number"),
    ],
)
def test_bad_values_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        changed(Switches(), changes)
