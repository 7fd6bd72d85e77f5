"""Names for what came of calls and requests, as the gateway's metrics count them."""

from dream.errors import BudgetError, ConfigurationError, DataError, EndpointError, ServiceError

_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (BudgetError, "budget"),
    (ConfigurationError, "configuration"),
    (DataError, "unreadable"),
    (EndpointError, "refused"),
    (ServiceError, "unreachable"),
)


def failure_kind(outcome: BaseException | int) -> str:
    """The kind of a failed call, by its exception or the status of its last response.

    `budget`, `configuration`, `unreadable` (not in the requested form), `refused` (the endpoint accepts no further
    requests to this model), `unreachable`, `error` (any other exception, e.g. of a cancelled call), or the
    `request_outcome` of the status.
    """
    if isinstance(outcome, int):
        return request_outcome(outcome)
    return next((kind for error, kind in _ERRORS if isinstance(outcome, error)), "error")


def request_outcome(status: int, *, is_useless: bool = False) -> str:
    """The outcome of an HTTP request: `ok`, `useless` (status 200 without an answer), `rate_limited` (429), `rejected`
    (others below 500), `server_error` or `no_response` (status 0).

    Example:
        >>> [request_outcome(status) for status in (200, 429, 404, 503, 0)]
        ['ok', 'rate_limited', 'rejected', 'server_error', 'no_response']
    """
    if is_useless:
        return "useless"
    if status == 0:
        return "no_response"
    if status >= 500:
        return "server_error"
    return {200: "ok", 429: "rate_limited"}.get(status, "rejected")
