"""Errors: each is a DreamError and the built-in that fits, travels between processes, and is told by its cause."""

import pickle

import pytest

from dream.errors import (
    BudgetError,
    ConfigurationError,
    DataError,
    DreamError,
    ServiceError,
    StorageError,
    bullets,
    end_of_all,
    explain,
)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigurationError, ValueError),
        (DataError, ValueError),
        (StorageError, OSError),
        (ServiceError, ConnectionError),
        (BudgetError, Exception),
    ],
)
def test_each_is_caught_as_its_builtin_and_survives_the_trip_from_a_worker(kind: type[DreamError], builtin: type):
    error = kind("3 of 3 calls are spent: raise DREAM_BUDGET_CALLS")
    assert isinstance(error, DreamError) and isinstance(error, builtin)
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there)) == (kind, str(error))


def raised(error: BaseException, cause: BaseException | None = None, while_handling: BaseException | None = None):
    """The error as it is after `raise error from cause`, or after being raised in an `except` block."""
    error.__context__ = while_handling
    if cause is not None:
        error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", [BudgetError, ServiceError, ConfigurationError])
def test_what_ends_all_is_found_below_the_errors_of_clients(kind: type[DreamError]):
    fatal = kind("no more")
    assert end_of_all(fatal) is fatal
    assert (
        end_of_all(raised(RuntimeError("a client's"), cause=raised(ConnectionError("its transport's"), fatal))) is fatal
    )
    assert end_of_all(raised(RuntimeError("a client's"), while_handling=fatal)) is fatal


def test_an_error_raised_from_none_hides_the_one_that_was_handled():
    hidden = raised(RuntimeError("one question"), while_handling=ServiceError("gone"))
    hidden.__suppress_context__ = True  # as `raise ... from None` sets it
    assert end_of_all(hidden) is None
    assert end_of_all(raised(RuntimeError("a client's"), cause=hidden)) is None


@pytest.mark.parametrize("error", [DataError("no text"), StorageError("away"), KeyError("x"), ConnectionError("cut")])
def test_what_costs_one_question_ends_nothing(error: Exception):
    assert end_of_all(error) is None
    assert end_of_all(raised(RuntimeError("wrapped"), cause=error)) is None


def test_causes_that_run_in_a_circle_have_an_end():
    first, second = ValueError("first"), ValueError("second")
    raised(first, cause=raised(second, cause=first))
    assert end_of_all(first) is None
    assert explain(first) == "ValueError: second"


def test_the_reason_is_the_deepest_cause_that_says_something_in_one_line():
    silent = TimeoutError()
    spoken = raised(OSError("the disk\n  is   full"), cause=silent)
    assert explain(raised(RuntimeError("retried 6 times"), cause=spoken)) == "OSError: the disk is full"
    assert explain(raised(RuntimeError("seen"), while_handling=KeyError("handled"))) == "RuntimeError: seen"
    assert explain(ValueError("x" * 600)) == f"ValueError: {'x' * 500}"


def test_all_problems_stand_under_one_headline():
    assert bullets("2 mistakes:", ["no key", "no model"]).splitlines() == ["2 mistakes:", "  - no key", "  - no model"]
    assert bullets("none:", []) == "none:"


def test_an_error_without_a_message_is_named():
    assert explain(TimeoutError()) == "TimeoutError"
