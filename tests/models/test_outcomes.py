"""Failures of calls and requests have the names that the metrics count them under."""

import pytest

from dream.errors import BudgetError, ConfigurationError, DataError, EndpointError, ServiceError
from dream.models.outcomes import failure_kind, request_outcome


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (BudgetError("spent"), "budget"),
        (ConfigurationError("no endpoint"), "configuration"),
        (DataError("no JSON"), "unreadable"),
        (EndpointError("the key is refused"), "refused"),
        (ServiceError("closed"), "unreachable"),
        (ValueError("x"), "error"),
        (429, "rate_limited"),
        (0, "no_response"),
        (500, "server_error"),
        (302, "rejected"),
    ],
)
def test_failures_have_kinds(outcome: BaseException | int, kind: str):
    assert failure_kind(outcome) == kind


def test_a_response_with_status_200_may_be_useless():
    assert request_outcome(200) == "ok"
    assert request_outcome(502, is_useless=True) == "useless"
