"""Settings from environment variables and a `.env` file: storage, MLflow, Ray, models and their endpoints.

Each field below names its variable. All are optional; with none set, DREAM keeps its data in `.dream/` and uses offline
models. INSTALL.md explains them.

Besides, `DREAM_ENDPOINT_<NAME>_<FIELD>` describes a model endpoint by the fields of `Endpoint`, such as
DREAM_ENDPOINT_VLLM_BASE_URL. The name of the default endpoint, which OPENAI_API_KEY and OPENAI_BASE_URL describe, is
OPENAI: DREAM_ENDPOINT_OPENAI_REQUESTS_PER_MINUTE.

A `.env` file in the working folder or above it is read too; the environment takes precedence.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values, find_dotenv

from dream.defaults import ENGINES, MAX_ANSWER_TOKENS
from dream.errors import ConfigurationError, bullets

OFFLINE = "offline"
OPENAI = "openai"
OPENAI_BASE_URL = "https://api.openai.com/v1"

_OFFLINE_MODELS = {
    "llms": "offline/llm-small,offline/llm-large",
    "embed_models": "offline/embed-small,offline/embed-large",
    "judge_llm": "offline/judge",
    "judge_embed_model": "offline/embed-large",
}
_OPENAI_MODELS = {
    "llms": "gpt-4o-mini,gpt-4.1-mini",
    "embed_models": "text-embedding-3-small,text-embedding-3-large",
    "judge_llm": "gpt-4o",
    "judge_embed_model": "text-embedding-3-small",
}

Reader = Callable[[str, str], Any]


def _variable(
    names: str, read: Reader, default: str | None = None, *, secret: bool = False, required: bool = False
) -> Any:
    """A field that is read from a variable, or from the first of several that is set.

    `default` is a text with the names of `_defaults` in braces; without one, the field is None.
    """
    metadata = {"names": names.split(), "read": read, "default": default}
    if required or default is not None:
        return field(repr=not secret, metadata=metadata)
    return field(default=None, repr=not secret, metadata=metadata)


# --- readers of values; each is given the variable's name and its text, and raises a ConfigurationError


def _text(name: str, text: str) -> str:
    return text


def _items(name: str, text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _folder(name: str, text: str) -> str:
    return str(Path(text).expanduser().resolve())


def _flag(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ConfigurationError(f"{name}={text!r}: give 1 or 0")
    return text == "1"


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{name}={text!r}: give a whole number of at least 1")
    return int(text)


def _amount(name: str, text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) <= 0:
        raise ConfigurationError(f"{name}={text!r}: give a number above 0")
    return float(text)


def _url(name: str, text: str) -> str:
    parts = urlsplit(text)
    if "@" in parts.netloc:  # the value is not shown: it would end up in error texts and manifests too
        raise ConfigurationError(f"{name} holds a user or a password: give keys in their own variables")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"{name}={text!r} is not a URL: write http://host:port or https://host")
    return text


def _base_url(name: str, text: str) -> str:
    """A base URL without the slash or the path of a request at its end; a query such as Azure's stays."""
    parts = urlsplit(_url(name, text).rstrip("/"))
    path = re.sub(r"/(chat/completions|completions|embeddings|models|responses)$", "", parts.path.rstrip("/"))
    return parts._replace(path=path, fragment="").geturl()


def _one_of(*values: str) -> Reader:
    def read(name: str, text: str) -> str:
        if text not in values:
            raise ConfigurationError(f"{name}={text!r}: give {' or '.join(values)}")
        return text

    return read


def _header(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text):
        raise ConfigurationError(f"{name}={text!r} is no name of a header: give api-key or authorization")
    return text.lower()


def _storage_uri(name: str, text: str) -> str:
    scheme = urlsplit(text).scheme
    if scheme not in ("", "s3", "file"):
        raise ConfigurationError(f"{name}={text!r}: write s3://bucket/prefix or a folder, not {scheme}://")
    return text


