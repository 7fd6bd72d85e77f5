"""Where everything lives: storage, MLflow, Ray, model endpoints. The only room that reads the environment.

Every variable is optional; with none set, DREAM keeps its data in `.dream/` and uses offline models:

    S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION   object storage
    MLFLOW_TRACKING_URI                                                     tracking
    RAY_ADDRESS, RAY_AUTH_TOKEN                                             cluster
    RAY_DASHBOARD_ADDRESS                        its dashboard, by default http://<the cluster's host>:8265
    OPENAI_API_KEY, OPENAI_BASE_URL                                         default model endpoint
    DREAM_ENDPOINT_<NAME>_BASE_URL, ..._API_KEY, ..._CONTEXT_WINDOW         further endpoints
    DREAM_ENDPOINT_<NAME>_REQUESTS_PER_MINUTE, ..._TOKENS_PER_MINUTE,       limits of an endpoint, where they are known;
        ..._MAX_CONCURRENCY, ..._TIMEOUT_SECONDS                            the default endpoint's name is OPENAI
    DREAM_BUDGET_USD, DREAM_BUDGET_CALLS, DREAM_BUDGET_TOKENS               ceilings of one experiment
    DREAM_PRICES                                                            a JSON file of prices (`dream.models.usage`)
    DREAM_LLMS, DREAM_EMBED_MODELS                                          default search space, comma-separated
    DREAM_JUDGE_LLM, DREAM_JUDGE_EMBED_MODEL, DREAM_GENERATOR_LLM           who judges, who writes questions
    DREAM_DOCUMENTS_URI, DREAM_GOLDEN_DATASETS_URI, DREAM_EXPERIMENTS_URI   places in storage
    DREAM_CACHE_URI                              indexes and model answers, kept for later experiments
    DREAM_MLFLOW_TRACES                          questions a trial with a trace in MLflow: auto, all or a number
    DREAM_HOME, DREAM_OFFLINE                                               local folder; 1 = offline models only

A `.env` file in the working folder or above it is read too; the environment wins over it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values, find_dotenv

from dream.errors import ConfigurationError, bullets

OFFLINE = "offline"
OPENAI = "openai"
OPENAI_BASE_URL = "https://api.openai.com/v1"

# Of Python's garbage collector, in place of 700, 10, 10. The libraries make 600,000 objects: looking through them again
# and again was a quarter of the time of their import, and stopped an event loop for 0.3 s at a time.

_LIMITS = ("REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE", "MAX_CONCURRENCY", "TIMEOUT_SECONDS")
_NUMBERS = ("CONTEXT_WINDOW", *_LIMITS)
_ENDPOINT_VARIABLE = re.compile(rf"DREAM_ENDPOINT_([A-Z0-9_]+?)_(BASE_URL|API_KEY|{'|'.join(_NUMBERS)})")
_BUDGETS = ("DREAM_BUDGET_USD", "DREAM_BUDGET_CALLS", "DREAM_BUDGET_TOKENS")
_KNOWN_VARIABLES = (
    "DREAM_HOME",
    "DREAM_OFFLINE",
    "DREAM_DOCUMENTS_URI",
    "DREAM_GOLDEN_DATASETS_URI",
    "DREAM_EXPERIMENTS_URI",
    "DREAM_CACHE_URI",
    "DREAM_PRICES",
    "DREAM_MLFLOW_TRACES",
    *_BUDGETS,
    "DREAM_LLMS",
    "DREAM_EMBED_MODELS",
    "DREAM_JUDGE_LLM",
    "DREAM_JUDGE_EMBED_MODEL",
    "DREAM_GENERATOR_LLM",
)
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


@dataclass(frozen=True)
class Endpoint:
    """One OpenAI-compatible model endpoint. `context_window` (tokens) holds for models of unknown size.

    Limits that are None are learned from what the endpoint refuses.
    """

    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    context_window: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    timeout_seconds: int | None = None


@dataclass(frozen=True)
class Budget:
    """Ceilings of one experiment over all its runs; None for no ceiling. Calls are those that reach an endpoint."""

    usd: float | None = None
    calls: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that differs between a laptop and a cluster. Secrets are kept out of `repr`.

    Example:
        >>> Settings.from_environment({}).judge_llm
        'offline/judge'
    """

    home: str
    documents_uri: str
    golden_datasets_uri: str
    experiments_uri: str
    cache_uri: str
    mlflow_tracking_uri: str
    llms: tuple[str, ...]
    embed_models: tuple[str, ...]
    judge_llm: str
    judge_embed_model: str
    generator_llm: str
    offline: bool
    endpoints: tuple[Endpoint, ...] = ()
    budget: Budget = Budget()
    prices: str | None = None
    mlflow_traces: str = "auto"
    ray_address: str | None = None
    ray_auth_token: str | None = field(default=None, repr=False)
    ray_dashboard_address: str | None = None
    s3_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_id: str | None = field(default=None, repr=False)
    s3_secret_access_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; `environment` replaces the process's own environment and `.env` file.

        Raises:
            ConfigurationError: naming every mistake at once.
        """
        values = _environment() if environment is None else dict(environment)
        values = {name: value.strip() for name, value in values.items() if value.strip()}
        problems = _problems(values)
        if problems:
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the settings:", problems))
        return _settings(values)

    def without_model_keys(self) -> "Settings":
        """The settings as they may travel to workers: model keys stay with the gateway."""
        return replace(self, endpoints=tuple(replace(e, api_key=None) for e in self.endpoints), ray_auth_token=None)

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in use, for taking them out of messages."""
        held = [self.s3_secret_access_key, self.ray_auth_token, *(e.api_key for e in self.endpoints)]
        return tuple(secret for secret in held if secret)


