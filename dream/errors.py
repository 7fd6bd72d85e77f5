"""Every exception that DREAM raises.

    DreamError
    ├── ConfigurationError   settings, a search space or identifiers are not valid
    ├── DataError            the documents or the golden dataset cannot be used
    ├── StorageError         an object or a bucket cannot be read or written
    ├── ServiceError         a model endpoint, a Ray cluster or MLflow cannot be reached, or refuses requests
    │   └── EndpointError    a model endpoint refuses all further work, such as for an empty account
    └── BudgetError          a limit of USD, calls or tokens is reached

Each message names the problem, the offending value, the valid values and the remedy. The message is the only argument,
so that exceptions can be pickled on their way from Ray workers.
"""

from collections.abc import Iterable, Sequence

# The type of the errors into which the gateway converts useless responses.
NO_ANSWER = "no_answer"


class DreamError(Exception):
    """Base class of all exceptions that DREAM raises."""


class ConfigurationError(DreamError, ValueError):
    """A setting, a search space or an identifier is not valid."""


class DataError(DreamError, ValueError):
    """Documents, a golden dataset or results cannot be used as they are."""


class StorageError(DreamError, OSError):
    """An object, a bucket or a folder cannot be read or written."""


class ServiceError(DreamError, ConnectionError):
    """A model endpoint, a Ray cluster or an MLflow server cannot be reached, or refuses requests."""


class EndpointError(ServiceError):
    """A model endpoint refuses all further work, for instance because the account is empty or the key is not valid:
    nothing more is sent to it, finished work is kept, and a later run can resume."""


class BudgetError(DreamError):
    """A limit of the budget is reached: no further call is sent, finished work is kept, and a later run can resume."""


def end_of_all(error: BaseException) -> DreamError | None:
    """The fatal error behind an exception: a budget, service or configuration error, which would fail every later
    question too. None if only this question failed.

    Clients wrap the errors of their transport, so the whole chain that a traceback shows is searched: the cause
    (`raise ... from cause`), else the exception that was being handled, unless `raise ... from None` hides it.
    """
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, BudgetError | ServiceError | ConfigurationError):
            return link
        seen.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def bullets(headline: str, problems: Sequence[str]) -> str:
    """All problems as a list under a headline, so that a user can fix them together.

    Example:
        >>> print(bullets("2 mistakes:", ["no key", "no model"]))
        2 mistakes:
          - no key
          - no model
    """
    return "\n".join([headline, *(f"  - {problem}" for problem in problems)])


def did_you_mean(given: object, valid: Iterable[str]) -> str:
    """The valid name that is most similar to a given one, as the end of a message; empty if none is similar.

    Example:
        >>> did_you_mean("TopK", ["top_k", "chunk_size"]), did_you_mean("x", ["top_k"])
        ('; did you mean top_k?', '')
    """
    from difflib import get_close_matches

    by_letters = {name.lower(): name for name in valid}
    alike = get_close_matches(str(given).lower(), by_letters, 1)
    return f"; did you mean {by_letters[alike[0]]}?" if alike else ""


def explain(error: BaseException) -> str:
    """An exception in one line of at most 500 characters: type and message of the deepest cause that has a message.

    Example:
        >>> explain(ValueError("no contexts"))
        'ValueError: no contexts'
    """
    seen = [error]
    while (cause := seen[-1].__cause__) is not None and cause not in seen:
        seen.append(cause)
    deepest = next((link for link in reversed(seen) if str(link).strip()), error)
    if (reason := _without_answer(deepest)) is not None:
        return " ".join(reason.split())[:1000]
    text = " ".join(str(deepest).split())[:500]
    return f"{type(deepest).__name__}: {text}" if text else type(deepest).__name__


def _without_answer(error: BaseException) -> str | None:
    """The gateway's sentence about a useless response (`dream.models.no_answer`); None for other errors."""
    body = getattr(error, "body", None)
    if not isinstance(body, dict) or body.get("type") != NO_ANSWER:
        return None
    return str(body.get("message"))