def _bucket_prefix(name: str, text: str) -> str:
    if text and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,40}", text):
        raise ConfigurationError(
            f"{name}={text!r}: buckets are called that and documents, golden-datasets and so on; "
            "give lower-case letters, digits and hyphens, such as acme-"
        )
    return text


def log_place(name: str, text: str) -> str:
    """The place of the call log; a local path is made absolute, as the gateway may have another working folder."""
    uri = _storage_uri(name, text)
    is_folder = text.endswith("/")
    return uri if "://" in uri else _folder(name, uri) + "/" * is_folder


def _token(name: str, text: str) -> str:
    if len(text) < 16:
        raise ConfigurationError(f"{name} has {len(text)} characters: give at least 16 that nobody can guess")
    return text


def _engine(name: str, text: str) -> str:
    if text not in ENGINES:
        raise ConfigurationError(f"{name}={text!r}: give auto, in_process or ray")
    return text


def _repeated_lines(name: str, text: str) -> str:
    if text in ("drop", "keep"):
        return text
    raise ConfigurationError(f"{name}={text!r}: give drop or keep")


def _ocr_command(name: str, text: str) -> str:
    if "{input}" not in text or "{output}" not in text:
        example = "ocrmypdf --skip-text {input} {output}"
        raise ConfigurationError(f"{name}={text!r}: name the files in it as {{input}} and {{output}}: {example}")
    return text


def _traces(name: str, text: str) -> str:
    if text not in ("auto", "all") and not text.isdecimal():
        raise ConfigurationError(
            f"{name}={text!r}: give auto, all, or how many questions of each trial get a trace in MLflow (0 for none)"
        )
    return text


# --- the settings


@dataclass(frozen=True)
class Endpoint:
    """One OpenAI-compatible model endpoint. `context_window` (tokens) applies to models of unknown size;
    `max_answer_tokens` takes the place of `Settings.max_answer_tokens`.

    Limits that are None are learned from the requests that the endpoint refuses; so is the form of requests that it
    accepts (`dream.models.request_forms`): how JSON is asked for, the name of the limit of tokens, parameters to leave
    out (comma-separated), the encoding of vectors, the most texts in a request, and the header for the key (`api-key`
    on Azure). Texts to embed are cut at `max_input_tokens` only if it is set. None of these is part of the cache's
    keys: after a change that alters answers, empty the cache of the model (`dream cache --empty --model NAME`).
    """

    name: str
    base_url: str = _variable("BASE_URL", _base_url, required=True)
    api_key: str | None = _variable("API_KEY", _text, secret=True)
    context_window: int | None = _variable("CONTEXT_WINDOW", _count)
    max_answer_tokens: int | None = _variable("MAX_ANSWER_TOKENS", _count)
    requests_per_minute: int | None = _variable("REQUESTS_PER_MINUTE", _count)
    tokens_per_minute: int | None = _variable("TOKENS_PER_MINUTE", _count)
    max_concurrency: int | None = _variable("MAX_CONCURRENCY", _count)
    timeout_seconds: int | None = _variable("TIMEOUT_SECONDS", _count)
    response_format: str | None = _variable("RESPONSE_FORMAT", _one_of("json_object", "json_schema", "text"))
    max_tokens_parameter: str | None = _variable("MAX_TOKENS_PARAMETER", _one_of("max_tokens", "max_completion_tokens"))
    omit: tuple[str, ...] | None = _variable("OMIT", _items)
    encoding_format: str | None = _variable("ENCODING_FORMAT", _one_of("float", "base64"))
    embed_batch_size: int | None = _variable("EMBED_BATCH_SIZE", _count)
    max_input_tokens: int | None = _variable("MAX_INPUT_TOKENS", _count)
    auth_header: str | None = _variable("AUTH_HEADER", _header)


