"""The URL of an endpoint and the header for its key, for imprecise base URLs and unusual servers.

Some base URLs lack the final /v1, and some servers (Azure) expect the key in the header `api-key`. The working
combination is found when a request is refused for one of these reasons.
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
    """Access to an endpoint: `prefix` is inserted between base URL and path, `header` contains the key. `is_proved` is
    true once a request succeeded, or all alternatives failed too.
    """

    prefix: str = ""
    header: str = BEARER
    is_proved: bool = False

    def described(self) -> dict[str, str]:
        """The fields that differ from the usual values."""
        header = self.header if self.header != BEARER else ""
        return {name: value for name, value in (("prefix", self.prefix), ("header", header)) if value}

    def explained(self, base_url: str) -> list[str]:
        """The differences from the settings, each with the setting to correct."""
        advice = []
        if self.prefix:
            advice.append(f"its API is at {url_of(base_url, self.prefix)}: write this as its BASE_URL")
        if self.header != BEARER:
            advice.append(f"it expects the key in the header {self.header}: AUTH_HEADER={self.header}")
        return advice


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
    """Alternatives to try after a refused request, if none has succeeded yet."""
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
    """The first access for which the path exists and the key is accepted."""
    for access in candidates:
        status = await status_of(access)
        if status and status not in (*_KEY_REFUSED, *_NOT_THERE, 403):
            return access
    return None


def message_where_nothing_is(base_url: str, variable: str) -> str:
    """Advice if no path of an endpoint exists; `variable` is the name of the setting with its base URL."""
    return (
        f"there is nothing at {url_of(base_url, '/chat/completions')}: {variable} must be the URL before "
        f"/chat/completions, "
        "which usually ends in /v1, such as http://host:port/v1"
    )
