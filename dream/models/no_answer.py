"""`NoAnswer`: why a response is not an answer, in the words of the provider, as an error that clients understand.

A server's failures come with any status, also with 200. `NoAnswer` names the failure, the status that the client is
given for it, and how many attempts can help.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from dream.errors import NO_ANSWER
from dream.records import FailureKind

# The status of an answer that the model itself made useless: it says something about the system that asked for it.
BY_MODEL = 422
# The status of a failure of the server, its provider or something between.
BY_SERVER = 502
# A status that is not retried: the request reached the wrong place.
WRONG_PLACE = 421
_WORDS = 400
PAGE_BYTES = 20_000
_PAGE = re.compile(rb"<(!doctype|html|head|body)\b", re.IGNORECASE)


@dataclass(frozen=True)
class NoAnswer:
    """The failure of a request in one sentence.

    Attributes:
        kind: of the failure that is recorded if the model is asked by a RAG method.
        most_attempts: a useless answer is asked for at most this often; None leaves it to the status (`retry_policy`).
    """

    reason: str
    status: int = BY_SERVER
    kind: FailureKind = FailureKind.SERVICE
    most_attempts: int | None = None

    def body(self, sender: str) -> bytes:
        """The error in OpenAI's format; `sender` names the endpoint."""
        error = {"message": f"{sender} {self.reason}", "type": NO_ANSWER, "code": self.kind.value, "param": None}
        return json.dumps({"error": error}, ensure_ascii=False).encode(errors="replace")


def of_model(reason: str, kind: FailureKind, most_attempts: int = 1) -> NoAnswer:
    """A failure of the model."""
    return NoAnswer(reason, BY_MODEL, kind, most_attempts)


def of_page(content: bytes, content_type: str) -> NoAnswer | None:
    """The failure of a web page in place of an answer; None if the content is none."""
    start = content[:2000].decode(errors="replace").lstrip("\ufeff \r\n\t").lower()
    if not (start.startswith(("<!doctype html", "<html")) or ("html" in content_type and start.startswith("<"))):
        return None
    words = _cut(": ".join(filter(None, page_words(content))), 160)
    return NoAnswer(
        f"answered with a web page in place of JSON: {words!r}. Check that the base URL is that of the "
        "API (mostly it ends in /v1), and that no sign-in or proxy page stands before it",
        most_attempts=1,
    )


def of_redirect(status: int, location: str, path: str, variable: str) -> NoAnswer:
    """The failure of a redirect, which is not followed: the key would go to another server.

    Args:
        path: of the request, below the base URL.
        variable: the setting of the base URL.
    """
    parts = urlsplit(location)
    target = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    base = target.removesuffix("/").removesuffix(path)
    remedy = f"set {variable}={base}" if parts.netloc else f"correct {variable}"
    return NoAnswer(
        f"redirects to {target or 'no address'} (HTTP {status}), which is not followed: {remedy}", WRONG_PLACE
    )


def of_error(answer: Mapping[str, Any]) -> NoAnswer | None:
    """The failure of an error that comes with status 200; None for a body without one."""
    error = answer.get("error") or answer.get("errors")
    is_error = answer.get("object") == "error" or answer.get("type") == "error" or answer.get("success") is False
    if not error and not is_error:
        return None
    return _provider_failure(error or answer)


def of_stranger(answer: Any, wanted: str) -> NoAnswer:
    """The failure of JSON that is neither an answer nor an error in a known form."""
    return NoAnswer(
        f"answered with JSON that is no {wanted}: {_cut(json.dumps(answer, ensure_ascii=False))}", most_attempts=1
    )


def _provider_failure(error: Any) -> NoAnswer:
    status = _status(error)
    kind = FailureKind.REFUSED if status in (400, 413, BY_MODEL) else FailureKind.SERVICE
    return NoAnswer(f"answered with HTTP 200 and an error: {provider_words(error)}", status, kind)


def provider_words(error: Any) -> str:
    """The words of an error: its message first, then the rest of it, such as the words of the provider behind a router.

    Example:
        >>> provider_words({"message": "Provider returned error", "code": 502, "metadata": {"raw": "overloaded"}})
        'Provider returned error (code: 502, metadata: {"raw": "overloaded"})'
    """
    if isinstance(error, str):
        return _cut(error)
    if not isinstance(error, Mapping):
        return _cut(json.dumps(error, ensure_ascii=False))
    message = next((error[name] for name in ("message", "msg", "detail") if isinstance(error.get(name), str)), "")
    rest = {name: value for name, value in error.items() if value not in (None, "", message)}
    told = ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in rest.items()
    )
    return _cut(f"{message} ({told})" if message and told else message or told)


# Words in the code or type of an error that comes without a number, and the status that they stand for.
_STATUS_OF_WORDS = (
    ("rate_limit", 429),
    ("insufficient_quota", 429),
    ("too_many_requests", 429),
    ("content_filter", BY_MODEL),
    ("content_policy", BY_MODEL),
    ("moderation", BY_MODEL),
    ("context_length", 400),
    ("invalid_request", 400),
    ("invalid_api_key", 401),
    ("authentication", 401),
    ("not_found", 404),
)


def _status(error: Any) -> int:
    """The status that an error in a 200 stands for."""
    if not isinstance(error, Mapping):
        return BY_SERVER
    for name in ("code", "status", "status_code", "http_code"):
        number = str(error.get(name, ""))
        if number.isdecimal() and 400 <= int(number) < 600:
            # 403 is moderation at routers; a refused key is told with its own status
            return BY_MODEL if int(number) == 403 else int(number)
    words = f"{error.get('code', '')} {error.get('type', '')}".lower().replace("-", "_").replace(" ", "_")
    return next((status for word, status in _STATUS_OF_WORDS if word in words), BY_SERVER)


def is_page(content: bytes) -> bool:
    """True for a web page, also one that begins with a comment or a part of a page."""
    return bool(_PAGE.search(content[:PAGE_BYTES]))


def page_words(content: bytes) -> tuple[str, str]:
    """The title of a web page and the first words of its body, each empty where there are none.

    Example:
        >>> page_words(b"<html><title>502 Bad &amp; busy</title><script>x</script><p>nginx</p></html>")
        ('502 Bad & busy', 'nginx')
    """
    text = content[:PAGE_BYTES].decode(errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    body = re.sub(r"<(script|style|title)\b.*?</\1>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    heading, words = (" ".join(unescape(part).split()) for part in (title[1] if title else "", body))
    return heading, words


def _cut(text: str, length: int = _WORDS) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]} ..."
