"""`Failure`: a kind for programs, a one-line reason for users, a traceback for developers."""

import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dream.errors import BudgetError, ConfigurationError, EndpointError, StorageError, end_of_all, explain

# Longer tracebacks are shortened in the middle.
MAX_TRACEBACK_CHARACTERS = 20_000
HIDDEN = "***"


class FailureKind(StrEnum):
    """The reason for a missing answer or score. `ENDPOINT`: an endpoint refuses all further requests; `STOPPED`: a user
    stopped the trial; `LEFT_RACE`: the trial was shown to be worse than another before it was finished."""

    BUDGET = "budget"
    SERVICE = "service"
    ENDPOINT = "endpoint"
    CONFIGURATION = "configuration"
    NOT_FINISHED = "not_finished"
    STOPPED = "stopped"
    LEFT_RACE = "left_race"
    NOTHING_RETRIEVED = "nothing_retrieved"
    EMPTY_ANSWER = "empty_answer"
    REFUSED = "refused"
    EXCEPTION = "exception"
    UNREADABLE_JUDGEMENT = "unreadable_judgement"

    @property
    def by_system(self) -> bool:
        """True if the RAG system itself failed on the question; False for an outage, a spent budget or a failed
        judgement."""
        return self in _BY_SYSTEM

    @property
    def stops_experiment(self) -> bool:
        """True if the failure ends the experiment, which can be resumed once the budget or the endpoint allows it."""
        return self in _STOPPING


_BY_SYSTEM = frozenset(
    {FailureKind.NOTHING_RETRIEVED, FailureKind.EMPTY_ANSWER, FailureKind.REFUSED, FailureKind.EXCEPTION}
)
_STOPPING = frozenset({FailureKind.BUDGET, FailureKind.ENDPOINT})


@dataclass(frozen=True)
class Failure:
    """The failure of a trial, an answer or a score.

    `reason` is one line; `traceback` is empty if no exception was raised.
    """

    kind: FailureKind
    reason: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, *, judging: bool = False) -> "Failure":
        """The failure that records an exception.

        The reason may contain a secret, because some servers quote credentials in their error messages. `redacted`
        removes secrets in the process that started the experiment; workers do not know them.

        Args:
            judging: True if the exception was raised while judging an answer, so that it says nothing about the RAG
                system.
        """
        return cls(_kind_of(error, judging), explain(error), _traceback_of(error))

    def before_judging(self) -> "Failure":
        """The failure of a score whose answer has this failure, without the traceback, which the answer keeps."""
        return Failure(self.kind, f"{_NO_ANSWER}{self.reason}")

    def redacted(self, secrets: Iterable[str]) -> "Failure":
        """A copy in which `***` replaces each secret."""
        reason, text = self.reason, self.traceback
        for secret in secrets:
            reason, text = reason.replace(secret, HIDDEN), text.replace(secret, HIDDEN)
        return replace(self, reason=reason, traceback=text)

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind.value, "reason": self.reason, "traceback": self.traceback}


def failure_from_json(data: Mapping[str, Any], *, judging: bool = False) -> Failure | None:
    """The failure of an answer, a score or a trial read from JSON; None without a failure.

    Version 0.1 wrote only the reason; the kind is derived from it.

    Args:
        judging: True if the record is a score.
    """
    if (kept := data.get("failure")) is not None:
        return Failure(FailureKind(kept["kind"]), kept["reason"], kept.get("traceback", ""))
    reason = data.get("error")
    return Failure(_kind_of_reason(reason, judging), reason) if reason else None


_NO_ANSWER = "no answer to judge: "
# HTTP statuses with which a model refuses a single request, such as for its length or its content.
_REFUSED = frozenset({400, 413, 422})
# The beginnings of reasons written by version 0.1. Reasons of exceptions begin with the name of their class.
_REASONS = {
    FailureKind.BUDGET: ("BudgetError",),
    FailureKind.CONFIGURATION: ("ConfigurationError",),
    FailureKind.NOT_FINISHED: ("not finished",),
    FailureKind.NOTHING_RETRIEVED: ("nothing was retrieved",),
    FailureKind.EMPTY_ANSWER: ("the LLM gave an empty answer",),
    FailureKind.REFUSED: ("BadRequestError", "UnprocessableEntityError"),
    FailureKind.SERVICE: (
        "ServiceError",
        "StorageError",
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "ConnectError",
        "ConnectionError",
        "InternalServerError",
        "NotFoundError",
        "PermissionDeniedError",
        "RateLimitError",
        "ReadTimeout",
        "TimeoutError",
        "the trial ended without a result",
    ),
}


def _kind_of(error: BaseException, judging: bool) -> FailureKind:
    fatal = end_of_all(error)
    if isinstance(fatal, BudgetError):
        return FailureKind.BUDGET
    if isinstance(fatal, ConfigurationError):
        return FailureKind.CONFIGURATION
    if isinstance(fatal, EndpointError):
        return FailureKind.ENDPOINT
    if fatal is not None or any(map(_is_outage, _causes(error))):
        return FailureKind.SERVICE
    if judging:
        return FailureKind.UNREADABLE_JUDGEMENT
    refusals = [cause for cause in _causes(error) if getattr(cause, "status_code", None) in _REFUSED]
    if any(getattr(cause, "code", None) == FailureKind.EMPTY_ANSWER for cause in refusals):
        return FailureKind.EMPTY_ANSWER
    return FailureKind.REFUSED if refusals else FailureKind.EXCEPTION


def _is_outage(error: BaseException) -> bool:
    """True for an error of the network, of storage or of a server, including exceptions of openai and httpx."""
    import httpx
    import openai

    network = (ConnectionError, TimeoutError, StorageError, httpx.TransportError, openai.APIConnectionError)
    if isinstance(error, network):
        return True
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status >= 400 and status not in _REFUSED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, its cause, the cause of that, and so on."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        yield link
        seen.append(link)
        link = link.__cause__


def _traceback_of(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error)).rstrip()
    if len(text) <= MAX_TRACEBACK_CHARACTERS:
        return text
    half = MAX_TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _kind_of_reason(reason: str, judging: bool) -> FailureKind:
    """The kind of a failure written by version 0.1, derived from its reason, the only field it has."""
    if reason.startswith(_NO_ANSWER):
        return _kind_of_reason(reason.removeprefix(_NO_ANSWER), judging=False)
    kind = next((kind for kind, starts in _REASONS.items() if reason.startswith(starts)), None)
    if judging and kind in (None, FailureKind.REFUSED):
        return FailureKind.UNREADABLE_JUDGEMENT
    return kind or FailureKind.EXCEPTION