def offline_models() -> dict[str, str]:
    """The settings fields that offline models fill, as `{field: identifiers}`."""
    return dict(_OFFLINE_MODELS)


def project_home(start: Path | None = None) -> Path:
    """The folder that holds `.dream`: the nearest of `start` and its parents with `.dream` or `.git`, else `start`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ".dream").is_dir() or (folder / ".git").exists():
            return folder
    return start


def _environment() -> dict[str, str]:
    from_file = {name: value for name, value in dotenv_values(find_dotenv(usecwd=True)).items() if value is not None}
    return {**from_file, **os.environ}


def _settings(values: Mapping[str, str]) -> Settings:
    home = Path(values.get("DREAM_HOME") or project_home() / ".dream").expanduser().resolve()
    root = "s3:/" if "S3_ENDPOINT_URL" in values else str(home)
    cache = "s3://dream-cache" if "S3_ENDPOINT_URL" in values else f"{home}/cache"
    endpoints = _endpoints(values)
    offline = values.get("DREAM_OFFLINE") == "1" or not endpoints
    models = _OFFLINE_MODELS if offline else _OPENAI_MODELS
    judge_llm = values.get("DREAM_JUDGE_LLM", models["judge_llm"])
    return Settings(
        home=str(home),
        documents_uri=values.get("DREAM_DOCUMENTS_URI", f"{root}/documents"),
        golden_datasets_uri=values.get("DREAM_GOLDEN_DATASETS_URI", f"{root}/golden-datasets"),
        experiments_uri=values.get("DREAM_EXPERIMENTS_URI", f"{root}/experiments"),
        cache_uri=values.get("DREAM_CACHE_URI", cache),
        mlflow_tracking_uri=values.get("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db"),
        llms=_list(values.get("DREAM_LLMS", models["llms"])),
        embed_models=_list(values.get("DREAM_EMBED_MODELS", models["embed_models"])),
        judge_llm=judge_llm,
        judge_embed_model=values.get("DREAM_JUDGE_EMBED_MODEL", models["judge_embed_model"]),
        generator_llm=values.get("DREAM_GENERATOR_LLM", judge_llm),
        offline=offline,
        endpoints=() if values.get("DREAM_OFFLINE") == "1" else endpoints,
        budget=Budget(*(float(values[name]) if name in values else None for name in _BUDGETS)),
        prices=values.get("DREAM_PRICES"),
        mlflow_traces=values.get("DREAM_MLFLOW_TRACES", "auto"),
        ray_address=values.get("RAY_ADDRESS"),
        ray_auth_token=values.get("RAY_AUTH_TOKEN"),
        ray_dashboard_address=values.get("RAY_DASHBOARD_ADDRESS"),
        s3_endpoint_url=values.get("S3_ENDPOINT_URL"),
        s3_region=values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or "us-east-1",
        s3_access_key_id=values.get("AWS_ACCESS_KEY_ID"),
        s3_secret_access_key=values.get("AWS_SECRET_ACCESS_KEY"),
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _endpoints(values: Mapping[str, str]) -> tuple[Endpoint, ...]:
    found: dict[str, dict[str, str]] = {}
    if "OPENAI_API_KEY" in values or "OPENAI_BASE_URL" in values:
        base_url = values.get("OPENAI_BASE_URL", OPENAI_BASE_URL)
        found[OPENAI] = {"BASE_URL": base_url, "API_KEY": values.get("OPENAI_API_KEY", "")}
    for variable, value in values.items():
        if match := _ENDPOINT_VARIABLE.fullmatch(variable):
            found.setdefault(match[1].lower(), {})[match[2]] = value
    return tuple(
        Endpoint(
            name,
            parts["BASE_URL"].rstrip("/"),
            parts.get("API_KEY") or None,
            *(int(parts[number]) if number in parts else None for number in _NUMBERS),
        )
        for name, parts in sorted(found.items())
        if "BASE_URL" in parts  # limits alone, where the default endpoint is not in use
    )


def _problems(values: Mapping[str, str]) -> list[str]:
    return [
        *_unknown_variables(values),
        *_endpoint_problems(values),
        *_budget_problems(values),
        *_url_problems(values),
        *_key_pair_problems(values),
        *_uri_problems(values),
        *_trace_problems(values),
    ]


def _unknown_variables(values: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is not a setting of DREAM; valid: {', '.join(_KNOWN_VARIABLES)}, "
        f"and DREAM_ENDPOINT_<NAME>_ with: {', '.join(('BASE_URL', 'API_KEY', *_NUMBERS))}"
        for name in sorted(values)
        if name.startswith("DREAM_") and name not in _KNOWN_VARIABLES and not _ENDPOINT_VARIABLE.fullmatch(name)
    ]


def _endpoint_problems(values: Mapping[str, str]) -> list[str]:
    matches = [match for name in sorted(values) if (match := _ENDPOINT_VARIABLE.fullmatch(name))]
    problems = []
    for name in dict.fromkeys(match[1] for match in matches):
        own = {match[2] for match in matches if match[1] == name}
        if name.lower() == OFFLINE or (name.lower() == OPENAI and own & {"BASE_URL", "API_KEY"}):
            problems.append(f"the endpoint name {name!r} is taken: choose another, e.g. DREAM_ENDPOINT_VLLM_BASE_URL")
        elif name.lower() != OPENAI and "BASE_URL" not in own:
            problems.append(f"DREAM_ENDPOINT_{name}_BASE_URL is missing: set it to the endpoint's URL ending in /v1")
    for name in (match[0] for match in matches if match[2] in _NUMBERS):
        if not values[name].isdigit() or int(values[name]) < 1:
            problems.append(f"{name}={values[name]!r}: give a whole number of at least 1")
    return problems


def _budget_problems(values: Mapping[str, str]) -> list[str]:
    given = [(name, values[name]) for name in _BUDGETS if name in values]
    return [
        f"{name}={value!r}: give a number above 0"
        for name, value in given
        if not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) <= 0
    ]


def _url_problems(values: Mapping[str, str]) -> list[str]:
    plain = ("S3_ENDPOINT_URL", "OPENAI_BASE_URL", "RAY_DASHBOARD_ADDRESS")
    names = [name for name in values if name in plain or name.endswith("_BASE_URL")]
    problems = []
    for name in sorted(set(names)):
        parts = urlsplit(values[name])
        if "@" in parts.netloc:  # the value is not shown: it would end up in error texts and manifests too
            problems.append(f"{name} holds a user or a password: give keys in their own variables")
        elif parts.scheme not in ("http", "https") or not parts.netloc:
            problems.append(f"{name}={values[name]!r} is not a URL: write http://host:port or https://host")
    return problems


def _key_pair_problems(values: Mapping[str, str]) -> list[str]:
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given = [name for name in pair if name in values]
    if len(given) != 1:
        return []
    missing = next(name for name in pair if name not in values)
    return [f"{given[0]} is set but {missing} is not: set both, or neither to use boto3's own credential chain"]


def _uri_problems(values: Mapping[str, str]) -> list[str]:
    names = ("DREAM_DOCUMENTS_URI", "DREAM_GOLDEN_DATASETS_URI", "DREAM_EXPERIMENTS_URI", "DREAM_CACHE_URI")
    problems = []
    for name in names:
        scheme = urlsplit(values.get(name, "")).scheme
        if scheme not in ("", "s3", "file"):
            problems.append(f"{name}={values[name]!r}: write s3://bucket/prefix or a folder, not {scheme}://")
    return problems


def _trace_problems(values: Mapping[str, str]) -> list[str]:
    given = values.get("DREAM_MLFLOW_TRACES", "auto")
    if given in ("auto", "all") or given.isdecimal():
        return []
    return [
        f"DREAM_MLFLOW_TRACES={given!r}: give auto, all, or how many questions of each trial get a trace in MLflow "
        "(0 for none)"
    ]


def safe_uri(uri: str) -> str:
    """A URI without the user and password that it may hold.

    Example:
        >>> safe_uri("postgresql://me:secret@db/mlflow")
        'postgresql://db/mlflow'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri
