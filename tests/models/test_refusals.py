"""What endpoints say when they refuse: pauses in every form, their words, and which refusals end all work."""

import json
from email.utils import formatdate

import pytest

from dream.models.openai_wire import ModelResponse
from dream.models.refusals import (
    is_exhausted,
    is_missing_model,
    is_without_credit,
    pause_asked_for,
    readable,
    refusal,
    retry_after_seconds,
    too_slow,
    words_of,
)
from dream.settings import OPENAI, Endpoint

KEY = "the-right-key-7e3f"
LAB = Endpoint("lab", "http://lab.example/v1", api_key=KEY)
NOW = 1_800_000_000.0


def response(status: int, body: object = "") -> ModelResponse:
    content = body if isinstance(body, str) else json.dumps(body)
    return ModelResponse(status, content.encode())


def error(message: str, **fields: str) -> dict:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "3", "retry-after": "60"}, 0.003),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": formatdate(NOW + 3600, usegmt=True)}, 3600.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_the_pause_that_is_asked_for(headers, seconds):
    assert retry_after_seconds(headers, now=lambda: NOW) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 7m12s. Visit the page.", 432.0),
        ("Please retry after 86400 seconds.", 86400.0),
        ("Please retry in 34.07s.", 34.07),
        ("Please try again in 20 ms.", 0.02),
        ("try again in 2 hours", 7200.0),
        ("slow down", None),
    ],
)
def test_a_pause_in_words(message, seconds):
    assert pause_asked_for(response(429, error(message)), {}) == seconds
    assert pause_asked_for(response(429, error(message)), {"retry-after": "5"}) == 5
    assert pause_asked_for(response(500, error(message)), {}) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (error("no such thing", code="unknown"), "no such thing (unknown)"),
        (error("insufficient_quota: pay", code="insufficient_quota"), "insufficient_quota: pay"),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"message": "batch size 8 > 4", "type": "Validation"}, "batch size 8 > 4"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "field required", "input": "the whole prompt"}]}, "field required"),
        ("Request Entity Too Large", "Request Entity Too Large"),
        (
            "<html><head><TITLE>503 Service\n Unavailable</TITLE></head><body><hr></body></html>",
            "503 Service Unavailable",
        ),
        ("<!DOCTYPE html><body><style>a{}</style><p>Sign in &amp; go on</p></body>", "Sign in & go on"),
        ("", ""),
        ("x" * 1000, "x" * 200 + "..."),
    ],
)
def test_the_words_of_an_endpoint(body, words):
    assert words_of(response(503, body)) == words


@pytest.mark.parametrize(
    ("status", "body", "without_credit"),
    [
        (402, "", True),
        (429, error("You exceeded your current quota", code="insufficient_quota"), True),
        (400, error("Your credit balance is too low to access the Anthropic API"), True),
        (403, error("Access denied: the account is in arrears"), True),
        (403, error("Insufficient credits. Add more"), True),
        (429, error("Rate limit reached for requests per minute"), False),
        (429, error("You exceeded your current quota, please check your plan and billing details"), False),
        (401, error("invalid key"), False),
        (400, error("this prompt is about insufficient evidence"), False),
        (500, error("insufficient balance of the load"), False),
    ],
)
def test_an_empty_account(status, body, without_credit):
    assert is_without_credit(response(status, body)) == without_credit


@pytest.mark.parametrize(
    ("message", "headers", "exhausted"),
    [
        ("slow down", {"retry-after": "3600"}, True),
        ("slow down", {"retry-after": formatdate(4e9, usegmt=True)}, True),
        ("slow down", {"retry-after": "2"}, False),
        ("Limit 200 requests per day", {}, True),
        ("tokens per day (TPD): try again in 17m3s", {}, True),
        ("requests per minute (RPM): try again in 17s", {}, False),
        ("GenerateRequestsPerDayPerProject", {}, True),
        ("slow down", {}, False),
    ],
)
def test_a_quota_that_does_not_come_back_within_minutes(message, headers, exhausted):
    assert is_exhausted(response(429, error(message)), headers) == exhausted


@pytest.mark.parametrize(
    ("status", "message", "missing"),
    [
        (400, "Invalid model name passed in model=xyz. Call `/v1/models`", True),
        (404, "The model `x` does not exist or you do not have access to it", True),
        (404, "model 'llama9' not found, try pulling it first", True),
        (400, "Unknown model: x", True),
        (404, "Not Found", False),
        (400, "This model's maximum context length is 4096 tokens", False),
    ],
)
def test_a_model_that_the_endpoint_does_not_have(status, message, missing):
    assert is_missing_model(response(status, error(message))) == missing


def test_a_message_names_the_endpoint_its_words_and_how_to_go_on_but_no_key():
    told = refusal(LAB, response(402, error(f"no balance for {KEY}")), {})
    assert told is not None
    for part in ("'lab'", LAB.base_url, "HTTP 402", "no balance for ***", "resume", "kept"):
        assert part in told
    assert "wait of 24 hours" in str(refusal(LAB, response(429), {"retry-after": "86400"}))
    assert "DREAM_ENDPOINT_LAB_API_KEY" in str(refusal(LAB, response(401, error(KEY)), {}))
    assert KEY not in str(refusal(LAB, response(401, error(KEY)), {}))
    assert refusal(LAB, response(413), {}) is None


def test_a_slow_server_is_told_with_the_variable_and_a_value():
    assert "DREAM_ENDPOINT_LAB_TIMEOUT_SECONDS=1200)" in too_slow(LAB, 600.2 - 0.2)
    assert "DREAM_ENDPOINT_OPENAI_TIMEOUT_SECONDS=20)" in too_slow(Endpoint(OPENAI, "http://x/v1"), 9.9)


def test_a_failed_response_becomes_an_error_that_clients_can_read():
    page = readable(response(503, "<html><title>503 busy</title></html>"))
    assert (page.content_type, json.loads(page.body)) == ("application/json", {"error": {"message": "503 busy"}})
    for other in (response(503, error("busy")), response(200, "text"), response(0, "no connection")):
        assert readable(other) is other