@dataclass(frozen=True)
class Budget:
    """Ceilings of one experiment over all its runs; None for no ceiling. Calls are those that reach an endpoint."""

    usd: float | None = _variable("DREAM_BUDGET_USD", _amount)
    calls: float | None = _variable("DREAM_BUDGET_CALLS", _amount)
    tokens: float | None = _variable("DREAM_BUDGET_TOKENS", _amount)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that differs between a laptop and a cluster. Secrets are kept out of `repr`.

    Example:
        >>> Settings.from_environment({}).judge_llm
        'offline/judge'
    """

    home: str = _variable("DREAM_HOME", _folder, "{project}/.dream")
    offline: bool = _variable("DREAM_OFFLINE", _flag, "0")  # True also where no endpoint is set
    # storage: s3://bucket/prefix or a folder
    bucket_prefix: str = _variable("DREAM_BUCKET_PREFIX", _bucket_prefix, "")  # of the default locations in S3
    documents_uri: str = _variable("DREAM_DOCUMENTS_URI", _storage_uri, "{root}documents")
    golden_datasets_uri: str = _variable("DREAM_GOLDEN_DATASETS_URI", _storage_uri, "{root}golden-datasets")
    experiments_uri: str = _variable("DREAM_EXPERIMENTS_URI", _storage_uri, "{root}experiments")
    cache_uri: str = _variable("DREAM_CACHE_URI", _storage_uri, "{cache}")  # indexes and model answers
    s3_endpoint_url: str | None = _variable("S3_ENDPOINT_URL", _url)
    s3_region: str = _variable("AWS_REGION AWS_DEFAULT_REGION", _text, "us-east-1")
    s3_access_key_id: str | None = _variable("AWS_ACCESS_KEY_ID", _text, secret=True)
    s3_secret_access_key: str | None = _variable("AWS_SECRET_ACCESS_KEY", _text, secret=True)
    # models: comma-separated identifiers (`dream.models.pickers`), or one
    llms: tuple[str, ...] = _variable("DREAM_LLMS", _items, "{llms}")
    embed_models: tuple[str, ...] = _variable("DREAM_EMBED_MODELS", _items, "{embed_models}")
    judge_llm: str = _variable("DREAM_JUDGE_LLM", _text, "{judge_llm}")
    judge_embed_model: str = _variable("DREAM_JUDGE_EMBED_MODEL", _text, "{judge_embed_model}")
    generator_llm: str = _variable("DREAM_GENERATOR_LLM DREAM_JUDGE_LLM", _text, "{judge_llm}")
    max_answer_tokens: int = _variable("DREAM_MAX_ANSWER_TOKENS", _count, str(MAX_ANSWER_TOKENS))  # of an LLM's answer
    # the gateway over HTTP (`dream.models.gateway_server`): of `dream gateway`, and with a port of each experiment
    gateway_token: str | None = _variable("DREAM_GATEWAY_TOKEN", _token, secret=True)
    gateway_host: str = _variable("DREAM_GATEWAY_HOST", _text, "127.0.0.1")
    gateway_port: int | None = _variable("DREAM_GATEWAY_PORT", _count)
    serve_token: str | None = _variable("DREAM_SERVE_TOKEN", _token, secret=True)  # of `dream serve`
    # the repository of `dream promote`, a token for it, and the kind of host that is asked to open a pull request
    git_repository: str | None = _variable("DREAM_GIT_REPOSITORY", _text)
    git_token: str | None = _variable("DREAM_GIT_TOKEN", _text, secret=True)
    git_pull_requests: str | None = _variable("DREAM_GIT_PULL_REQUESTS", _one_of("github", "gitea", "gitlab"))
    call_log: str | None = _variable("DREAM_CALL_LOG", log_place)  # (`dream.models.call_log`)
    prices: str | None = _variable("DREAM_PRICES", _text)  # a JSON file (`dream.models.usage`)
    # tracking: how many questions of a trial get a trace is auto, all or a number
    mlflow_tracking_uri: str = _variable("MLFLOW_TRACKING_URI", _text, "sqlite:///{home}/mlflow.db", secret=True)
    mlflow_experiment: str = _variable("MLFLOW_EXPERIMENT_NAME", _text, "dream")
    mlflow_traces: str = _variable("DREAM_MLFLOW_TRACES", _traces, "auto")
    # documents: headers and footers are dropped or kept; a command with {input} and {output} for scanned PDFs
    repeated_lines: str = _variable("DREAM_REPEATED_LINES", _repeated_lines, "drop")
    ocr_command: str | None = _variable("DREAM_OCR_COMMAND", _ocr_command)
    # auto, in_process or ray (`dream.engines`)
    engine: str = _variable("DREAM_ENGINE", _engine, "auto")
    # cluster: the dashboard is by default at http://<the cluster's host>:8265
    ray_address: str | None = _variable("RAY_ADDRESS", _text)
    ray_auth_token: str | None = _variable("RAY_AUTH_TOKEN", _text, secret=True)
    ray_dashboard_address: str | None = _variable("RAY_DASHBOARD_ADDRESS", _url)
    endpoints: tuple[Endpoint, ...] = ()
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; `environment` replaces the process's own environment and `.env` file.

        Raises:
            ConfigurationError: naming every mistake at once.
        """
        values = _environment() if environment is None else dict(environment)
        values = {name: value.strip() for name, value in values.items() if value.strip()}
        problems = [*_unknown_variables(values), *_key_pair_problems(values), *_gateway_problems(values)]
        endpoints = _endpoints(values, problems)
        budget = Budget(**_read(Budget, values, {}, problems))
        own = _read(cls, values, _defaults(values, bool(endpoints)), problems)
        if problems:
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the settings:", problems))
        endpoints = () if own["offline"] else endpoints
        return cls(**{**own, "offline": not endpoints, "endpoints": endpoints, "budget": budget})

    def without_model_keys(self) -> "Settings":
        """A copy to send to workers: model keys and the cluster's token stay behind."""
        return replace(
            self,
            endpoints=tuple(replace(e, api_key=None) for e in self.endpoints),
            ray_auth_token=None,
            gateway_token=None,
            serve_token=None,
            git_token=None,
        )

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in use, for removing them from messages."""
        values = [
            self.s3_secret_access_key,
            self.ray_auth_token,
            self.gateway_token,
            self.serve_token,
            self.git_token,
            *(e.api_key for e in self.endpoints),
        ]
        return tuple(secret for secret in values if secret)


def _gateway_problems(values: Mapping[str, str]) -> list[str]:
    if values.get("DREAM_GATEWAY_PORT") and not values.get("DREAM_GATEWAY_TOKEN"):
        return ["DREAM_GATEWAY_PORT needs DREAM_GATEWAY_TOKEN, which programs send as their API key"]
    return []


def _names(table: type) -> list[str]:
    """The variables of a table in their order."""
    return [item.metadata["names"][0] for item in fields(table) if item.metadata]


KNOWN_VARIABLES = tuple(name for name in [*_names(Settings), *_names(Budget)] if name.startswith("DREAM_"))
_ENDPOINT_FIELDS = _names(Endpoint)
_ENDPOINT_VARIABLE = re.compile(rf"DREAM_ENDPOINT_([A-Z0-9_]+?)_({'|'.join(_ENDPOINT_FIELDS)})")


def offline_models() -> dict[str, str]:
    """The settings fields that offline models fill, as `{field: identifiers}`."""
    return dict(_OFFLINE_MODELS)


def project_home(start: Path | None = None) -> Path:
    """The nearest folder of `start` and its parents that contains `.dream` or `.git`, else `start`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ".dream").is_dir() or (folder / ".git").exists():
            return folder
    return start


