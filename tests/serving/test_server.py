"""A winner that is served: the answers that were measured, within limits, behind a token."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from winners import Served

from dream.models.gateway_client import GatewayClient
from dream.models.http_serving import served_in_thread
from dream.rag.own_systems import OwnSystem
from dream.records import Answer, Trial
from dream.serving.server import AnswerServer, Limits

TOKEN = "a-token-of-the-tests-93ab"


def recorded(measured: Any) -> list[tuple[str, Answer]]:
    (result,) = (each for each in measured.experiment.results if each.trial.id == measured.good)
    questions = {question.id: question.question for question in measured.experiment.manifest.questions}
    return [(questions[answer.question_id], answer) for answer in result.answers]


def test_what_is_served_answers_as_it_did_when_it_was_measured(measured, served: Served):
    for question, answer in recorded(measured):
        reply = served.post("/answer", {"question": question}).json()
        assert reply["answer"] == answer.text
        assert reply["usage"]["prompt_tokens"] == answer.prompt_tokens
        expected = [{**vars(passage), "location": passage.location} for passage in answer.contexts]
        assert reply["passages"] == expected
        assert reply["trial"] == measured.good


def test_openai_clients_get_the_same_whole_and_as_a_stream(measured, served: Served):
    question, answer = recorded(measured)[0]
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Good day."},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": [{"type": "text", "text": question}]},
    ]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.token, max_retries=0) as client:
        (model,) = client.models.list()
        whole = client.chat.completions.create(model=model.id, messages=messages)
        options: Any = {"include_usage": True}
        stream = client.chat.completions.create(model=model.id, messages=messages, stream=True, stream_options=options)
        chunks = list(stream)
    assert whole.choices[0].message.content == answer.text
    assert whole.system_fingerprint == measured.good
    assert "".join(each.delta.content or "" for chunk in chunks for each in chunk.choices) == answer.text
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/answer", {"question": " "}, 400, "no_question"),
        ("/answer", {"question": 7}, 400, "no_question"),
        ("/answer", {"question": "Who?", "repeat": -1}, 400, "invalid_repeat"),
        ("/answer", {"question": "Who?", "repeat": "now"}, 400, "invalid_repeat"),
        ("/answer", [], 400, "invalid_json"),
        ("/answer", {"question": "x" * 4001}, 413, "question_too_long"),
        ("/answer", {"question": "x" * 1_000_001}, 413, "body_too_large"),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": []}, 404, "model_not_found"),
        ("/v1/chat/completions", {"messages": [{"role": "system", "content": "x"}]}, 400, "no_question"),
        ("/v1/chat/completions", {"messages": "hello"}, 400, "no_question"),
        ("/v1/chat/completions", {"messages": [], "n": 2}, 400, "not_supported"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "not_supported",
        ),
        ("/v1/embeddings", {}, 404, "unknown_url"),
    ],
)
def test_what_is_no_question_is_refused_with_what_is_valid(served: Served, path, body, status, code):
    reply = served.post(path, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/answer", "/v1/chat/completions"])
def test_nothing_is_answered_without_the_token(served: Served, path):
    for token in ("", "wrong-token-of-sixteen"):
        reply = served.post(path, {"question": "Who?"}, token=token)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    for open_path in ("/healthz", "/readyz"):
        assert httpx.get(served.url + open_path, trust_env=False).status_code == 200


def test_usage_and_metrics_count_what_was_asked(measured, served: Served):
    question, _ = recorded(measured)[0]
    before = served.get("/metrics").text
    served.post("/answer", {"question": question})
    after = served.get("/metrics").text
    assert answered(after) == answered(before) + 1
    rows = served.get("/usage").json()
    assert {row["trial"] for row in rows} == {measured.good}


def test_a_repeat_on_purpose_asks_the_models_once_for_each_number(measured, served: Served):
    def paid(**body: int) -> int:
        before = served.get("/usage").json()
        assert served.post("/answer", {"question": recorded(measured)[0][0], **body}).is_success
        rows = zip(served.get("/usage").json(), before, strict=True)
        return sum(row["calls"] - row["cached"] - old["calls"] + old["cached"] for row, old in rows)

    served.post("/answer", {"question": recorded(measured)[0][0]})
    assert [paid(), paid(repeat=3), paid(repeat=3), paid(repeat=4), paid()] == [0, 2, 0, 2, 0]


def answered(metrics: str) -> int:
    (line,) = [line for line in metrics.splitlines() if 'outcome="answered"' in line]
    return int(line.split()[-1])


@pytest.fixture
def slow(gateway: GatewayClient) -> Iterator[tuple[AnswerServer, str, threading.Event]]:
    """A server of one question at a time, whose system answers when the event is set."""
    may_answer = threading.Event()

    def our_rag(question: str) -> tuple[str, list[str]]:
        may_answer.wait(20)
        if question == "fail":
            raise ValueError(f"the password is {TOKEN}")
        return f"To {question}", ["a passage"]

    server = AnswerServer(Trial("our_rag", "", ""), gateway, Limits(100, 1, 1.0), [TOKEN])
    with served_in_thread(server.application(TOKEN), "test", host="127.0.0.1", port=0) as url:
        server.engine = OwnSystem(our_rag, "our_rag", 8)(None, None)
        yield server, url, may_answer


def asked(url: str, question: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.post(f"{url}/answer", json={"question": question}, headers=headers, timeout=30, trust_env=False)


def test_too_many_questions_are_told_to_come_later_and_a_slow_answer_ends(slow):
    server, url, may_answer = slow
    first: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: first.append(asked(url, "first")))
    thread.start()
    give_up = time.monotonic() + 10
    while not server.in_progress and time.monotonic() < give_up:
        time.sleep(0.01)
    second = asked(url, "second")
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    thread.join()
    assert (first[0].status_code, first[0].json()["error"]["code"]) == (504, "timeout")
    may_answer.set()
    assert asked(url, "third").json()["answer"] == "To third"
    assert server.in_progress == 0


def test_a_question_that_the_system_fails_on_is_told_without_secrets(slow):
    _, url, may_answer = slow
    may_answer.set()
    reply = asked(url, "fail")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "exception")
    assert "the password is ***" in reply.text and TOKEN not in reply.text


def test_it_is_ready_with_the_index_until_it_ends(slow):
    server, url, may_answer = slow
    may_answer.set()
    engine, server.engine = server.engine, None
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503
    assert (asked(url, "early").status_code, asked(url, "early").headers["retry-after"]) == (503, "5")
    server.engine = engine
    assert httpx.get(f"{url}/readyz", trust_env=False).json() == {"status": "ready", "trial": server.trial.id}
    server.drain()
    assert httpx.get(f"{url}/readyz", trust_env=False).json()["status"] == "stopping"
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    assert asked(url, "late").status_code == 200
