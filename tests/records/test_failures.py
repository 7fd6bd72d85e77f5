"""Failures: each kind is told from the exception or from the text of version 0.1, and no secret stays in one."""

import httpx
import openai
import pytest

from dream.errors import BudgetError, ConfigurationError, DataError, ServiceError, StorageError
from dream.records.failures import MAX_TRACEBACK_CHARACTERS, Failure, FailureKind, failure_from_json

REQUEST = httpx.Request("POST", "http://models.example/v1/chat/completions")


def status_error(status: int) -> openai.APIStatusError:
    return openai.APIStatusError("no", response=httpx.Response(status, request=REQUEST), body=None)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "by_system"),
    [
        (BudgetError("12 of 12 calls are spent"), FailureKind.BUDGET, False),
        (ConfigurationError("no endpoint"), FailureKind.CONFIGURATION, False),
        (ServiceError("the endpoint is gone"), FailureKind.SERVICE, False),
        (StorageError("the bucket is gone"), FailureKind.SERVICE, False),
        (TimeoutError("too slow"), FailureKind.SERVICE, False),
        (openai.APIConnectionError(request=REQUEST), FailureKind.SERVICE, False),
        (status_error(503), FailureKind.SERVICE, False),
        (status_error(429), FailureKind.SERVICE, False),
        (status_error(400), FailureKind.REFUSED, True),  # too long, or its content is not allowed
        (AttributeError("no attribute 'nope'"), FailureKind.EXCEPTION, True),
        (caused(RuntimeError("wrapped"), BudgetError("spent")), FailureKind.BUDGET, False),
        (caused(RuntimeError("wrapped"), httpx.ConnectError("refused")), FailureKind.SERVICE, False),
    ],
)
def test_the_kind_of_an_exception_says_whose_failure_it_is(error, kind, by_system):
    failure = Failure.of(error)
    assert (failure.kind, failure.kind.by_system) == (kind, by_system)
    assert failure.reason.splitlines() == [failure.reason]
    assert type(error).__name__ in failure.traceback


@pytest.mark.parametrize("error", [DataError("no JSON"), status_error(400), ValueError("no statement")])
def test_a_failed_judgement_says_nothing_about_the_system(error):
    failure = Failure.of(error, judging=True)
    assert failure.kind == FailureKind.UNREADABLE_JUDGEMENT
    assert not failure.kind.by_system
    assert Failure.of(ServiceError("gone"), judging=True).kind == FailureKind.SERVICE


@pytest.mark.parametrize(
    ("text", "answering", "judging"),
    [
        ("BudgetError: stopped at budget", FailureKind.BUDGET, FailureKind.BUDGET),
        ("ServiceError: 401", FailureKind.SERVICE, FailureKind.SERVICE),
        ("APITimeoutError: Request timed out.", FailureKind.SERVICE, FailureKind.SERVICE),
        ("ConfigurationError: no endpoint", FailureKind.CONFIGURATION, FailureKind.CONFIGURATION),
        ("not finished: the experiment stopped before this trial", FailureKind.NOT_FINISHED, FailureKind.NOT_FINISHED),
        ("nothing was retrieved", FailureKind.NOTHING_RETRIEVED, FailureKind.NOTHING_RETRIEVED),
        ("the LLM gave an empty answer", FailureKind.EMPTY_ANSWER, FailureKind.EMPTY_ANSWER),
        ("BadRequestError: Error code: 400", FailureKind.REFUSED, FailureKind.UNREADABLE_JUDGEMENT),
        ("AttributeError: no 'nope'", FailureKind.EXCEPTION, FailureKind.UNREADABLE_JUDGEMENT),
        ("no answer to judge: BadRequestError: Error code: 400", FailureKind.REFUSED, FailureKind.REFUSED),
        ("no answer to judge: nothing was retrieved", FailureKind.NOTHING_RETRIEVED, FailureKind.NOTHING_RETRIEVED),
    ],
)
def test_a_text_of_version_0_1_gets_its_kind_when_it_is_read(text, answering, judging):
    of_answer, of_score = (failure_from_json({"error": text}, judging=flag) for flag in (False, True))
    assert of_answer == Failure(answering, text)
    assert of_score == Failure(judging, text)
    assert failure_from_json({"error": None}) is None
    assert failure_from_json({"failure": of_answer.to_json(), "error": "another"}) == of_answer


def test_a_score_without_an_answer_fails_as_the_answer_did():
    failure = Failure.of(status_error(400)).before_judging()
    assert failure.kind == FailureKind.REFUSED
    assert failure.reason.startswith("no answer to judge: APIStatusError")
    assert failure.traceback == ""


def test_a_long_traceback_keeps_its_beginning_and_its_end():
    failure = Failure.of(ValueError("x" * 3 * MAX_TRACEBACK_CHARACTERS + " the end"))
    assert len(failure.traceback) < MAX_TRACEBACK_CHARACTERS + 100
    assert "characters left out" in failure.traceback
    assert failure.traceback.startswith("ValueError: xxx") and failure.traceback.endswith("the end")
    assert len(failure.reason) < 600


def test_secrets_are_taken_out():
    failure = Failure(FailureKind.SERVICE, "key sk-1 refused", "raise Error('sk-1', 'token-2')")
    assert failure.redacted(["sk-1", "token-2"]) == Failure(
        FailureKind.SERVICE, "key *** refused", "raise Error('***', '***')"
    )
