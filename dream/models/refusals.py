"""Refusals of an endpoint: its message, the requested pause, and refusals of all further requests.

An empty account, a daily quota or a refused key will refuse every later request too. Such a refusal ends the experiment
with one message; what is finished is kept, and a later run resumes.
"""

import email.utils
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dream.errors import NO_ANSWER
from dream.models.no_answer import is_page, page_words
from dream.models.openai_wire import ModelResponse, parsed
from dream.models.rate_limiter import seconds_of
from dream.settings import OPENAI, Endpoint

TOO_MANY = 429
# An endpoint that requests a longer wait, e.g. for an exhausted daily quota, refuses all further requests.
LONGEST_RETRY_AFTER_SECONDS = 120.0
MOST_CHARACTERS, MOST_BYTES = 200, 5000

# Codes and messages of providers about an account without credit.
_NO_CREDIT = re.compile(
    r"insufficient[ _-]*(quota|balance|credits?|funds)|credit balance|out of credits?|not enough credits?"
    r"|no credits? (left|remaining)|billing[ _-]*(hard[ _-]*limit|not[ _-]*active)|payment required"
    r"|account[^.]{0,40}(overdue|arrears|suspended)|top[ -]up your",
    re.IGNORECASE,
)
_DAILY = re.compile(r"\b(per|a|each)[ _-]?(day|month)\b|\b(daily|monthly)\b|PerDay|\b(RPD|TPD)\b")
_WAIT_IN_WORDS = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+((?:\d+(?:\.\d+)?\s*(?:hours?|minutes?|seconds?|ms|[hms])\s*)+)",
    re.IGNORECASE,
)
_MISSING_MODEL = re.compile(
    r"invalid model|(unknown|no such) model"
    r"|model[^.]{0,80}(not (found|exist|available|supported)|does not exist|is missing)",
    re.IGNORECASE,
)
_WITHOUT_CREDIT = frozenset({400, 402, 403, TOO_MANY})
_REFUSED_KEY = frozenset({401, 403})