def safe_uri(uri: str) -> str:
    """A URI without the user and password that it may contain.

    Example:
        >>> safe_uri("postgresql://me:secret@db/mlflow")
        'postgresql://db/mlflow'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _environment() -> dict[str, str]:
    from_file = {name: value for name, value in dotenv_values(find_dotenv(usecwd=True)).items() if value is not None}
    return {**from_file, **os.environ}


def _defaults(values: Mapping[str, str], has_endpoints: bool) -> dict[str, str]:
    """The parts of defaults that depend on other variables."""
    project = str(project_home())
    home = _folder("DREAM_HOME", values.get("DREAM_HOME", f"{project}/.dream"))
    on_s3 = "S3_ENDPOINT_URL" in values
    buckets = "s3://" + values.get("DREAM_BUCKET_PREFIX", "")
    in_s3, here = {"root": buckets, "cache": f"{buckets}dream-cache"}, {"root": f"{home}/", "cache": f"{home}/cache"}
    places = in_s3 if on_s3 else here
    models = _OPENAI_MODELS if has_endpoints and values.get("DREAM_OFFLINE") != "1" else _OFFLINE_MODELS
    return {"project": project, "home": home, **places, **models}


def _read(
    table: type, values: Mapping[str, str], defaults: Mapping[str, str], problems: list[str], endpoint: str = ""
) -> dict[str, Any]:
    """The values of a table's fields; mistakes are added to `problems`."""
    read: dict[str, Any] = {}
    for item in (item for item in fields(table) if item.metadata):
        names = [_endpoint_variable(endpoint, name) if endpoint else name for name in item.metadata["names"]]
        name = next((name for name in names if name in values), names[0])
        default = item.metadata["default"]
        text = values.get(name, default and default.format_map(defaults))
        try:
            read[item.name] = None if text is None else item.metadata["read"](name, text)
        except ConfigurationError as error:
            problems.append(str(error))
    return read


