"""Failures in the words of the provider, without secrets, and with a status that clients act on."""

import json

import pytest

from dream.models.no_answer import BY_MODEL, BY_SERVER, NoAnswer, of_error, of_page, of_redirect, provider_words
from dream.records import FailureKind


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"message": "x", "code": 502}, 502, FailureKind.SERVICE),
        ({"message": "x", "code": "429"}, 429, FailureKind.SERVICE),
        ({"message": "x", "status": 400}, 400, FailureKind.REFUSED),
        ({"message": "flagged by moderation", "code": 403}, BY_MODEL, FailureKind.REFUSED),
        ({"message": "x", "code": 1004}, BY_SERVER, FailureKind.SERVICE),
        ({"message": "x", "type": "rate_limit_error"}, 429, FailureKind.SERVICE),
        ({"message": "x", "code": "context_length_exceeded"}, 400, FailureKind.REFUSED),
        ({"message": "x", "type": "invalid_request_error"}, 400, FailureKind.REFUSED),
        ({"message": "x"}, BY_SERVER, FailureKind.SERVICE),
        ("x", BY_SERVER, FailureKind.SERVICE),
    ],
)
def test_an_error_in_a_200_has_the_status_that_it_stands_for(error: object, status: int, kind: FailureKind):
    failure = of_error({"error": error})
    assert failure is not None
    assert (failure.status, failure.kind) == (status, kind)


@pytest.mark.parametrize("answer", [{}, {"error": None}, {"error": ""}, {"error": {}}, {"success": True}])
def test_no_error_is_none(answer: dict):
    assert of_error(answer) is None


def test_the_words_of_an_error_are_its_message_and_the_rest_in_short():
    assert provider_words({"message": "m", "code": None, "param": ""}) == "m"
    assert provider_words({"msg": "m", "code": 7}) == "m (code: 7)"
    assert provider_words({"reason": "r"}) == "reason: r"
    assert provider_words([{"loc": "x"}]) == '[{"loc": "x"}]'
    assert len(provider_words("word " * 1000)) < 500


def test_a_page_is_told_by_its_title_and_first_words():
    page = b"<!DOCTYPE html><html><head><style>p{}</style><title>503 Busy</title></head><body><h1>Try &amp; wait</h1>"
    failure = of_page(page, "text/html")
    assert failure is not None
    assert "'503 Busy: Try & wait'" in failure.reason
    assert of_page(b'{"choices": []}', "text/html") is None
    assert of_page(b"plain words", "text/plain") is None


def test_a_redirect_without_an_address_is_told_too():
    assert "correct OPENAI_BASE_URL" in of_redirect(302, "/login", "/chat/completions", "OPENAI_BASE_URL").reason
    assert "no address" in of_redirect(302, "", "/chat/completions", "OPENAI_BASE_URL").reason


def test_the_body_is_an_error_in_the_format_of_openai():
    body = json.loads(NoAnswer("was away").body("the endpoint 'x'"))
    assert body == {
        "error": {"message": "the endpoint 'x' was away", "type": "no_answer", "code": "service", "param": None}
    }