def retry_after_seconds(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The pause that a response requests, in `retry-after-ms` (OpenAI, Azure) or `retry-after`, which is a number of
    seconds, a duration such as "1m30s", or a date. None without a readable one; 0 for a date that has passed.

    Args:
        now: seconds since 1970.

    Example:
        >>> retry_after_seconds({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=lambda: 50.0)
        10.0
    """
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = str(headers.get(name, "")).strip()
        seconds = _seconds(text, now)
        if seconds is not None:
            return seconds / per_second
    return None


def _seconds(text: str, now: Callable[[], float]) -> float | None:
    try:
        number = float(text)
    except ValueError:
        number = seconds_of(text)
    if number is not None:
        return max(number, 0.0) if math.isfinite(number) else None
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now(), 0.0)
    except (ValueError, OverflowError):
        return None


def pause_asked_for(response: ModelResponse, headers: Mapping[str, str]) -> float | None:
    """The requested pause in seconds, from the headers, else from the message of a 429, such as "try again in
    1m30s"."""
    seconds = retry_after_seconds(headers)
    if seconds is not None or response.status != TOO_MANY:
        return seconds
    match = _WAIT_IN_WORDS.search(words_of(response))
    return seconds_of(re.sub(r"\s|(?<=[hms])(our|inute|econd)s?", "", match[1])) if match else None


def words_of(response: ModelResponse) -> str:
    """The endpoint's message in one line of at most 200 characters: from its error, else the title of an HTML page,
    else the text."""
    answer = parsed(response.body)
    if answer is not None:
        text = _message(answer)
    elif is_page(response.body):
        text = next(filter(None, page_words(response.body)), "")
    else:
        text = response.body.decode(errors="replace")
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}..."


def _message(answer: Mapping[str, Any]) -> str:
    """The message of an error in the forms of OpenAI, LiteLLM, FastAPI, TEI and others, with its code."""
    error = answer.get("error", answer)
    if not isinstance(error, Mapping):
        return str(error)
    if isinstance(error.get("detail"), list):  # of FastAPI, which quotes the whole request
        error = {"message": "; ".join(str(each.get("msg")) for each in error["detail"] if isinstance(each, Mapping))}
    message = next((error[name] for name in ("message", "detail", "error", "msg") if error.get(name)), None)
    code = error.get("code") if error.get("type") != NO_ANSWER else None
    text = message if isinstance(message, str) else json.dumps(message or error, ensure_ascii=False)
    return f"{text} ({code})" if isinstance(code, str) and code not in text else text


def is_without_credit(response: ModelResponse) -> bool:
    """True if the account behind the key has no money or quota left."""
    if response.status == 402:
        return True
    text = response.body[:MOST_BYTES].decode(errors="replace")
    return response.status in _WITHOUT_CREDIT and bool(_NO_CREDIT.search(text))


def without_credit(response: ModelResponse) -> str:
    """A message about an empty account with the response's own words and the remedy."""
    return (
        f"has no credit or quota left (HTTP {response.status}: {words_of(response)!r}): add credit, or raise the limit "
        "in its billing settings"
    )


def is_exhausted(response: ModelResponse, headers: Mapping[str, str]) -> bool:
    """True for a 429 that does not pass within minutes: a long pause is requested, or the daily quota is used up."""
    if response.status != TOO_MANY:
        return False
    pause = pause_asked_for(response, headers)
    if pause is not None:
        return pause > LONGEST_RETRY_AFTER_SECONDS
    return bool(_DAILY.search(words_of(response)))


def is_refused_key(response: ModelResponse) -> bool:
    """True if the endpoint does not accept the key."""
    return response.status in _REFUSED_KEY


def is_missing_model(response: ModelResponse) -> bool:
    """True if the endpoint has no model of the name that was asked for."""
    return response.status in (400, 404, 422) and bool(_MISSING_MODEL.search(words_of(response)))


def variable_of(endpoint: str, name: str) -> str:
    """The variable that sets a field of an endpoint.

    Example:
        >>> variable_of("openai", "BASE_URL"), variable_of("vllm", "BASE_URL")
        ('OPENAI_BASE_URL', 'DREAM_ENDPOINT_VLLM_BASE_URL')
    """
    is_default = endpoint == OPENAI and name in ("API_KEY", "BASE_URL")
    return f"OPENAI_{name}" if is_default else f"DREAM_ENDPOINT_{endpoint.upper()}_{name}"


def refusal(endpoint: Endpoint, response: ModelResponse, headers: Mapping[str, str]) -> str | None:
    """The message about an endpoint that refuses all further requests; None if only one request was refused. The
    endpoint's own message about a refused key is left out, as some endpoints quote the key.
    """
    where = f"the endpoint {endpoint.name!r} at {endpoint.base_url}"
    if is_without_credit(response):
        reason, remedy = "has no credit or quota left", "add credit, or raise the limit in its billing settings"
    elif is_exhausted(response, headers):
        reason, remedy = _exhausted(pause_asked_for(response, headers))
    elif is_refused_key(response):
        key = variable_of(endpoint.name, "API_KEY")
        return f"{where} refuses the API key (HTTP {response.status}): check {key}. Nothing more was sent to it"
    elif is_missing_model(response):
        reason, remedy = "does not have the model", "load it there, or see with `dream doctor` what it offers"
    else:
        return None
    return (
        f"{where} {reason} (HTTP {response.status}: {shown(endpoint, response)!r}): {remedy}, then resume. "
        "Finished work is kept, and nothing more was sent to it"
    )


def shown(endpoint: Endpoint, response: ModelResponse) -> str:
    """The endpoint's message without the key, which some endpoints quote."""
    words = words_of(response)
    return words.replace(endpoint.api_key, "***") if endpoint.api_key else words


def _exhausted(pause: float | None) -> tuple[str, str]:
    if pause is None:
        return "has no quota left for today", "wait until it is renewed, or raise the limit"
    minutes = math.ceil(pause / 60)
    span = f"{minutes} minutes" if minutes < 120 else f"{math.ceil(minutes / 60)} hours"
    return f"requests a wait of {span}", "wait that long, or raise the limit"


def endless(endpoint: Endpoint, response: ModelResponse, patience_seconds: float) -> str:
    """The message about a model that did not answer within `patience_seconds`."""
    what = f"answered only HTTP {response.status}" if response.status else "gave no answer"
    return (
        f"the endpoint {endpoint.name!r} at {endpoint.base_url} {what} for {patience_seconds:.0f} s "
        f"({shown(endpoint, response)!r}): check the server, then resume. Finished work is kept, and nothing more "
        "was sent to it"
    )


def no_answer_in_time(endpoint: Endpoint, seconds: float) -> str:
    """The message about a request that timed out, with the variable that sets the limit."""
    limit, tokens = variable_of(endpoint.name, "TIMEOUT_SECONDS"), variable_of(endpoint.name, "MAX_ANSWER_TOKENS")
    return (
        f"no answer from the endpoint {endpoint.name!r} at {endpoint.base_url} within {seconds:.0f} s; raise {limit} "
        f"if it is slow, lower {tokens} if it writes without end"
    )


def too_slow(endpoint: Endpoint, seconds: float) -> str:
    """The message about a model that never answers within the time limit."""
    variable = variable_of(endpoint.name, "TIMEOUT_SECONDS")
    return (
        f"no answer from the endpoint {endpoint.name!r} at {endpoint.base_url} within {seconds:.0f} s: raise the limit "
        f"({variable}={_rounded(2 * seconds)}) if the server is only slow, else look at its log; then resume. Finished "
        "work is kept. The request is not sent a second time, as the server may still be computing its answer"
    )


def _rounded(seconds: float) -> int:
    """At least `seconds`, rounded up to a simple number."""
    step = 10 if seconds < 200 else 100
    return math.ceil(seconds / step) * step


def readable(response: ModelResponse) -> ModelResponse:
    """A failed response with an error in OpenAI's format as its body, even if the endpoint sent an HTML page."""
    if response.status in (0, 200) or parsed(response.body) is not None:
        return response
    words = words_of(response) or "no text"
    body = json.dumps({"error": {"message": words}}, ensure_ascii=False).encode()
    return replace(response, body=body, content_type="application/json")