def _endpoint_variable(endpoint: str, name: str) -> str:
    is_default = endpoint == OPENAI.upper() and name in ("BASE_URL", "API_KEY")
    return f"OPENAI_{name}" if is_default else f"DREAM_ENDPOINT_{endpoint}_{name}"


def _endpoints(values: Mapping[str, str], problems: list[str]) -> tuple[Endpoint, ...]:
    given: dict[str, set[str]] = {}
    for match in filter(None, map(_ENDPOINT_VARIABLE.fullmatch, values)):
        given.setdefault(match[1], set()).add(match[2])
    for name, parts in sorted(given.items()):
        if name == OFFLINE.upper() or (name == OPENAI.upper() and parts & {"BASE_URL", "API_KEY"}):
            problems.append(f"the endpoint name {name!r} is taken: choose another, e.g. DREAM_ENDPOINT_VLLM_BASE_URL")
        elif name != OPENAI.upper() and "BASE_URL" not in parts:
            problems.append(f"DREAM_ENDPOINT_{name}_BASE_URL is missing: set it to the endpoint's URL ending in /v1")
    if "OPENAI_API_KEY" in values or "OPENAI_BASE_URL" in values:
        given.setdefault(OPENAI.upper(), set())
        values = {"OPENAI_BASE_URL": OPENAI_BASE_URL, **values}
    read = {name.lower(): _read(Endpoint, values, {}, problems, name) for name in given}
    # Limits without a URL are those of the default endpoint while it is not in use.
    return tuple(Endpoint(name, **parts) for name, parts in sorted(read.items()) if parts.get("base_url"))


def _unknown_variables(values: Mapping[str, str]) -> list[str]:
    unknown = [name for name in sorted(values) if name.startswith("DREAM_") and name not in KNOWN_VARIABLES]
    return [
        f"{name} is not a setting of DREAM{_nearest(name)}; valid: {', '.join(KNOWN_VARIABLES)}, "
        f"and DREAM_ENDPOINT_<NAME>_ with: {', '.join(_ENDPOINT_FIELDS)}"
        for name in unknown
        if not _ENDPOINT_VARIABLE.fullmatch(name)
    ]


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(name, KNOWN_VARIABLES, 1, 0.8)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def _key_pair_problems(values: Mapping[str, str]) -> list[str]:
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given, missing = [name for name in pair if name in values], [name for name in pair if name not in values]
    if len(given) != 1:
        return []
    return [f"{given[0]} is set but {missing[0]} is not: set both, or neither to use boto3's credential chain"]
