"""The address of an endpoint and the header of its key, for base URLs as users paste them and unusual servers.

Some base URLs lack the /v1 at their end, and some servers (Azure) want the key in the header `api-key`. What works is
found at the first request that is refused for it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

BEARER = "authorization"
API_KEY = "api-key"
_PREFIXES = ("/v1", "/openai/v1", "/api/v1")
_KEY_REFUSED = (401,)
_NOT_THERE = (404, 405)


@dataclass(frozen=True)
class Access:
    """The way to an endpoint: `prefix` stands between its base URL and each path, `header` carries its key.

    `is_proved` is true once a request succeeded, or nothing else did either.
    """

    prefix: str = ""
    header: str = BEARER
    is_proved: bool = False

    def described(self) -> dict[str, str]:
        """The fields that differ from what most servers want."""
        header = self.header if self.header != BEARER else ""
        return {name: value for name, value in (("prefix", self.prefix), ("header", header)) if value}

    def explained(self, base_url: str) -> list[str]:
        """The differences to the settings, each with what to write there."""
        found = []
        if self.prefix:
            found.append(f"its API is at {url_of(base_url, self.prefix)}: write this as its BASE_URL")
        if self.header != BEARER:
            found.append(f"it takes the key in the header {self.header}: AUTH_HEADER={self.header}")
        return found


def url_of(base_url: str, path: str) -> str:
    """The URL of a path below a base URL, whose query stays at the end.

    Example:
        >>> url_of("https://a.example/openai/deployments/d?api-version=1", "/chat/completions")
        'https://a.example/openai/deployments/d/chat/completions?api-version=1'
    """
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def key_headers(access: Access, api_key: str | None) -> dict[str, str]:
    """The header with the key, if there is one."""
    if not api_key:
        return {}
    return {access.header: f"Bearer {api_key}" if access.header == BEARER else api_key}


def alternatives(access: Access, base_url: str, has_key: bool, status: int, text: str) -> list[Access]:
    """Other ways to try where a request was refused and none has succeeded yet."""
    if access.is_proved:
        return []
    if status in _KEY_REFUSED and has_key and access.header == BEARER:
        return [Access(access.prefix, API_KEY)]
    path = urlsplit(base_url).path.rstrip("/")
    if status in _NOT_THERE and "model" not in text and "deployment" not in text and "/v1" not in path:
        prefixes = _PREFIXES if not path else _PREFIXES[:1]
        return [Access(prefix, access.header) for prefix in prefixes if not access.prefix]
    return []


async def first_that_is_there(candidates: list[Access], status_of: Callable[[Access], Awaitable[int]]) -> Access | None:
    """The first access by which a request is neither refused for its key nor sent to where nothing is."""
    for access in candidates:
        status = await status_of(access)
        if status and status not in (*_KEY_REFUSED, *_NOT_THERE, 403):
            return access
    return None


def message_where_nothing_is(base_url: str, variable: str) -> str:
    """Advice where no path of an endpoint answers; `variable` is the one with its base URL."""
    return (
        f"nothing is at {url_of(base_url, '/chat/completions')}: {variable} must be the URL before /chat/completions, "
        "which mostly ends in /v1, such as http://host:port/v1"
    )
