"""Model endpoints, each described by variables `DREAM_ENDPOINT_<NAME>_<FIELD>`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from dream.settings import readers
from dream.settings.variables import names_of, read_fields, variable

OFFLINE = "offline"
OPENAI = "openai"
OPENAI_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Endpoint:
    """One OpenAI-compatible model endpoint. `context_window` (tokens) applies to models of unknown size;
    `max_answer_tokens` overrides `Settings.max_answer_tokens`.

    Limits that are None are learned from the requests that the endpoint refuses; so is the form of requests that it
    accepts (`dream.models.request_forms`): the way to request JSON, the name of the token limit, parameters to omit
    (comma-separated), the encoding of vectors, the maximum number of texts per request, and the header for the key
    (`api-key` on Azure). Texts to embed are cut at `max_input_tokens` only if it is set. None of these is part of the
    cache's keys: after a change that alters answers, empty the cache of the model (`dream cache --empty --model NAME`).
    """

    name: str
    base_url: str = variable("BASE_URL", readers.base_url, required=True)
    api_key: str | None = variable("API_KEY", readers.any_text, secret=True)
    context_window: int | None = variable("CONTEXT_WINDOW", readers.count)
    max_answer_tokens: int | None = variable("MAX_ANSWER_TOKENS", readers.count)
    requests_per_minute: int | None = variable("REQUESTS_PER_MINUTE", readers.count)
    tokens_per_minute: int | None = variable("TOKENS_PER_MINUTE", readers.count)
    max_concurrency: int | None = variable("MAX_CONCURRENCY", readers.count)
    timeout_seconds: int | None = variable("TIMEOUT_SECONDS", readers.count)
    response_format: str | None = variable("RESPONSE_FORMAT", readers.one_of("json_object", "json_schema", "text"))
    max_tokens_parameter: str | None = variable(
        "MAX_TOKENS_PARAMETER", readers.one_of("max_tokens", "max_completion_tokens")
    )
    omit: tuple[str, ...] | None = variable("OMIT", readers.items)
    encoding_format: str | None = variable("ENCODING_FORMAT", readers.one_of("float", "base64"))
    embed_batch_size: int | None = variable("EMBED_BATCH_SIZE", readers.count)
    max_input_tokens: int | None = variable("MAX_INPUT_TOKENS", readers.count)
    auth_header: str | None = variable("AUTH_HEADER", readers.header)


ENDPOINT_FIELDS = names_of(Endpoint)
ENDPOINT_VARIABLE = re.compile(rf"DREAM_ENDPOINT_([A-Z0-9_]+?)_({'|'.join(ENDPOINT_FIELDS)})")


def read_endpoints(values: Mapping[str, str], problems: list[str]) -> tuple[Endpoint, ...]:
    """The endpoints that variables describe, by name in alphabetical order; mistakes are added to `problems`."""
    given: dict[str, set[str]] = {}
    for match in filter(None, map(ENDPOINT_VARIABLE.fullmatch, values)):
        given.setdefault(match[1], set()).add(match[2])
    for name, parts in sorted(given.items()):
        if name == OFFLINE.upper() or (name == OPENAI.upper() and parts & {"BASE_URL", "API_KEY"}):
            problems.append(f"the endpoint name {name!r} is taken: choose another, e.g. DREAM_ENDPOINT_VLLM_BASE_URL")
        elif name != OPENAI.upper() and "BASE_URL" not in parts:
            problems.append(f"DREAM_ENDPOINT_{name}_BASE_URL is missing: set it to the endpoint's URL ending in /v1")
    if "OPENAI_API_KEY" in values or "OPENAI_BASE_URL" in values:
        given.setdefault(OPENAI.upper(), set())
        values = {"OPENAI_BASE_URL": OPENAI_BASE_URL, **values}
    read = {name.lower(): read_fields(Endpoint, values, {}, problems, partial(_variable_of, name)) for name in given}
    # Limits without a URL are those of the default endpoint while it is not in use.
    return tuple(Endpoint(name, **parts) for name, parts in sorted(read.items()) if parts.get("base_url"))


def _variable_of(endpoint: str, name: str) -> str:
    is_default = endpoint == OPENAI.upper() and name in ("BASE_URL", "API_KEY")
    return f"OPENAI_{name}" if is_default else f"DREAM_ENDPOINT_{endpoint}_{name}"
